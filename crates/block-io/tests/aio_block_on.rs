//! Nested polling, futures that borrow from the stack, and panics.

mod aio_support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use block_io::aio::{AioContext, EventLoop, Wait, yield_now};

use aio_support::{Count, Gate, drain, forever, on_each_loop};

#[test]
fn a_nested_poll_runs_what_the_outer_one_has_not_started() {
    on_each_loop(|event_loop| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate::default();
        let note = |name: &'static str| {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push(name)
        };
        let (begin, end) = (note("begin"), note("end"));
        let waited = gate.clone();
        event_loop.context().schedule(move |home| {
            begin();
            home.block_on(waited.wait()).unwrap();
            end();
        });
        let other = note("other bottom half");
        event_loop.context().schedule(move |_| other());
        let task = note("task");
        let task = async move {
            task();
            gate.open();
        };
        drop(event_loop.context().spawn(task));
        assert!(event_loop.poll(forever()));
        assert_eq!(
            *order.lock().unwrap(),
            ["begin", "other bottom half", "task", "end"]
        );
        drain(event_loop);
    });
}

#[test]
fn an_outer_poll_keeps_its_bound_after_a_nested_one() {
    on_each_loop(|event_loop| {
        let _entered = event_loop.enter().unwrap();
        let late = Count::default();
        let inner = late.clone();
        event_loop.context().schedule(move |home| {
            // Takes "first" away from the outer poll, then queues what the next poll runs.
            home.block_on(yield_now()).unwrap();
            home.context().schedule(move |_| {
                inner.add();
            });
        });
        event_loop.context().schedule(|_| ());
        event_loop.poll(Wait::No);
        assert_eq!(late.get(), 0);
        event_loop.poll(Wait::No);
        assert_eq!(late.get(), 1);
    });
}

#[test]
fn a_nested_poll_drives_the_future_of_an_outer_block_on() {
    on_each_loop(|event_loop| {
        let steps = Cell::new(0);
        let gate = Gate::default();
        let (waited, opened) = (gate.clone(), gate.clone());
        let context = event_loop.context().clone();
        event_loop.block_on(async {
            steps.set(1);
            let inner = Gate::default();
            let inner_waited = inner.clone();
            // This bottom half is still on the stack while the future goes on.
            context.schedule(move |home| {
                opened.open();
                home.block_on(inner_waited.wait()).unwrap();
            });
            waited.wait().await;
            steps.set(2);
            inner.open();
            yield_now().await;
            steps.set(3);
        });
        assert_eq!(steps.get(), 3);
    });
}

#[test]
fn the_main_loop_is_not_polled_with_a_home_thread() {
    let event_loop = EventLoop::new_main("main").unwrap();
    assert!(event_loop.context().is_main());
    let (sender, receiver) = mpsc::channel();
    event_loop.context().schedule(move |home| {
        sender
            .send(home.block_on(async {}).unwrap_err().to_string())
            .unwrap();
    });
    drain(&event_loop);
    assert!(receiver.recv().unwrap().contains("&mut BqlGuard"));
}

#[test]
fn block_on_borrows_and_need_not_be_send() {
    on_each_loop(|event_loop| {
        let local = Rc::new(RefCell::new(vec![1]));
        let mut number = 0;
        let result = event_loop.block_on(async {
            for _ in 0..3 {
                yield_now().await;
                number += 1;
                local.borrow_mut().push(number);
            }
            local.borrow().len()
        });
        assert_eq!((result, number), (4, 3));
    });
}

#[test]
fn a_wake_up_taken_by_a_poll_inside_the_future_is_kept_for_it() {
    on_each_loop(|event_loop| {
        let mut polls = 0;
        event_loop.block_on(poll_fn(|cx| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            // Takes the wake-up from the queue; the future cannot be entered a second time.
            assert!(event_loop.poll(Wait::No));
            Poll::Pending
        }));
        assert_eq!(polls, 2);
    });
}

