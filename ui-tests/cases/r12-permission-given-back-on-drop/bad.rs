//! Rule R12: What is dropped in an iothread does not give its permissions back itself.
//! QEMU: V054, blk_set_perm() -> bdrv_child_try_set_perm(), with an assertion left out for
//! fuse.
//! Shape: field.
//! Why: `drop` has no argument, so it has no proof; it can ask the main loop.

use block_gs::{Backend, BqlGuard, MainLoop, Perm};
use ui_tests::{disk, in_main_loop, null};

struct Resizing {
    export: Backend,
    main: MainLoop,
}

impl Drop for Resizing {
    fn drop(&mut self) {
        let given_back = self.export.set_perm(Perm::WRITE, Perm::all());
        //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
        assert!(given_back.is_ok(), "{:?}", self.main);
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (export, main) = (disk(bql, "export", &node), bql.main_loop());
        export.set_perm(bql, Perm::WRITE | Perm::RESIZE, Perm::all())?;
        drop(Resizing {
            export: export.clone(),
            main,
        });
        bql.poll_until(|bql| export.perms(bql).perm == Perm::WRITE);
        Ok(())
    });
}
