//! Rule R1: A coroutine cannot call a global-state function.
//! QEMU: V004, nbd_co_do_establish_connection() -> bdrv_apply_auto_read_only().
//! Shape: receiver.
//! Why: The function takes a `&BqlGuard`; the coroutine has none and cannot make one.

use block_gs::{BqlCell, BqlGuard, MainLoop};
use std::{cell::Cell, sync::Arc};
use ui_tests::{in_main_loop, iothread};

struct Nbd {
    read_only: BqlCell<Cell<bool>>,
}

impl Nbd {
    fn bdrv_apply_auto_read_only(&self, bql: &BqlGuard) {
        self.read_only.get(bql).set(true);
    }

    async fn nbd_co_do_establish_connection(self: Arc<Self>, main: MainLoop) {
        let _ = main;
        self.bdrv_apply_auto_read_only();
        //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let read_only = BqlCell::new(bql, Cell::new(false));
        let nbd = Arc::new(Nbd { read_only });
        let connect = nbd.clone().nbd_co_do_establish_connection(bql.main_loop());
        let connect = iothread(bql, "io0").context().spawn(connect);
        bql.block_on(connect);
        assert!(nbd.read_only.get(bql).get());
        Ok(())
    });
}
