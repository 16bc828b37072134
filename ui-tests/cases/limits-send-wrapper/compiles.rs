//! Limit: A wrapper that is `Send` and looks at run time takes the guard to a thread, unused.
//! QEMU: None recorded. Whether a thread holds the BQL is asked at run time everywhere.
//! Why: `unsafe` in another crate overrules the auto traits; its own check is what holds then.

use block_gs::{BqlGuard, nodes};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, ThreadId};
use ui_tests::{in_main_loop, null};

/// What crates of that kind offer: sent anywhere, opened where it was made.
mod wrapper {
    use super::{ThreadId, thread};

    pub struct SendWrapper<T>(T, ThreadId);

    // SAFETY: the value is reached and dropped on its own thread only.
    unsafe impl<T> Send for SendWrapper<T> {}

    impl<T> SendWrapper<T> {
        pub fn new(value: T) -> Self {
            SendWrapper(value, thread::current().id())
        }

        pub fn get(&mut self) -> &mut T {
            assert!(self.1 == thread::current().id(), "another thread's value");
            &mut self.0
        }
    }

    impl<T> Drop for SendWrapper<T> {
        fn drop(&mut self) {
            assert!(self.1 == thread::current().id() || !std::mem::needs_drop::<T>());
        }
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let mut wrapped = wrapper::SendWrapper::new(&mut *bql);
        thread::scope(|scope| {
            let wrapped = &mut wrapped;
            let there = scope.spawn(move || {
                let used = || nodes(wrapped.get()).count();
                catch_unwind(AssertUnwindSafe(used)).is_err()
            });
            assert!(there.join().expect("no panic"), "refused by the wrapper");
        });
        assert_eq!(nodes(wrapped.get()).count(), 1);
        // While it was away nobody else could use it; it is still a borrow.
        drop(wrapped);
        assert_eq!(nodes(bql).count(), 1);
        Ok(())
    });
}
