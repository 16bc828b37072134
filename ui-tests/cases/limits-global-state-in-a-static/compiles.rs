//! Limit: Code that keeps global state of its own, outside the graph, needs no proof for it.
//! QEMU: file-scope variables in drivers.
//! Why: The types guard what they own. Whatever is in a static is at least `Sync`.

use block_gs::BqlGuard;
use std::sync::atomic::{AtomicU64, Ordering};
use ui_tests::{in_main_loop, iothread};

static REQUESTS: AtomicU64 = AtomicU64::new(0);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let counting = iothread(bql, "io0").context().spawn(async {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
        });
        bql.block_on(counting);
        assert_eq!(REQUESTS.load(Ordering::Relaxed), 1);
        Ok(())
    });
}
