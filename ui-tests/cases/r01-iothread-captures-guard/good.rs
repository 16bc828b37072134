//! Twin of bad.rs: the task does I/O, the main loop does the rest when it is done.

use block_gs::{BqlGuard, GraphError, Perm};
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let (root, io0) = (disk.root().clone(), iothread(bql, "io0"));
        let (perm, shared) = (Perm::CONSISTENT_READ, Perm::all());
        let done = io0.context().spawn(async move {
            let length = root.length().await?;
            Ok::<_, GraphError>(length)
        });
        assert_eq!(bql.block_on(done)?, SIZE);
        disk.set_perm(bql, perm, shared)?;
        assert_eq!(disk.perms(bql).perm, perm);
        Ok(())
    });
}
