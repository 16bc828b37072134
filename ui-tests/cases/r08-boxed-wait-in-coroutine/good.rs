//! Twin of bad.rs: the coroutine schedules a bottom half, which has one.

use block_gs::BqlGuard;
use block_io::aio::{AioContext, HomeThread, yield_now};
use ui_tests::{in_main_loop, iothread};

type Wait = Box<dyn FnOnce(&mut HomeThread<'_>) + Send>;

async fn coroutine(context: AioContext, wait: Wait) -> AioContext {
    context.schedule(wait);
    context
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let wait: Wait = Box::new(|home| drop(home.block_on(yield_now())));
        let context = iothread(bql, "io0").context().clone();
        let waited = context.spawn(coroutine(context.clone(), wait));
        assert_eq!(bql.block_on(waited), context);
        Ok(())
    });
}
