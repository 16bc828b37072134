//! Rule R4: A helper over any task does not take one that holds the proof.
//! QEMU: None recorded. A coroutine may yield while its caller holds a lock.
//! Shape: generic.
//! Why: The helper can only promise `Send` if it asks for it.

use block_gs::{BqlGuard, nodes};
use block_io::aio::{AioContext, JoinHandle, yield_now};
use ui_tests::{in_main_loop, iothread, null};

fn in_background<F>(context: &AioContext, task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    context.spawn(task)
}

async fn count(bql: &mut BqlGuard) -> usize {
    yield_now().await;
    nodes(bql).count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let context = iothread(bql, "io0").context().clone();
        let counted = in_background(&context, count(bql));
        //~^ "future cannot be sent between threads safely"
        assert_eq!(bql.block_on(counted), 1);
        Ok(())
    });
}
