//! Rule R1: A completion in an iothread cannot read what the BQL protects.
//! QEMU: V002, blk_error_action() -> blk_iostatus_is_enabled().
//! Shape: argument.
//! Why: A `BqlCell` opens for a `&BqlGuard` only; a request is another proof.

use block_gs::{BqlCell, BqlGuard, MainLoop};
use block_io::Root;
use std::{cell::Cell, sync::Arc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct Device {
    iostatus: BqlCell<Cell<bool>>,
}

async fn blk_error_action(device: Arc<Device>, root: Root, main: MainLoop) {
    let in_flight = root.begin().await;
    let request = in_flight.request().expect("a medium");
    let _ = main;
    device.iostatus.get(request).set(true);
    //~^ E0308 "expected `&BqlGuard`, found `Request<'_>`"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let (root, main) = (disk.root().clone(), bql.main_loop());
        let iostatus = BqlCell::new(bql, Cell::new(false));
        let device = Arc::new(Device { iostatus });
        let failed = blk_error_action(device.clone(), root, main);
        drop(iothread(bql, "io0").context().spawn(failed));
        bql.poll_until(|bql| device.iostatus.get(bql).get());
        Ok(())
    });
}
