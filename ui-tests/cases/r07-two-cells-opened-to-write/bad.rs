//! Rule R7: Of all data of the main thread, one piece is open for writing at a time.
//! QEMU: None recorded. `bs->opaque` of two nodes may be the same.
//! Shape: order.
//! Why: `BqlCell::get_mut` borrows the guard exclusively, so no two `&mut` are of one cell.

use block_gs::{BqlCell, BqlGuard};
use ui_tests::in_main_loop;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (one, two) = (BqlCell::new(bql, vec![1]), BqlCell::new(bql, vec![2]));
        let first = one.get_mut(bql);
        let second = two.get_mut(bql);
        //~^ E0499 "cannot borrow `*bql` as mutable more than once at a time"
        first.append(second);
        assert_eq!(one.get(bql).len(), 2);
        Ok(())
    });
}
