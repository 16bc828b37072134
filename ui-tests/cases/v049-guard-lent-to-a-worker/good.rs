//! Twin of bad.rs: the thread says what is to be done, and the main thread does it.

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
        let prevent = thread::scope(|scope| {
            let iothread = scope.spawn(|| prevent_removal[4]);
            iothread.join().expect("no panic")
        });
        blk_lock_medium(bql, &medium, prevent);
        assert!(medium.locked.get(bql).get());
        Ok(())
    });
}
