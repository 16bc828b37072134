//! Rule R8: A coroutine that is given a way to wait lacks what that takes.
//! QEMU: None recorded. A function that polls can be called through a pointer, also in a
//! coroutine.
//! Shape: trait-object.
//! Why: The boxed function takes `&mut HomeThread`, and a coroutine has none.

use block_gs::BqlGuard;
use block_io::aio::{AioContext, HomeThread, yield_now};
use ui_tests::{in_main_loop, iothread};

type Wait = Box<dyn FnOnce(&mut HomeThread<'_>) + Send>;

async fn coroutine(context: AioContext, wait: Wait) -> AioContext {
    wait();
    //~^ E0057 "argument #1 of type `&mut HomeThread<'_>` is missing"
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
