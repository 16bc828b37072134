//! Twin of bad.rs: the permission is taken when the export is made, in the main loop.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn fuse_do_truncate(export: Backend) -> Result<(), GraphError> {
    export.root().flush().await?;
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let export = disk(bql, "export", &node);
        export.set_perm(bql, Perm::WRITE | Perm::RESIZE, Perm::all())?;
        let truncate = iothread(bql, "io0")
            .context()
            .spawn(fuse_do_truncate(export.clone()));
        bql.block_on(truncate)?;
        assert!(export.perms(bql).perm.contains(Perm::RESIZE));
        Ok(())
    });
}
