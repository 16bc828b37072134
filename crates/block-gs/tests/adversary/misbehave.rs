//! Drivers that do what drivers must not do.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use block_common::StatusFlags;
use block_gs::{
    Backend, BlockDriver, BlockLimits, BqlGuard, ChildPermQuery, GraphError, IoThread, MainLoop,
    Node, NodeBuilder, Perm, PermPair, Role,
};
use block_io::aio::{Wait, sleep};
use block_io::{
    Buffer, Capabilities, Destination, DriverIo, IoError, IoFuture, Preallocation, Request, Root,
    Source, WriteFlags,
};

use crate::common::{Mem, backend, in_layer, node};

const NONE: WriteFlags = WriteFlags::empty();

// A driver cannot hold a lock of its thread across an `.await`: its futures
// are `Send`, and that is not.
static_assertions::assert_not_impl_any!(std::sync::MutexGuard<'static, ()>: Send);
static_assertions::assert_impl_all!(IoFuture<'static>: Send);

type Fn1<R> = Box<dyn Fn() -> R + Send + Sync>;
type OnRead = Box<dyn for<'r> Fn(Request<'r>, u64, Destination<'r>) -> IoFuture<'r> + Send + Sync>;
type OnStatus = Box<dyn Fn(u64, u64) -> (u64, u64) + Send + Sync>;
type OnLimits = Box<dyn Fn(&mut BlockLimits) + Send + Sync>;

/// Says and does what it is told to.
struct Liar {
    read: OnRead,
    length: Fn1<u64>,
    /// The length of the answer, and where that would be stored.
    status: OnStatus,
    limits: OnLimits,
    capabilities: Capabilities,
    asks_nothing: bool,
}

impl Default for Liar {
    fn default() -> Self {
        Liar {
            read: Box::new(|_, _, mut into| {
                into.fill(1);
                IoFuture::done()
            }),
            length: Box::new(|| 4096),
            status: Box::new(|_, bytes| (bytes, 0)),
            limits: Box::new(|_| ()),
            capabilities: Capabilities::default(),
            asks_nothing: false,
        }
    }
}

impl DriverIo for Liar {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        (self.read)(request, offset, into)
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, block_io::BlockStatus<'r>> {
        let (bytes, start) = (self.status)(offset, bytes);
        IoFuture::ready(Ok(block_io::BlockStatus {
            flags: StatusFlags::DATA | StatusFlags::RECURSE,
            bytes,
            at: Some((request.node(), start)),
        }))
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok((self.length)()))
    }
}

impl BlockDriver for Liar {
    fn format_name(&self) -> &'static str {
        "liar"
    }

    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        match self.asks_nothing {
            true => PermPair {
                perm: Perm::empty(),
                shared: Perm::all(),
            },
            false => query.default_perms(),
        }
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        (self.limits)(limits);
        Ok(())
    }
}

fn open(bql: &mut BqlGuard, name: &str, liar: Liar) -> Result<Node, GraphError> {
    NodeBuilder::new(name).open(bql, Arc::new(liar))
}

fn disk(bql: &mut BqlGuard, liar: Liar) -> (Node, Backend) {
    let node = open(bql, "disk", liar).expect("opened");
    let front = backend(bql, "front", &node);
    (node, front)
}

async fn read(root: Root, offset: u64, len: usize) -> Result<Vec<u8>, IoError> {
    let mut buffer = Buffer::zeroed(len);
    root.read(offset, buffer.destination()).await?;
    Ok(buffer.as_slice().to_vec())
}

fn is_quiet(bql: &mut BqlGuard, node: &Node, front: &Backend) {
    assert_eq!(front.root().in_flight(), 0);
    assert_eq!(node.io().in_flight(), 0);
    node.drain(bql).end();
    assert_eq!(front.root().quiesce_count(), 0);
}

/// A drain waits for a request that never ends, and the main loop goes on
/// meanwhile; cancelling the request ends both.
#[test]
fn a_request_that_never_ends_is_waited_for_until_it_is_cancelled() {
    in_layer(|bql| {
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(|_, _, _| IoFuture::new(pending())),
                ..Liar::default()
            },
        );
        let stuck = bql.context().spawn(read(front.root().clone(), 0, 512));
        bql.poll(Wait::No);
        assert_eq!(front.root().in_flight(), 1);
        let jobs = Arc::new(AtomicUsize::new(0));
        let (main, seen): (MainLoop, _) = (bql.main_loop(), Arc::clone(&jobs));
        let rescuer = bql.context().spawn(async move {
            for _ in 0..3 {
                sleep(Duration::from_millis(1)).await;
                let seen = Arc::clone(&seen);
                let counted = main
                    .call(move |_| seen.fetch_add(1, Ordering::SeqCst))
                    .await;
                counted.expect("the loop runs");
            }
            stuck.cancel().await
        });
        node.drain(bql).end();
        assert_eq!(jobs.load(Ordering::SeqCst), 3, "it ran while it waited");
        assert!(bql.block_on(rescuer).is_none());
        is_quiet(bql, &node, &front);
    });
}

