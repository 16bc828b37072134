//! Rule R2: What wakes a task does not carry the proof.
//! QEMU: None recorded. A bottom half that reenters a coroutine runs under whatever its thread
//! holds.
//! Shape: field.
//! Why: A waker can be called by any thread, so what it holds is `Send + Sync`.

use block_gs::{BqlGuard, nodes};
use std::sync::Arc;
use std::task::{Wake, Waker};
use ui_tests::in_main_loop;

struct Kick<'a> {
    bql: &'a BqlGuard,
}

impl Wake for Kick<'static> {
    fn wake(self: Arc<Self>) {
        assert_eq!(nodes(self.bql).count(), 0);
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        Waker::from(Arc::new(Kick { bql })).wake();
        //~^ E0277 "cannot be shared between threads safely"
        Ok(())
    });
}
