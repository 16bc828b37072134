//! Rule R12: I/O code does not change permissions.
//! QEMU: V052-V054, fuse_do_truncate() -> blk_set_perm() -> bdrv_child_try_set_perm().
//! Shape: argument.
//! Why: `Backend::set_perm` walks the graph, and takes the proof for that.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn fuse_do_truncate(export: Backend) -> Result<(), GraphError> {
    export.set_perm(Perm::WRITE | Perm::RESIZE, Perm::all())?;
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
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