/// A driver that asks for a drained section of its own node, and waits for it
/// inside the request that the section waits for.
#[test]
fn a_drain_asked_for_inside_a_request_ends_when_the_request_is_cancelled() {
    in_layer(|bql| {
        let place: Arc<Mutex<Option<(Node, MainLoop)>>> = Arc::default();
        let asked = Arc::clone(&place);
        let read_and_drain = move |_: Request<'_>, _, _: Destination<'_>| {
            let (node, main) = asked.lock().expect("no panic").clone().expect("put there");
            IoFuture::new(async move {
                let drained = node.drained_by(&main, |_| ()).await;
                drained.map_err(|_| IoError::NotSupported)
            })
        };
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(move |request, offset, into| {
                    let running = read_and_drain(request, offset, into);
                    IoFuture::new(running)
                }),
                ..Liar::default()
            },
        );
        *place.lock().expect("no panic") = Some((node.clone(), bql.main_loop()));
        let stuck = bql.context().spawn(read(front.root().clone(), 0, 512));
        let rescuer = bql.context().spawn(async move {
            sleep(Duration::from_millis(5)).await;
            stuck.cancel().await
        });
        assert!(bql.block_on(rescuer).is_none(), "it would wait for ever");
        *place.lock().expect("no panic") = None;
        is_quiet(bql, &node, &front);
    });
}

/// Calls its waker when asked, and completes at the second poll.
struct Twice {
    wakers: Arc<Mutex<Vec<Waker>>>,
    polled: bool,
}

impl Future for Twice {
    type Output = Result<(), IoError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.wakers
            .lock()
            .expect("no panic")
            .push(cx.waker().clone());
        cx.waker().wake_by_ref();
        match std::mem::replace(&mut self.polled, true) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

#[test]
fn wakers_may_be_called_too_often_too_late_and_from_anywhere() {
    let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let ring = |wakers: &Arc<Mutex<Vec<Waker>>>| {
        let wakers = wakers.lock().expect("no panic").clone();
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let wakers = wakers.clone();
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        wakers.iter().for_each(Waker::wake_by_ref);
                    }
                })
            })
            .collect();
        for ringer in ringers {
            ringer.join().expect("no panic");
        }
    };
    in_layer(|bql| {
        let kept = Arc::clone(&wakers);
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(move |_, _, _| {
                    IoFuture::new(Twice {
                        wakers: Arc::clone(&kept),
                        polled: false,
                    })
                }),
                ..Liar::default()
            },
        );
        // Of requests that ended, that were dropped, and of the main loop.
        let ended = bql.context().spawn(read(front.root().clone(), 0, 512));
        bql.block_on(ended).expect("read");
        bql.block_on(read(front.root().clone(), 0, 512))
            .expect("read");
        let dropped = bql.context().spawn(read(front.root().clone(), 0, 512));
        bql.poll(Wait::No);
        bql.block_on(dropped.cancel());
        assert!(wakers.lock().expect("no panic").len() >= 4);
        ring(&wakers);
        is_quiet(bql, &node, &front);
        let again = bql.block_on(read(front.root().clone(), 0, 512));
        again.expect("read");
    });
    // And when the layer is gone.
    ring(&wakers);
}

#[test]
fn a_future_that_is_polled_after_its_end_panics_and_counts_nothing_twice() {
    in_layer(|bql| {
        let (node, front) = disk(bql, Liar::default());
        for later in [false, true] {
            let (root, io) = (front.root().clone(), Arc::clone(node.io()));
            bql.block_on(async move {
                let mut buffer = Buffer::zeroed(512);
                let in_flight = root.begin().await;
                let request = in_flight.request().expect("a node");
                let mut running = match later {
                    false => request.read(0, buffer.destination()),
                    true => IoFuture::new(async move {
                        let _ = request.flush().await;
                        Ok(())
                    }),
                };
                poll_fn(|cx| Pin::new(&mut running).poll(cx))
                    .await
                    .expect("read");
                let cx = &mut Context::from_waker(Waker::noop());
                let polled = catch_unwind(AssertUnwindSafe(|| {
                    let _ = Pin::new(&mut running).poll(cx);
                }));
                assert!(polled.is_err());
                drop(running);
                drop(in_flight);
                assert_eq!((root.in_flight(), io.in_flight()), (0, 0));
            });
        }
        is_quiet(bql, &node, &front);
    });
}

