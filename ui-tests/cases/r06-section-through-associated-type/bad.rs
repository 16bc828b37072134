//! Rule R6: A trait whose implementations lend sections lends one at a time.
//! QEMU: None recorded. A drained section is a counter there, and there are any number.
//! Shape: generic.
//! Why: The associated type borrows the lender, whatever type it is.

use block_gs::{BqlGuard, Drained, Node};
use ui_tests::{in_main_loop, null};

trait Lender {
    type Section<'a>
    where
        Self: 'a;
    fn lend<'a>(&'a mut self, node: &Node) -> Self::Section<'a>;
}

impl Lender for BqlGuard {
    type Section<'a> = Drained<'a>;
    fn lend<'a>(&'a mut self, node: &Node) -> Drained<'a> {
        node.drain(self)
    }
}

fn one_after_the_other<L: Lender>(bql: &mut L, a: &Node, b: &Node) {
    let first = bql.lend(a);
    let second = bql.lend(b);
    //~^ E0499 "cannot borrow `*bql` as mutable more than once at a time"
    drop((first, second));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (a, b) = (null(bql, "a"), null(bql, "b"));
        one_after_the_other(bql, &a, &b);
        assert_eq!(b.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
