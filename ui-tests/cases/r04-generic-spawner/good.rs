//! Twin of bad.rs: the task gets a handle of the main loop.

use block_gs::{BqlGuard, MainLoop, nodes};
use block_io::aio::{AioContext, JoinHandle, yield_now};
use ui_tests::{in_main_loop, iothread, null};

fn in_background<F>(context: &AioContext, task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    context.spawn(task)
}

async fn count(main: MainLoop) -> usize {
    yield_now().await;
    let count = main.call(|bql| nodes(bql).count()).await;
    count.expect("the main loop")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let context = iothread(bql, "io0").context().clone();
        let counted = in_background(&context, count(bql.main_loop()));
        assert_eq!(bql.block_on(counted), 1);
        Ok(())
    });
}
