//! Twin of bad.rs: one is closed before the other is opened.

use block_gs::{BqlCell, BqlGuard};
use ui_tests::in_main_loop;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (one, two) = (BqlCell::new(bql, vec![1]), BqlCell::new(bql, vec![2]));
        let mut second = std::mem::take(two.get_mut(bql));
        one.get_mut(bql).append(&mut second);
        assert_eq!(one.get(bql).len(), 2);
        Ok(())
    });
}
