//! Drained sections on real threads.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use block_gs::{
    Backend, BqlGuard, DrainedAll, EdgeParent, IoThread, Node, Parent, Perm, Role, drain_all,
    drain_many, nodes,
};
use block_io::aio::{sleep, yield_now};
use block_io::engine::Pause;
use block_io::{Buffer, Request, Root};
use common::{Mem, above, backend, filter, in_layer, node, spin_until};

const SLOW: Duration = Duration::from_millis(20);

#[test]
fn a_section_waits_for_a_request_in_an_iothread() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::slow(4096, SLOW));
        let front = backend(bql, "front", &disk);
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let root = front.root().clone();
        let task = io.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            root.read(0, buffer.destination()).await
        });
        spin_until(bql, || driver.reads.load(Ordering::Relaxed) == 1);
        assert_eq!(front.root().in_flight(), 1);
        let section = disk.drain(bql);
        assert_eq!(front.root().in_flight(), 0);
        assert_eq!(driver.drain_begins.load(Ordering::Relaxed), 1);
        section.end();
        assert_eq!(driver.drained.load(Ordering::Relaxed), 0);
        bql.block_on(task).expect("read");
    });
}

#[test]
fn a_section_that_is_tried_is_given_up_for_a_request_that_hangs() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(4096));
        let front = backend(bql, "front", &disk);
        // A request that does not end before it is told to.
        let hangs = Arc::new(AtomicBool::new(true));
        let hung = {
            let (root, hangs) = (front.root().clone(), Arc::clone(&hangs));
            bql.context().spawn(async move {
                let _counted = root.begin().await;
                while hangs.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(1)).await;
                }
            })
        };
        while front.root().in_flight() == 0 {
            bql.poll(block_io::aio::Wait::No);
        }
        for limit in [Duration::ZERO, SLOW] {
            assert!(disk.try_drain(bql, limit).is_none());
            assert_eq!(driver.drained.load(Ordering::Relaxed), 0);
            // Others begin and end as ever.
            let mut buffer = Buffer::zeroed(512);
            bql.block_on(front.root().read(0, buffer.destination()))
                .expect("read");
        }
        // One that comes while the section is waited for runs after it.
        let parked = {
            let (root, driver) = (front.root().clone(), driver.clone());
            bql.context().spawn(async move {
                while driver.drained.load(Ordering::Relaxed) == 0 {
                    yield_now().await;
                }
                let mut buffer = Buffer::zeroed(512);
                root.read(0, buffer.destination()).await
            })
        };
        let reads = driver.reads.load(Ordering::Relaxed);
        assert!(disk.try_drain(bql, SLOW).is_none());
        bql.block_on(parked).expect("read");
        assert_eq!(driver.reads.load(Ordering::Relaxed), reads + 1);
        // Inside another section too, which stays.
        hangs.store(false, Ordering::Relaxed);
        let mut section = disk.try_drain(bql, Duration::MAX).expect("it ends");
        assert_eq!(front.root().in_flight(), 0);
        let inner = section.also(&disk);
        drop(inner);
        section.track_overlaps();
        drop(section);
        bql.block_on(hung);
        let section = disk.try_drain(bql, Duration::ZERO);
        assert!(section.is_some(), "nothing is in flight");
    });
}

