//! Rule R17: A plan is not kept in an object that outlives its section.
//! QEMU: None recorded. A reopen queue keeps its transaction, and its caller keeps the nodes
//! drained.
//! Shape: field.
//! Why: The object borrows the section as the plan does.

use block_gs::{BqlGuard, Node, Transaction};
use ui_tests::{Outcome, in_main_loop, null, overlay};

#[derive(Default)]
struct Queue<'t> {
    changes: Vec<Transaction<'t>>,
}

fn unplug(bql: &mut BqlGuard, top: &Node) -> Outcome {
    let mut queue = Queue::default();
    {
        let mut section = top.drain(bql);
        queue.changes.push(section.transaction());
        //~^ E0597 "`section` does not live long enough"
    }
    queue
        .changes
        .into_iter()
        .try_for_each(Transaction::commit)?;
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        unplug(bql, &top)
    });
}
