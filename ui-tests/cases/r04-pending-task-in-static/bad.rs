//! Rule R4: A task that holds the proof is not put in a static until it is polled again.
//! QEMU: None recorded. A coroutine that has yielded lies in a list until it is reentered.
//! Shape: static.
//! Why: The static is everybody's, so the future in it is `Send`.

use block_gs::{BqlGuard, nodes};
use block_io::aio::yield_now;
use std::{pin::Pin, sync::Mutex};
use ui_tests::{in_main_loop, null};

type Task = Pin<Box<dyn Future<Output = usize> + Send>>;
static PENDING: Mutex<Option<Task>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_node, main) = (null(bql, "node"), bql.main_loop());
        *PENDING.lock().expect("no panic") = Some(Box::pin(async move {
            yield_now().await;
            drop(main);
            nodes(bql).count()
        }));
        //~^^^^^ "future cannot be sent between threads safely"
        let task = PENDING.lock().expect("no panic").take();
        assert_eq!(bql.block_on(task.expect("just set")), 1);
        Ok(())
    });
}