/// Work that goes on when its request is over is waited for if the driver has
/// said so.
#[test]
fn work_that_outlives_its_request_keeps_the_node_busy() {
    in_layer(|bql| {
        let over = Arc::new(AtomicUsize::new(0));
        let ends = Arc::clone(&over);
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(move |request, _, _| {
                    let (activity, ends) = (request.activity(), Arc::clone(&ends));
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(10));
                        ends.fetch_add(1, Ordering::SeqCst);
                        drop(activity);
                    });
                    IoFuture::done()
                }),
                ..Liar::default()
            },
        );
        bql.block_on(read(front.root().clone(), 0, 512))
            .expect("read");
        assert_eq!(front.root().in_flight(), 0, "the request is over");
        node.drain(bql).end();
        assert_eq!(over.load(Ordering::SeqCst), 1, "its work is, too");
    });
}

fn status(bql: &mut BqlGuard, front: &Backend, range: (u64, u64)) -> Result<(u64, bool), IoError> {
    let root = front.root().clone();
    bql.block_on(async move {
        let in_flight = root.begin().await;
        let request = in_flight.request()?;
        let said = request.block_status(range.0, range.1, true).await?;
        Ok((said.bytes, said.flags.contains(StatusFlags::EOF)))
    })
}

#[test]
fn answers_about_ranges_are_cut_and_no_progress_is_an_error() {
    in_layer(|bql| {
        let answers = [0, 1, 512, 4096, 1 << 40, u64::MAX];
        let turn = Arc::new(AtomicUsize::new(0));
        let said = Arc::clone(&turn);
        let (node, front) = disk(
            bql,
            Liar {
                status: Box::new(move |_, _| {
                    // Stored at the very end of what there is, and beyond.
                    (answers[said.load(Ordering::SeqCst)], u64::MAX - 7)
                }),
                limits: Box::new(|limits| limits.request_alignment = 512),
                ..Liar::default()
            },
        );
        for (index, &answer) in answers.iter().enumerate() {
            turn.store(index, Ordering::SeqCst);
            for (offset, bytes) in [(0, 4096), (100, 1000), (4000, 96), (4000, 4000)] {
                let inside = bytes.min(4096 - offset);
                match status(bql, &front, (offset, bytes)) {
                    Ok((said, eof)) => {
                        assert!(said > 0 && said <= inside, "{answer}: {said}");
                        assert_eq!(eof, offset + said == 4096, "{answer}");
                    }
                    Err(error) => assert!(answer <= offset % 512, "{answer}: {error}"),
                }
            }
            let beyond = status(bql, &front, (4096, 512)).expect("the end");
            assert_eq!(beyond, (0, true));
        }
        is_quiet(bql, &node, &front);
    });
}

/// The length is whatever comes to the driver's mind, in each call another.
#[test]
fn a_length_that_changes_between_calls_reads_no_more_than_was_asked() {
    in_layer(|bql| {
        let lengths = [4096, 0, 1, u64::MAX >> 1, u64::MAX, 513, 1 << 62];
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let (node, front) = disk(
            bql,
            Liar {
                length: Box::new(move || {
                    let call = count.fetch_add(1, Ordering::SeqCst);
                    lengths[call % lengths.len()]
                }),
                capabilities: Capabilities {
                    variable_length: true,
                    ..Capabilities::default()
                },
                ..Liar::default()
            },
        );
        for turn in 0..50 {
            let offset = turn * 97 % 5000;
            // Refused, or as long as was asked for.
            if let Ok(bytes) = bql.block_on(read(front.root().clone(), offset, 512)) {
                assert_eq!(bytes.len(), 512);
            }
            let root = front.root().clone();
            let length = bql.block_on(async move { root.length().await });
            assert!(length.is_err() || length.is_ok_and(|length| length < 1 << 63));
        }
        assert!(calls.load(Ordering::SeqCst) > 50);
        is_quiet(bql, &node, &front);
    });
}

