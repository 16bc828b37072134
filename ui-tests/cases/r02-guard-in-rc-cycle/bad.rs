//! Rule R2: Objects that keep each other alive do not keep the proof.
//! QEMU: None recorded. An object that nobody frees keeps every pointer that it has.
//! Shape: field.
//! Why: A cycle lives on in the thread, but its type has the lifetime of the borrow.

use block_gs::BqlGuard;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use ui_tests::in_main_loop;

struct Job<'b> {
    bql: &'b BqlGuard,
    itself: OnceCell<Rc<Job<'b>>>,
}

thread_local! {
    static JOBS: RefCell<Vec<Rc<Job<'static>>>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let job = Rc::new(Job {
            bql,
            itself: OnceCell::new(),
        });
        assert!(job.itself.set(job.clone()).is_ok());
        assert!(job.bql.main_loop().context().is_main());
        JOBS.with_borrow_mut(|jobs| jobs.push(job));
        //~^ "borrowed data escapes outside of closure"
        Ok(())
    });
}
