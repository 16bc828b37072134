//! Twin of bad.rs: the first section ends before the second one is lent.

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
    drop(first);
    let second = bql.lend(b);
    drop(second);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (a, b) = (null(bql, "a"), null(bql, "b"));
        one_after_the_other(bql, &a, &b);
        assert_eq!(b.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