#[test]
fn block_on_with_runs_the_callers_work_in_each_turn() {
    on_each_loop(|event_loop| {
        let queue = Arc::new(Mutex::new(Vec::<Gate>::new()));
        let gate = Gate::default();
        let context = event_loop.context().clone();
        let helper = {
            let (queue, gate) = (Arc::clone(&queue), gate.clone());
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                queue.lock().unwrap().push(gate);
                context.kick();
            })
        };
        event_loop.block_on_with(gate.wait(), || {
            let work = std::mem::take(&mut *queue.lock().unwrap());
            work.iter().for_each(Gate::open);
        });
        helper.join().unwrap();
    });
}

#[test]
fn a_panic_in_block_on_reaches_its_caller_and_nobody_else() {
    on_each_loop(|event_loop| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            event_loop.block_on(async {
                yield_now().await;
                panic!("boom");
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"boom"));
        assert_eq!(event_loop.block_on(async { 5 }), 5);

        // The outer future panics while an inner `block_on` polls; the inner one goes on.
        let gate = Gate::default();
        let finished = Count::default();
        let (opened, inner_finished) = (gate.clone(), finished.clone());
        let context = event_loop.context().clone();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            event_loop.block_on(async {
                context.schedule(move |home| {
                    let inner = async {
                        opened.open();
                        yield_now().await;
                        yield_now().await;
                        inner_finished.add();
                    };
                    home.block_on(inner).unwrap();
                });
                gate.wait().await;
                panic!("outer");
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"outer"));
        assert_eq!(finished.get(), 1);
    });
}

#[test]
fn unwinding_out_of_block_on_drops_the_future_before_the_stack_goes() {
    on_each_loop(|event_loop| {
        let kept_waker = RefCell::new(None);
        let dropped = Cell::new(false);
        struct OnDrop<'a>(&'a Cell<bool>);
        impl Drop for OnDrop<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        event_loop.context().schedule(|_| panic!("bottom half"));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let borrowed = String::from("on this stack");
            event_loop.block_on(async {
                let _on_drop = OnDrop(&dropped);
                poll_fn(|cx| {
                    *kept_waker.borrow_mut() = Some(cx.waker().clone());
                    // Queued once more, behind the panicking bottom half.
                    cx.waker().wake_by_ref();
                    assert_eq!(borrowed, "on this stack");
                    Poll::<()>::Pending
                })
                .await;
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"bottom half"));
        // The bottom half came first, so the future may not even have started.
        assert!(dropped.get() || kept_waker.borrow().is_none());

        event_loop.context().schedule(|home| {
            home.context().schedule(|_| panic!("later"));
        });
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let borrowed = String::from("on this stack");
            event_loop.block_on(async {
                let _on_drop = OnDrop(&dropped);
                poll_fn(|cx| {
                    *kept_waker.borrow_mut() = Some(cx.waker().clone());
                    cx.waker().wake_by_ref();
                    assert_eq!(borrowed, "on this stack");
                    Poll::<()>::Pending
                })
                .await;
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"later"));
        assert!(dropped.get());
        // The queue still holds the scope's entry, and its waker lives on; both are harmless.
        drain(event_loop);
        let waker = kept_waker.take().unwrap();
        waker.wake_by_ref();
        thread::spawn(move || waker.wake()).join().unwrap();
        drain(event_loop);
    });
}

#[test]
fn a_panic_in_a_task_reaches_who_awaits_it_and_the_loop_goes_on() {
    on_each_loop(|event_loop| {
        let task = event_loop.context().spawn(async { panic!("task") });
        drop(event_loop.context().spawn(async { panic!("detached") }));
        drain(event_loop);
        assert!(task.is_finished());
        let caught = catch_unwind(AssertUnwindSafe(|| event_loop.block_on(task)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"task"));
        assert_eq!(
            event_loop.block_on(event_loop.context().spawn(async { 7 })),
            7
        );
    });
}

#[test]
fn a_panic_in_a_bottom_half_leaves_the_rest_queued() {
    on_each_loop(|event_loop| {
        let count = Count::default();
        event_loop.context().schedule(|_| panic!("bottom half"));
        let behind = count.clone();
        event_loop.context().schedule(move |_| {
            behind.add();
        });
        assert!(catch_unwind(AssertUnwindSafe(|| event_loop.poll(Wait::No))).is_err());
        assert_eq!(AioContext::current(), None);
        assert!(event_loop.poll(Wait::No));
        assert_eq!(count.get(), 1);
    });
}
