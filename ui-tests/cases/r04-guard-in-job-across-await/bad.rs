//! Rule R4: A job that borrows the proof does not run as a task.
//! QEMU: None recorded. A job is a struct, and its coroutine yields with whatever is in it.
//! Shape: field.
//! Why: The future contains the job across its `.await`, and the job the proof.

use block_gs::{BqlGuard, nodes};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread, null};

struct Job<'b> {
    bql: &'b BqlGuard,
}

impl Job<'_> {
    async fn run(self) -> usize {
        sleep(Duration::ZERO).await;
        nodes(self.bql).count()
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let context = iothread(bql, "io0").context().clone();
        let counted = context.spawn(Job { bql }.run());
        //~^ "future cannot be sent between threads safely"
        assert_eq!(bql.block_on(counted), 1);
        Ok(())
    });
}
