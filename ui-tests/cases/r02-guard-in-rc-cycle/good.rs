//! Twin of bad.rs: the cycle keeps a handle of the main loop.

use block_gs::{BqlGuard, MainLoop};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use ui_tests::in_main_loop;

struct Job {
    main: MainLoop,
    itself: OnceCell<Rc<Job>>,
}

thread_local! {
    static JOBS: RefCell<Vec<Rc<Job>>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let job = Rc::new(Job {
            main: bql.main_loop(),
            itself: OnceCell::new(),
        });
        assert!(job.itself.set(job.clone()).is_ok());
        assert!(job.main.context().is_main());
        JOBS.with_borrow_mut(|jobs| jobs.push(job));
        Ok(())
    });
}
