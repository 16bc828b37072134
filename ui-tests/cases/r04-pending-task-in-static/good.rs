//! Twin of bad.rs: the future asks the main loop when it is polled again.

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
            let count = main.call(|bql| nodes(bql).count()).await;
            count.expect("the main loop")
        }));
        let task = PENDING.lock().expect("no panic").take();
        assert_eq!(bql.block_on(task.expect("just set")), 1);
        Ok(())
    });
}
