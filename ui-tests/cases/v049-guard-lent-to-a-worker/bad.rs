//! Rule R2: The main thread cannot lend the proof to a thread that it waits for.
//! QEMU: V049, blk_lock_medium() -> bdrv_lock_medium().
//! Shape: thread.
//! Why: `thread::scope` asks that what is borrowed is `Sync`; the guard says on which thread it is.

use block_gs::{BqlCell, BqlGuard};
use std::cell::Cell;
use std::thread;
use ui_tests::in_main_loop;

struct Medium {
    locked: BqlCell<Cell<bool>>,
}

fn bdrv_lock_medium(bql: &BqlGuard, medium: &Medium, locked: bool) {
    medium.locked.get(bql).set(locked);
}

fn blk_lock_medium(bql: &BqlGuard, medium: &Medium, prevent: u8) {
    bdrv_lock_medium(bql, medium, prevent & 1 != 0);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let prevent_removal = [0x1e, 0, 0, 0, 1, 0];
        let medium = Medium {
            locked: BqlCell::new(bql, Cell::new(false)),
        };
        thread::scope(|scope| {
            let iothread = scope.spawn(|| blk_lock_medium(bql, &medium, prevent_removal[4]));
            //~^ E0277 "required because it appears within the type `BqlGuard`"
            iothread.join().expect("no panic");
        });
        assert!(medium.locked.get(bql).get());
        Ok(())
    });
}