#[test]
fn limits_that_cannot_be_are_refused_and_huge_ones_are_kept_to() {
    in_layer(|bql| {
        let impossible: [fn(&mut BlockLimits); 5] = [
            |limits| limits.request_alignment = 0,
            |limits| limits.request_alignment = 513,
            |limits| limits.request_alignment = 1 << 31,
            |limits| limits.memory_alignment = 3,
            |limits| limits.discard_alignment = u32::MAX,
        ];
        for limits in impossible {
            let refused = open(
                bql,
                "never",
                Liar {
                    limits: Box::new(limits),
                    ..Liar::default()
                },
            );
            assert!(refused.is_err());
            assert!(Node::find(bql, "never").is_none());
        }
        let (node, front) = disk(
            bql,
            Liar {
                limits: Box::new(|limits| {
                    limits.request_alignment = 4096;
                    limits.memory_alignment = 1 << 20;
                    limits.optimal_memory_alignment = 1 << 20;
                    limits.max_transfer = 1;
                    limits.max_segments = 0;
                }),
                ..Liar::default()
            },
        );
        let bytes = bql
            .block_on(read(front.root().clone(), 5, 100))
            .expect("read");
        assert_eq!(bytes, [1; 100]);
        is_quiet(bql, &node, &front);
    });
}

/// Limits that are others each time: those of a node with requests in flight
/// stay what they were, whoever else may have quiesced it.
#[test]
fn limits_do_not_change_under_a_request() {
    in_layer(|bql| {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let fickle = open(
            bql,
            "fickle",
            Liar {
                read: Box::new(|request, _, _| {
                    IoFuture::new(async move {
                        let limits = request.limits();
                        let before = limits.max_transfer;
                        sleep(Duration::from_millis(10)).await;
                        assert_eq!(limits.max_transfer, before, "they are borrowed");
                        Ok(())
                    })
                }),
                limits: Box::new(move |limits| {
                    limits.max_transfer = 4096 * (1 + count.fetch_add(1, Ordering::SeqCst));
                }),
                ..Liar::default()
            },
        )
        .expect("opened");
        let front = backend(bql, "front", &fickle);
        let (base, _) = node(bql, "base", Mem::of(4096));
        let (other, _) = node(bql, "other", Mem::overlay(4096));
        other.drain(bql).set_backing(Some(&base)).expect("attached");
        let reading = bql.context().spawn(read(front.root().clone(), 0, 512));
        bql.poll(Wait::No);
        assert_eq!(front.root().in_flight(), 1);
        // Runs while the section below waits: the node is quiesced and busy,
        // and gets a parent, and loses it again.
        let child = fickle.clone();
        bql.main_loop().schedule(move |bql| {
            let mut section = other.drain(bql);
            section.set_backing(Some(&child)).expect("replaced");
            section.set_backing(Some(&base)).expect("replaced");
            section.set_backing(None).expect("detached");
        });
        fickle.drain(bql).end();
        bql.block_on(reading).expect("read");
        is_quiet(bql, &fickle, &front);
    });
}

#[test]
fn capabilities_that_are_claimed_and_missing_cost_errors_and_no_more() {
    in_layer(|bql| {
        let claims = Capabilities {
            passes_through: true,
            filter: true,
            write_flags: WriteFlags::all(),
            zero_flags: Some(WriteFlags::all()),
            discards: true,
            flushes_to_disk: true,
            variable_length: true,
            serialises_below: true,
            truncates_to_zeroes: true,
            hears_events: true,
        };
        // Passing through to a child that is not there, too.
        let (node, front) = disk(
            bql,
            Liar {
                capabilities: claims,
                ..Liar::default()
            },
        );
        let root = front.root().clone();
        bql.block_on(async move {
            let buffer = Buffer::zeroed(512);
            root.write_with(0, buffer.source(), WriteFlags::FUA)
                .await
                .expect("written");
            // There is none, so it is done by writing.
            root.write_zeroes(0, 512, NONE).await.expect("written");
            root.discard(0, 512).await.expect("a hint");
            root.flush().await.expect("nothing to do");
            let truncated = root.truncate(8192, true, Preallocation::Off).await;
            assert!(truncated.is_err());
            let in_flight = root.begin().await;
            let request = in_flight.request().expect("a node");
            assert!(request.file().is_err());
            let chain = request.block_status_above(None, 0, 512, true).await;
            chain.expect("an answer");
        });
        is_quiet(bql, &node, &front);
    });
}

