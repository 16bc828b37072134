//! Waking many, whatever one of them does.

use std::task::Waker;

/// Wakes all, in order. When a waker panics the rest are woken all the same:
/// requests that were admitted already would otherwise never run, nor end.
pub(super) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    Remaining(wakers.into_iter()).wake();
}

struct Remaining<I: Iterator<Item = Waker>>(I);

impl<I: Iterator<Item = Waker>> Remaining<I> {
    fn wake(&mut self) {
        self.0.by_ref().for_each(Waker::wake);
    }
}

impl<I: Iterator<Item = Waker>> Drop for Remaining<I> {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Rings(AtomicUsize);

    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    struct Faulty;

    impl Wake for Faulty {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_from_being_called() {
        let rings = Arc::new(Rings::default());
        let good = || Waker::from(Arc::clone(&rings));
        let wakers = [good(), Waker::from(Arc::new(Faulty)), good(), good()];
        let outcome = catch_unwind(AssertUnwindSafe(|| wake_all(wakers)));
        assert!(outcome.is_err());
        assert_eq!(rings.0.load(SeqCst), 3);
    }
}