#[test]
fn requests_park_in_a_section_and_run_after_the_outermost() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(4096));
        let front = backend(bql, "front", &disk);
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let begun = Arc::new(AtomicBool::new(false));
        let mut outer = disk.drain(bql);
        let task = {
            let (root, begun) = (front.root().clone(), Arc::clone(&begun));
            io.context().spawn(async move {
                begun.store(true, Ordering::Release);
                let mut buffer = Buffer::zeroed(512);
                root.read(0, buffer.destination()).await
            })
        };
        {
            let mut inner = outer.also(&disk);
            while !begun.load(Ordering::Acquire) {
                inner.block_on(sleep(Duration::from_millis(1)));
            }
            inner.block_on(sleep(Duration::from_millis(5)));
            assert_eq!(driver.reads.load(Ordering::Relaxed), 0);
        }
        outer.block_on(sleep(Duration::from_millis(5)));
        assert_eq!(
            driver.reads.load(Ordering::Relaxed),
            0,
            "the outer one holds"
        );
        drop(outer);
        bql.block_on(task).expect("read");
        assert_eq!(driver.reads.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn quiescing_goes_up_and_not_down() {
    in_layer(|bql| {
        let (base, base_driver) = node(bql, "base", Mem::of(4096));
        let (top, top_driver) =
            above(bql, "top", Mem::overlay(4096), "backing", &base, Role::COW).expect("opened");
        let front = backend(bql, "front", &top);
        let quiesced = |bql: &block_gs::BqlGuard, node: &Node| node.view(bql).quiesce_count();
        {
            let section = top.drain(bql);
            assert_eq!(
                (quiesced(&section, &top), quiesced(&section, &base)),
                (1, 0)
            );
            assert_eq!(front.root().quiesce_count(), 1);
            assert_eq!(base_driver.drained.load(Ordering::Relaxed), 0);
        }
        {
            let section = base.drain(bql);
            assert_eq!(
                (quiesced(&section, &top), quiesced(&section, &base)),
                (1, 1)
            );
            assert_eq!(front.root().quiesce_count(), 1);
            assert_eq!(top_driver.drained.load(Ordering::Relaxed), 1);
        }
        {
            let section = drain_all(bql);
            assert_eq!(
                (quiesced(&section, &top), quiesced(&section, &base)),
                (2, 1)
            );
        }
        assert_eq!((quiesced(bql, &top), quiesced(bql, &base)), (0, 0));
        assert_eq!(front.root().quiesce_count(), 0);
    });
}

#[test]
fn a_section_over_many_nodes_is_one() {
    in_layer(|bql| {
        let all: Vec<Node> = (0..10)
            .map(|i| node(bql, &format!("n{i}"), Mem::of(512)).0)
            .collect();
        let fronts: Vec<Backend> = all
            .iter()
            .map(|disk| backend(bql, &format!("b{}", disk.name()), disk))
            .collect();
        let mut section = drain_many(bql, all.clone());
        assert!(fronts.iter().all(|front| front.root().quiesce_count() == 1));
        let inner = section.also(&all[3]);
        assert_eq!(inner.node().view(&inner).quiesce_count(), 2);
        inner.end();
        let (first, last) = (&all[0], &all[9]);
        let everything = section.also_all();
        let counts = [first, last].map(|node| node.view(&everything).quiesce_count());
        assert_eq!(counts, [2, 2]);
        everything.end();
        let mut one = section.also(first);
        let everything = one.also_all();
        let counts = [first, last].map(|node| node.view(&everything).quiesce_count());
        assert_eq!(counts, [3, 2]);
        everything.end();
        assert_eq!(last.view(&one).quiesce_count(), 1);
        one.end();
        section.end();
        assert!(fronts.iter().all(|front| front.root().quiesce_count() == 0));
    });
}

#[test]
fn the_end_of_a_section_over_everything_lets_everybody_go_on() {
    in_layer(|bql| {
        let nodes: Vec<_> = (0..2)
            .map(|at| node(bql, &format!("disk{at}"), Mem::of(4096)))
            .collect();
        let fronts: Vec<_> = (0..2)
            .map(|at| {
                let front = backend(bql, &format!("front{at}"), &nodes[at].0);
                let thread = IoThread::create(bql, &format!("io{at}")).expect("a thread");
                front.set_iothread(bql, Some(&thread)).expect("moved");
                front
            })
            .collect();
        let reads = || {
            nodes
                .iter()
                .map(|(_, mem)| mem.reads.load(Ordering::Relaxed))
                .sum::<usize>()
        };
        let begins = nodes[0].1.drain_begins.load(Ordering::Relaxed);
        let mut outer: DrainedAll<'_> = drain_all(bql);
        let tasks: Vec<_> = fronts
            .iter()
            .map(|front| {
                let root = front.root().clone();
                front.root().spawn(async move {
                    let mut buffer = Buffer::zeroed(512);
                    root.read(0, buffer.destination()).await
                })
            })
            .collect();
        let counts = |bql: &BqlGuard| {
            nodes
                .iter()
                .map(|(node, _)| node.view(bql).quiesce_count())
                .collect::<Vec<_>>()
        };
        outer.with(|bql| {
            let inner: DrainedAll<'_> = drain_all(bql);
            assert_eq!(counts(&inner), [2, 2]);
            inner.end();
            assert_eq!(counts(bql), [1, 1]);
            bql.run_for(Duration::from_millis(5));
        });
        assert!(tasks.iter().all(|task| !task.is_finished()));
        assert_eq!(reads(), 0);
        outer.end();
        assert_eq!(counts(bql), [0, 0]);
        for task in tasks {
            bql.block_on(task).expect("read");
        }
        assert_eq!(reads(), 2);
        for (_, driver) in &nodes {
            assert_eq!(driver.drain_begins.load(Ordering::Relaxed), begins + 1);
            assert_eq!(driver.drained.load(Ordering::Relaxed), 0);
        }
    });
}

/// Looks at a root while a section over it waits.
struct Looks {
    root: Root,
    woken: AtomicUsize,
    pending: AtomicBool,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

/// The parent that looks.
struct Looker(Arc<Looks>);

impl EdgeParent for Looker {
    fn describe(&self) -> String {
        "a test that looks".into()
    }

    fn drained_poll(&self, _bql: &BqlGuard) -> bool {
        let waker = Waker::from(Arc::clone(&self.0));
        let looked = self.0.root.poll_idle(&mut Context::from_waker(&waker));
        if looked.is_pending() {
            self.0.pending.store(true, Ordering::Release);
        }
        false
    }
}

#[test]
fn who_looks_at_a_closed_root_is_woken_by_its_last_request() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let front = backend(bql, "front", &disk);
        let root = front.root().clone();
        let looks = Arc::new(Looks {
            root: root.clone(),
            woken: AtomicUsize::new(0),
            pending: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&looks));
        let mut cx = Context::from_waker(&waker);
        assert!(root.poll_idle(&mut cx).is_ready());
        let parent = Parent::new(bql, Arc::new(Looker(Arc::clone(&looks))));
        let attached = parent.attach(bql, "main", &disk, Perm::empty(), Perm::all());
        attached.expect("attached");
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let (begun, seen) = (Arc::new(AtomicBool::new(false)), Arc::clone(&looks));
        let begins = Arc::clone(&begun);
        let task = thread.context().spawn(async move {
            let _in_flight = seen.root.begin().await;
            begins.store(true, Ordering::Release);
            while !seen.pending.load(Ordering::Acquire) {
                yield_now().await;
            }
        });
        spin_until(bql, || begun.load(Ordering::Acquire));
        let section = disk.drain(bql);
        assert!(
            looks.pending.load(Ordering::Acquire),
            "it was asked meanwhile"
        );
        assert!(root.poll_idle(&mut cx).is_ready());
        section.end();
        bql.block_on(task);
        // The section may have seen the count before the waker was called.
        assert!(looks.woken.load(Ordering::Relaxed) >= 1);
    });
}

