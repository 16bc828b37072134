//! Twin of bad.rs: the job keeps a handle of the main loop.

use block_gs::{BqlGuard, MainLoop, nodes};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread, null};

struct Job {
    main: MainLoop,
}

impl Job {
    async fn run(self) -> usize {
        sleep(Duration::ZERO).await;
        let count = self.main.call(|bql| nodes(bql).count()).await;
        count.expect("the main loop")
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let context = iothread(bql, "io0").context().clone();
        let counted = context.spawn(
            Job {
                main: bql.main_loop(),
            }
            .run(),
        );
        assert_eq!(bql.block_on(counted), 1);
        Ok(())
    });
}
