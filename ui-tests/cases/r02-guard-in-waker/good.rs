//! Twin of bad.rs: the waker holds what kicks the main loop.

use block_gs::{BqlGuard, MainLoop, nodes};
use std::sync::Arc;
use std::task::{Wake, Waker};
use ui_tests::in_main_loop;

struct Kick {
    main: MainLoop,
}

impl Wake for Kick {
    fn wake(self: Arc<Self>) {
        self.main.kick();
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        Waker::from(Arc::new(Kick {
            main: bql.main_loop(),
        }))
        .wake();
        assert_eq!(nodes(bql).count(), 0);
        Ok(())
    });
}
