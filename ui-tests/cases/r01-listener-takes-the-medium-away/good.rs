//! Twin of bad.rs: the listener asks the main loop.

use block_gs::BqlGuard;
use block_io::{ErrorAction, IoError, Operation};
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, events) = (null(bql, "node"), bql.events().clone());
        let disk = disk(bql, "disk", &node);
        let (root, blk, io0) = (disk.root().clone(), disk.clone(), iothread(bql, "io0"));
        let main = bql.main_loop();
        let listening = events.listen(move |_| {
            let blk = blk.clone();
            main.schedule(move |bql| blk.remove(bql));
        });
        let failed = io0.context().spawn(async move {
            root.error_action(ErrorAction::Report, Operation::Read, &IoError::NoMedium);
        });
        bql.block_on(failed);
        bql.poll_until(|bql| disk.node(bql).is_none());
        drop(listening);
        Ok(())
    });
}