#[test]
fn nodes_are_born_quiesced_while_everything_is_drained() {
    in_layer(|bql| {
        let (old, _) = node(bql, "old", Mem::of(512));
        let mut section = drain_all(bql);
        let (new, driver) = section.with(|bql| node(bql, "new", Mem::of(512)));
        assert_eq!(new.view(&section).quiesce_count(), 1);
        assert_eq!(driver.drained.load(Ordering::Relaxed), 1);
        let front = section.with(|bql| backend(bql, "front", &new));
        assert_eq!(front.root().quiesce_count(), 1);
        // The old node may go away inside the section.
        section.with(|bql| {
            drop(old);
            bql.poll(block_io::aio::Wait::No);
        });
        assert_eq!(nodes(&section).count(), 1);
        section.end();
        assert_eq!(new.view(bql).quiesce_count(), 0);
        assert_eq!(front.root().quiesce_count(), 0);
        assert_eq!(driver.drained.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn the_owner_does_io_inside_its_section() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::slow(4096, Duration::from_millis(1)));
        let (top, _) = filter(bql, "top", &disk);
        let _front = backend(bql, "front", &top);
        let mut section = top.drain(bql);
        let read = section.io(async |request: Request<'_>| {
            let buffer = Buffer::from(&[7u8; 512][..]);
            request.write(0, buffer.source()).await?;
            let mut back = Buffer::zeroed(512);
            request.read(0, back.destination()).await?;
            request.flush().await?;
            Ok::<_, block_io::IoError>(back)
        });
        assert_eq!(read.expect("own I/O").as_slice(), [7; 512]);
    });
}

