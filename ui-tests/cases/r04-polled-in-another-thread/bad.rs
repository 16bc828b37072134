//! Rule R4: A future that holds the proof is not polled by another thread.
//! QEMU: None recorded. A coroutine can be reentered in any thread.
//! Shape: thread.
//! Why: The future goes to the thread that polls it, so it is `Send`.

use block_gs::{BqlGuard, nodes};
use block_io::aio::{EventLoop, yield_now};
use ui_tests::{in_main_loop, null};

async fn count(bql: &BqlGuard) -> usize {
    yield_now().await;
    nodes(bql).count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let counted = count(bql);
        let found = std::thread::scope(|scope| {
            let thread = scope.spawn(|| EventLoop::new("own").expect("a loop").block_on(counted));
            //~^ "future cannot be sent between threads safely"
            thread.join().expect("no panic")
        });
        assert_eq!(found, 1);
        Ok(())
    });
}