/// The permissions of a request are those of the edge that it entered by. A
/// node that passes requests through promises to ask of its child what is
/// asked of it; one that breaks its promise lets others write where nobody
/// was asked. Nothing stops it, and memory is safe.
#[test]
fn a_node_that_passes_through_without_asking_lends_what_it_has_not() {
    in_layer(|bql| {
        let (base, driver) = node(bql, "base", Mem::of(4096));
        let pass = Liar {
            capabilities: Capabilities {
                passes_through: true,
                ..Capabilities::default()
            },
            asks_nothing: true,
            ..Liar::default()
        };
        let builder = NodeBuilder::new("pass").child("file", &base, Role::IMAGE);
        let pass = builder.open(bql, Arc::new(pass)).expect("opened");
        let front = backend(bql, "front", &pass);
        assert_eq!(base.view(bql).cumulative_perm(), Perm::empty());
        let root = front.root().clone();
        let buffer = Buffer::from(&[3u8; 512][..]);
        bql.block_on(async move { root.write(0, buffer.source()).await })
            .expect("written");
        assert_eq!(driver.bytes.lock().expect("no panic")[0], 3);
        is_quiet(bql, &base, &front);
    });
}

/// A driver that reads its own node from within a read.
#[test]
fn requests_may_enter_their_own_node_again() {
    in_layer(|bql| {
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(|request, offset, mut into| {
                    if offset == 0 {
                        into.fill(1);
                        return IoFuture::done();
                    }
                    // Serialised after itself if it overlapped.
                    IoFuture::new(async move { request.read(offset - 512, into).await })
                }),
                limits: Box::new(|limits| limits.request_alignment = 512),
                ..Liar::default()
            },
        );
        let bytes = bql.block_on(read(front.root().clone(), 3584, 512));
        assert_eq!(bytes.expect("read"), [1; 512]);
        is_quiet(bql, &node, &front);
    });
}

/// A request that waits for itself: it overlaps with what it is part of, and
/// asks that nothing does.
#[test]
fn a_request_that_waits_for_itself_can_be_cancelled() {
    in_layer(|bql| {
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(|request, offset, into| {
                    IoFuture::new(async move {
                        let buffer = Buffer::zeroed(into.len());
                        let flags = WriteFlags::SERIALISING;
                        request.write_with(offset, buffer.source(), flags).await
                    })
                }),
                limits: Box::new(|limits| limits.request_alignment = 512),
                ..Liar::default()
            },
        );
        let stuck = bql.context().spawn(read(front.root().clone(), 0, 512));
        bql.run_for(Duration::from_millis(5));
        assert!(!stuck.is_finished());
        assert!(bql.block_on(stuck.cancel()).is_none());
        let root = front.root().clone();
        let written = bql.block_on(async move {
            let buffer = Buffer::zeroed(512);
            root.write(0, buffer.source()).await
        });
        written.expect("nobody is in its way");
        is_quiet(bql, &node, &front);
    });
}

/// A future whose destructor panics when it is cancelled.
#[test]
fn a_panic_while_a_request_is_dropped_leaves_nothing_counted() {
    struct Faulty;
    impl Drop for Faulty {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    in_layer(|bql| {
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(|_, _, _| {
                    IoFuture::new(async {
                        let _faulty = Faulty;
                        pending().await
                    })
                }),
                limits: Box::new(|limits| limits.request_alignment = 512),
                ..Liar::default()
            },
        );
        let root = front.root().clone();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let mut polled = Box::pin(read(root, 0, 512));
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(polled.as_mut().poll(cx).is_pending());
            drop(polled);
        }));
        assert!(caught.is_err());
        is_quiet(bql, &node, &front);
        let root = front.root().clone();
        let written = bql.block_on(async move {
            let buffer = Buffer::zeroed(512);
            root.write(0, buffer.source()).await
        });
        written.expect("its range is free");
    });
}

/// A bottom half that panics ends its thread, and what is at home there ends
/// with it: no request stays counted that nobody can finish.
#[test]
fn an_iothread_that_panics_leaves_no_request_behind() {
    in_layer(|bql| {
        let (node, front) = disk(
            bql,
            Liar {
                read: Box::new(|_, _, _| {
                    IoFuture::new(async {
                        sleep(Duration::from_secs(3600)).await;
                        Ok(())
                    })
                }),
                ..Liar::default()
            },
        );
        let io = IoThread::create(bql, "io0").expect("an iothread");
        front.set_iothread(bql, Some(&io)).expect("moved");
        let root = front.root();
        let homed = root.spawn(read(root.clone(), 0, 512));
        let fixed = io.context().spawn(read(root.clone(), 0, 512));
        bql.poll_until(|bql| {
            bql.main_loop().kick();
            front.root().in_flight() == 2
        });
        io.context()
            .schedule(|_| resume_unwind(Box::new("the bottom half")));
        node.drain(bql).end();
        for task in [homed, fixed] {
            let waited = catch_unwind(AssertUnwindSafe(|| bql.block_on(task)));
            assert!(waited.is_err(), "its thread has ended");
        }
        front.set_iothread(bql, None).expect("moved away");
        is_quiet(bql, &node, &front);
    });
}