/// A section that other main-loop code opens while the owner of an outer one
/// does I/O waits for that I/O like for any request.
#[test]
fn a_section_inside_the_owners_io_waits_for_it() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::slow(4096, SLOW));
        let inner_saw = Arc::new(AtomicUsize::new(usize::MAX));
        {
            let (disk, saw) = (disk.clone(), Arc::clone(&inner_saw));
            bql.main_loop().schedule(move |bql| {
                let section = disk.drain(bql);
                saw.store(section.node().io().in_flight() as usize, Ordering::Relaxed);
            });
        }
        let mut outer = disk.drain(bql);
        // The callback may have run while the outer section was opened.
        let ran_early = inner_saw.load(Ordering::Relaxed) != usize::MAX;
        outer
            .io(async |request: Request<'_>| {
                let mut buffer = Buffer::zeroed(512);
                request.read(0, buffer.destination()).await
            })
            .expect("read");
        drop(outer);
        assert_eq!(driver.reads.load(Ordering::Relaxed), 1);
        spin_until(bql, || inner_saw.load(Ordering::Relaxed) != usize::MAX);
        assert!(
            !ran_early,
            "nothing was in flight, so opening does not poll"
        );
        assert_eq!(inner_saw.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn io_code_asks_for_a_section_and_awaits_it() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(4096));
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let (main, asked) = (bql.main_loop(), disk.clone());
        let task = io.context().spawn(async move {
            asked
                .drained_by(&main, |section| {
                    section.node().view(section).quiesce_count()
                })
                .await
        });
        assert_eq!(bql.block_on(task), Ok(1));
        assert_eq!(disk.view(bql).quiesce_count(), 0);
    });
}

/// A parent like a job: pauses when told to, some time later.
#[derive(Default)]
struct Job {
    pauses: AtomicUsize,
    resumed: AtomicUsize,
    running: AtomicBool,
}

impl EdgeParent for Job {
    fn describe(&self) -> String {
        "test job 'j0'".into()
    }

    fn drained_begin(&self, _bql: &block_gs::BqlGuard) {
        self.pauses.fetch_add(1, Ordering::AcqRel);
    }

    fn drained_poll(&self, _bql: &block_gs::BqlGuard) -> bool {
        self.running.load(Ordering::Acquire)
    }

    fn drained_end(&self, _bql: &block_gs::BqlGuard) {
        self.pauses.fetch_sub(1, Ordering::AcqRel);
        self.resumed.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn a_job_is_told_to_pause_and_waited_for() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(4096));
        let (top, _) = filter(bql, "top", &base);
        let job = Arc::new(Job::default());
        job.running.store(true, Ordering::Release);
        let parent = Parent::new(bql, job.clone());
        parent
            .attach(bql, "main node", &top, Perm::empty(), Perm::all())
            .expect("attached");
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let worker = {
            let (job, main) = (Arc::clone(&job), bql.main_loop());
            io.context().spawn(async move {
                while job.pauses.load(Ordering::Acquire) == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
                sleep(Duration::from_millis(5)).await;
                job.running.store(false, Ordering::Release);
                main.kick();
            })
        };
        let section = base.drain(bql);
        assert!(!job.running.load(Ordering::Acquire), "the section waited");
        assert_eq!(job.pauses.load(Ordering::Acquire), 1);
        section.end();
        assert_eq!(job.pauses.load(Ordering::Acquire), 0);
        assert_eq!(job.resumed.load(Ordering::Acquire), 1);
        bql.block_on(worker);
    });
}

