//! Rule R12: A request of the guest does not set what only the main thread may set of a root.
//! QEMU: None recorded. blk_set_enable_write_cache() may be called from anywhere.
//! Shape: receiver.
//! Why: The setters of the I/O view take a `GsAccess`, which only global-state code lends.

use block_gs::{Backend, BqlGuard, MainLoop};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn mode_select(disk: Backend, main: MainLoop) -> bool {
    let root = disk.root().clone();
    root.set_write_cache(true);
    //~^ E0061 "GsAccess` is missing"
    main.kick();
    root.has_write_cache()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let set = mode_select(disk(bql, "disk", &node), bql.main_loop());
        let set = iothread(bql, "io0").context().spawn(set);
        assert!(bql.block_on(set));
        Ok(())
    });
}
