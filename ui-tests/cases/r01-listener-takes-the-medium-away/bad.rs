//! Rule R1: Who hears of an error in the thread of the request does not change the graph there.
//! QEMU: V002, blk_error_action() sends its event in the thread of the completion.
//! Shape: closure.
//! Why: A listener is called in any thread, so it must be `Send`; a `&mut BqlGuard` is not.

use block_gs::BqlGuard;
use block_io::{ErrorAction, IoError, Operation};
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, events) = (null(bql, "node"), bql.events().clone());
        let disk = disk(bql, "disk", &node);
        let (root, blk, io0) = (disk.root().clone(), disk.clone(), iothread(bql, "io0"));
        let listening = events.listen(|_| blk.remove(bql));
        //~^ E0277 "`*mut block_gs::bql::LentByTheMainLoop` cannot be sent between threads safely"
        //~^^ E0277 "`*mut block_gs::bql::LentByTheMainLoop` cannot be shared between threads safely"
        let failed = io0.context().spawn(async move {
            root.error_action(ErrorAction::Report, Operation::Read, &IoError::NoMedium);
        });
        bql.block_on(failed);
        bql.poll_until(|bql| disk.node(bql).is_none());
        drop(listening);
        Ok(())
    });
}