/// A parent that works in steps.
#[derive(Default)]
struct Stepping {
    pause: Pause,
    is_at_work: AtomicBool,
    steps: AtomicUsize,
}

impl EdgeParent for Stepping {
    fn describe(&self) -> String {
        "test job 'j1'".into()
    }

    fn drained_begin(&self, _bql: &BqlGuard) {
        self.pause.pause();
    }

    fn drained_poll(&self, bql: &BqlGuard) -> bool {
        let waker = bql.waker();
        let polled = self.pause.poll_paused(&mut Context::from_waker(&waker));
        polled.is_pending()
    }

    fn drained_end(&self, _bql: &BqlGuard) {
        self.pause.resume();
    }
}

#[test]
fn a_job_with_two_nodes_rests_in_every_section_and_goes_on() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(4096));
        let (two, _) = node(bql, "two", Mem::of(4096));
        let job = Arc::new(Stepping::default());
        let parent = Parent::new(bql, job.clone());
        let edges = [&one, &two].map(|node| {
            let attached = parent.attach(bql, "node", node, Perm::empty(), Perm::all());
            attached.expect("attached")
        });
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (job, stop) = (Arc::clone(&job), Arc::clone(&stop));
            io.context().spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let step = job.pause.work().await;
                    job.is_at_work.store(true, Ordering::Relaxed);
                    yield_now().await;
                    job.steps.fetch_add(1, Ordering::Relaxed);
                    job.is_at_work.store(false, Ordering::Relaxed);
                    drop(step);
                }
            })
        };
        for round in 0..200 {
            let before = job.steps.load(Ordering::Relaxed);
            let mut outer = one.drain(bql);
            assert!(
                !job.is_at_work.load(Ordering::Relaxed),
                "the section waited"
            );
            let inner = outer.also(if round % 2 == 0 { &two } else { &one });
            let during = job.steps.load(Ordering::Relaxed);
            assert_eq!(job.pause.count(), 1 + u32::from(round % 2 == 0));
            inner.end();
            assert_eq!(job.pause.count(), 1, "the outer section goes on");
            assert_eq!(job.steps.load(Ordering::Relaxed), during);
            outer.end();
            assert_eq!(job.pause.count(), 0, "resumed once for each edge");
            let went_on = || job.steps.load(Ordering::Relaxed) > before;
            spin_until(bql, went_on);
        }
        for edge in edges {
            parent.detach(bql, edge).expect("it is there");
        }
        assert_eq!(job.pause.count(), 0, "it was not told again");
        stop.store(true, Ordering::Release);
        bql.block_on(worker);
    });
}

#[test]
fn a_panic_in_a_section_ends_it() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(4096));
        let front = backend(bql, "front", &disk);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _section = disk.drain(bql);
            panic!("inside");
        }));
        assert!(outcome.is_err());
        assert_eq!(disk.view(bql).quiesce_count(), 0);
        assert_eq!(driver.drained.load(Ordering::Relaxed), 0);
        let mut buffer = Buffer::zeroed(512);
        bql.block_on(front.root().read(0, buffer.destination()))
            .expect("the graph is usable");
    });
}

#[test]
fn a_forgotten_section_costs_progress_and_no_safety() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(4096));
        let front = backend(bql, "front", &disk);
        std::mem::forget(disk.drain(bql));
        assert_eq!(disk.view(bql).quiesce_count(), 1);
        assert!(front.root().try_begin().is_none());
    });
}

#[test]
fn dropping_a_parked_request_leaves_the_counters_right() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(4096));
        let front = backend(bql, "front", &disk);
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let mut section = disk.drain(bql);
        let root = front.root().clone();
        let task = io.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            root.read(0, buffer.destination()).await
        });
        section.block_on(sleep(Duration::from_millis(5)));
        assert!(section.block_on(task.cancel()).is_none());
        section.end();
        assert_eq!(front.root().in_flight(), 0);
        assert_eq!(driver.reads.load(Ordering::Relaxed), 0);
        disk.drain(bql).end();
    });
}
