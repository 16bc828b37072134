//! Rule R17: What a driver has got ready for a reopen is committed or aborted, not both.
//! QEMU: None recorded. bdrv_reopen_abort() frees what bdrv_reopen_commit() may have put in place.
//! Shape: order.
//! Why: Both take it by value.

use block_gs::{AfterReopen, BqlGuard, Node, PreparedReopen, ReopenCommit};
use ui_tests::in_main_loop;

/// Has something ready for each of two.
struct Both(Box<dyn PreparedReopen>, Box<dyn PreparedReopen>);

impl PreparedReopen for Both {
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        let Both(first, second) = *self;
        let after = first.commit(reopen);
        second.commit(reopen);
        if after.is_none() {
            let node = reopen.node().clone();
            first.abort(reopen, &node);
            //~^ E0382 "use of moved value: `first`"
        }
        after
    }

    fn abort(self: Box<Self>, bql: &BqlGuard, node: &Node) {
        self.1.abort(bql, node);
        self.0.abort(bql, node);
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = ui_tests::null(bql, "disk");
        let both = Box::new(Both(Box::new(()), Box::new(())));
        both.abort(bql, &disk);
        Ok(())
    });
}
