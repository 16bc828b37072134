//! `throttle`.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use block_drivers::{Limit, NullCo, Throttle, ThrottleConfig, ThrottleError, ThrottleGroup};
use block_gs::{Backend, BqlGuard, GraphError, IoThread, Node, Perm, Role};
use block_io::aio::yield_now;
use block_io::{Buffer, IoError, Request, Root};

use crate::support::{READ_WRITE, Tool, disk, flush, in_layer, read, write};

/// Nobody gets past this within the time of a test.
const HOUR: ThrottleConfig = ThrottleConfig {
    iops_total: Limit::NONE,
    iops_read: Limit::NONE,
    iops_write: Limit::NONE,
    bps_total: Limit::average(1),
    bps_read: Limit::NONE,
    bps_write: Limit::NONE,
    iops_size: 0,
};

const UNLIMITED: ThrottleConfig = ThrottleConfig {
    bps_total: Limit::NONE,
    ..HOUR
};

fn iops(avg: u64) -> ThrottleConfig {
    ThrottleConfig {
        iops_total: Limit::average(avg),
        ..UNLIMITED
    }
}

fn group(config: ThrottleConfig) -> ThrottleGroup {
    ThrottleGroup::new("group", config).expect("makes sense")
}

/// A disk of its own that is a member of the group.
fn member(bql: &mut BqlGuard, group: &ThrottleGroup) -> (Node, Backend) {
    let null = NullCo::new(1 << 20).read_zeroes(true).open(bql, "");
    let node = Throttle::over(&null.expect("opened")).group(group);
    let node = node.open(bql, "").expect("opened");
    let disk = disk(bql, &node);
    (node, disk)
}

async fn read_some(root: Root, bytes: usize) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(bytes);
    root.read(0, buffer.destination()).await
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets a request use up more than there will be in the time of a test.
fn use_up(bql: &mut BqlGuard, disk: &Backend) {
    read(bql, disk, 0, 4096).expect("the first one need not wait");
}

#[test]
fn it_is_a_filter_that_asks_for_what_it_is_asked() {
    in_layer(|bql, _| {
        let group = group(UNLIMITED);
        let (node, disk) = member(bql, &group);
        assert_eq!(node.io().length(), 1 << 20);
        let edge = node.view(bql).child("file").expect("a file");
        assert_eq!(edge.role(), Role::FILTERED | Role::PRIMARY);
        assert_eq!((edge.perm(), edge.shared()), (READ_WRITE, Perm::all()));
        assert_eq!(read(bql, &disk, 0, 100).expect("read"), [0; 100]);
        write(bql, &disk, 0, b"forgotten").expect("written");
        flush(bql, &disk).expect("flushed");
        let driver = node.driver::<Throttle>().expect("a throttle node");
        assert_eq!(driver.group(bql), group);
        assert_eq!(driver.group(bql).name(), "group");
    });
}

#[test]
fn what_need_not_wait_is_done_at_once() {
    in_layer(|bql, _| {
        // Without limits, without limits of this direction, with room.
        let writes = ThrottleConfig {
            bps_write: Limit::average(1),
            ..UNLIMITED
        };
        for config in [UNLIMITED, writes, iops(1000)] {
            let (node, _disk) = member(bql, &group(config));
            node.drain(bql).io(async |request: Request<'_>| {
                let mut buffer = Buffer::zeroed(512);
                let done = request.read(0, buffer.destination()).into_ready();
                assert!(done.expect("no allocation").is_ok());
            });
        }
    });
}

#[test]
fn a_flush_is_free() {
    in_layer(|bql, _| {
        let (_, disk) = member(bql, &group(HOUR));
        use_up(bql, &disk);
        for _ in 0..100 {
            flush(bql, &disk).expect("flushed");
        }
    });
}

#[test]
fn rates_hold_in_real_time() {
    in_layer(|bql, _| {
        let group = group(iops(200));
        let threads = ["io0", "io1"].map(|name| IoThread::create(bql, name).expect("a thread"));
        let members = [(); 2].map(|()| member(bql, &group));
        let begin = Instant::now();
        let mut tasks = Vec::new();
        for (thread, (_, disk)) in threads.iter().zip(&members) {
            for _ in 0..5 {
                let root = disk.root().clone();
                tasks.push(thread.context().spawn(async move {
                    for _ in 0..8 {
                        read_some(root.clone(), 512).await.expect("read");
                    }
                }));
            }
        }
        for task in tasks {
            bql.block_on(task);
        }
        // Of 80 requests 20 find room, the others wait 5 ms for each other.
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(290), "{took:?}");
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert_eq!(group.waiting(), 0);
    });
}

/// Begins a read and waits until it waits, or until it is done: limits other
/// than [`HOUR`] may be over by then.
macro_rules! waiting_read {
    ($bql:expr, $context:expr, $disk:expr, $group:expr) => {{
        let before = $group.waiting();
        let task = $context.spawn(read_some($disk.root().clone(), 512));
        while $group.waiting() == before && !task.is_finished() {
            $bql.run_for(Duration::from_millis(1));
        }
        task
    }};
}

#[test]
fn a_drain_lets_those_that_wait_run() {
    in_layer(|bql, _| {
        let group = group(HOUR);
        let (node, disk) = member(bql, &group);
        let (_, other_disk) = member(bql, &group);
        use_up(bql, &disk);
        let context = bql.context().clone();
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let here = waiting_read!(bql, context, disk, group);
        let there = waiting_read!(bql, thread.context(), disk, group);
        let other = waiting_read!(bql, context, other_disk, group);
        let section = node.drain(bql);
        assert_eq!(disk.root().in_flight(), 0);
        assert_eq!(group.waiting(), 1, "the other node is not drained");
        section.end();
        bql.block_on(here).expect("read");
        bql.block_on(there).expect("read");
        // Nor is this one any more.
        let again = waiting_read!(bql, context, disk, group);
        assert!(bql.block_on(again.cancel()).is_none());
        assert!(bql.block_on(other.cancel()).is_none());
    });
}

#[test]
fn a_drained_node_does_its_own_io_at_once() {
    in_layer(|bql, _| {
        let (node, disk) = member(bql, &group(HOUR));
        use_up(bql, &disk);
        let mut section = node.drain(bql);
        for _ in 0..3 {
            section
                .io(async |request: Request<'_>| {
                    let mut buffer = Buffer::zeroed(512);
                    request.read(0, buffer.destination()).await
                })
                .expect("read");
        }
    });
}

#[test]
fn other_limits_hold_for_those_that_wait() {
    in_layer(|bql, _| {
        let group = group(HOUR);
        let (_, disk) = member(bql, &group);
        use_up(bql, &disk);
        let context = bql.context().clone();
        let tasks = [(); 3].map(|()| waiting_read!(bql, context, disk, group));
        // On another thread, which has no event loop.
        let handle = group.clone();
        let other = std::thread::spawn(move || handle.set_config(iops(100)));
        other.join().expect("no panic").expect("makes sense");
        assert_eq!(group.config(), iops(100));
        for task in tasks {
            bql.block_on(task).expect("read");
        }

        group.set_config(HOUR).expect("makes sense");
        use_up(bql, &disk);
        let task = waiting_read!(bql, context, disk, group);
        let mut wrong = HOUR;
        wrong.bps_read = Limit::average(1);
        let refused = group.set_config(wrong).expect_err("total and read");
        assert_eq!(refused, ThrottleError::TotalAndOther);
        assert_eq!((group.config(), group.waiting()), (HOUR, 1));
        group.set_config(UNLIMITED).expect("makes sense");
        bql.block_on(task).expect("read");
    });
}

#[test]
fn a_cancelled_request_leaves_the_queue_and_the_next_one_runs() {
    in_layer(|bql, _| {
        let group = group(HOUR);
        let (_, disk) = member(bql, &group);
        let context = bql.context().clone();
        use_up(bql, &disk);
        let tasks = [(); 5].map(|()| waiting_read!(bql, context, disk, group));
        let [first, second, third, fourth, fifth] = tasks;
        assert!(bql.block_on(first.cancel()).is_none());
        assert_eq!((group.waiting(), disk.root().in_flight()), (4, 4));
        // The second one runs now, the third would be the next.
        group.set_config(iops(5)).expect("makes sense");
        bql.block_on(second).expect("read");
        let _ = bql.block_on(third.cancel());
        bql.block_on(fourth).expect("read");
        bql.block_on(fifth).expect("read");

        // The timer ends when nobody waits, and another one begins.
        group.set_config(HOUR).expect("makes sense");
        use_up(bql, &disk);
        for _ in 0..3 {
            let waits = waiting_read!(bql, context, disk, group);
            assert!(bql.block_on(waits.cancel()).is_none());
            assert_eq!(group.waiting(), 0);
        }
        let tasks = [(); 2].map(|()| waiting_read!(bql, context, disk, group));
        group.set_config(iops(5)).expect("makes sense");
        for task in tasks {
            bql.block_on(task).expect("read");
        }
    });
}

#[test]
fn a_future_that_nobody_polls_keeps_nobody_waiting() {
    in_layer(|bql, _| {
        let group = group(HOUR);
        let (_, disk) = member(bql, &group);
        let root = disk.root().clone();
        use_up(bql, &disk);
        bql.block_on(async {
            let mut stalled: Vec<Pin<Box<_>>> = Vec::new();
            for _ in 0..6 {
                let mut read = Box::pin(read_some(root.clone(), 512));
                assert!(poll_once(read.as_mut()).is_pending());
                stalled.push(read);
            }
            // Three of them may run at once, the others have to wait.
            group.set_config(iops(20)).expect("makes sense");
            read_some(root.clone(), 512).await.expect("read");
            for mut read in stalled {
                assert!(poll_once(read.as_mut()).is_ready());
            }
        });
    });
}

#[test]
fn a_loop_that_ends_leaves_the_timer_to_the_others() {
    in_layer(|bql, _| {
        // 4096 bytes are 300 ms.
        let group = group(ThrottleConfig {
            bps_total: Limit::average(10_000),
            ..UNLIMITED
        });
        let (_, disk) = member(bql, &group);
        let (_, other_disk) = member(bql, &group);
        let context = bql.context().clone();
        for round in 0..3 {
            let thread = IoThread::create(bql, "gone").expect("a thread");
            let staying = IoThread::create(bql, &format!("io{round}")).expect("a thread");
            use_up(bql, &disk);
            // The first one that waits has the timer at its home.
            let gone = waiting_read!(bql, thread.context(), disk, group);
            let here = waiting_read!(bql, context, other_disk, group);
            let there = waiting_read!(bql, staying.context(), other_disk, group);
            thread.remove(bql).expect("nobody is at home there");
            assert!(gone.is_finished());
            bql.block_on(here).expect("read");
            bql.block_on(there).expect("read");
            assert_eq!(group.waiting(), 0);
        }
    });
}

#[test]
fn nothing_is_lost_when_everything_happens_at_once() {
    in_layer(|bql, _| {
        let group = group(iops(1000));
        let threads: Vec<_> = (0..3)
            .map(|index| IoThread::create(bql, &format!("io{index}")))
            .collect::<Result<_, _>>()
            .expect("iothreads");
        let members: Vec<_> = (0..3).map(|_| member(bql, &group)).collect();
        let mut tasks = Vec::new();
        for (index, thread) in threads.iter().enumerate() {
            for (_, disk) in &members {
                let root = disk.root().clone();
                tasks.push(thread.context().spawn(async move {
                    for turn in 0..60 {
                        if turn % 4 == index {
                            // Begun and dropped.
                            let mut read = pin!(read_some(root.clone(), 512));
                            let _ = poll_once(read.as_mut());
                            yield_now().await;
                        }
                        read_some(root.clone(), 512).await.expect("read");
                    }
                }));
            }
        }
        let mut round = 0;
        while tasks.iter().any(|task| !task.is_finished()) {
            round += 1;
            match round % 4 {
                0 => group.set_config(iops(500)).expect("makes sense"),
                1 => group.set_config(UNLIMITED).expect("makes sense"),
                2 => group.set_config(HOUR).expect("makes sense"),
                _ => {
                    let (node, _) = &members[round % members.len()];
                    node.drain(bql).end();
                }
            }
            bql.run_for(Duration::from_millis(2));
        }
        for task in tasks {
            bql.block_on(task);
        }
        assert_eq!(group.waiting(), 0);
    });
}

#[test]
fn a_refusal_is_an_error_of_the_graph_in_its_words() {
    let config = ThrottleConfig {
        iops_size: 512,
        ..HOUR
    };
    let error = ThrottleGroup::new("group", config).expect_err("makes no sense");
    let error = GraphError::from(error);
    assert_eq!(
        error.to_string(),
        "iops size requires an iops value to be set"
    );
    assert_eq!(error.errno(), 22);
    let missing = ThrottleError::NoSuchGroup("foo".into());
    assert_eq!(missing.to_string(), "Throttle group 'foo' does not exist");
}

#[test]
fn qemu_refuses_the_same_in_the_same_words() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    const MOST: u64 = ThrottleConfig::MAX_VALUE;
    let five = Limit::average(5);
    let with = |change: &dyn Fn(&mut ThrottleConfig)| {
        let mut config = UNLIMITED;
        change(&mut config);
        config
    };
    let configs = [
        with(&|c| (c.bps_total, c.bps_write, c.iops_size) = (five, five, 512)),
        with(&|c| (c.iops_total.max, c.iops_read.max) = (5, 5)),
        with(&|c| (c.iops_size, c.bps_read.avg) = (512, MOST + 1)),
        with(&|c| c.iops_read.avg = MOST + 1),
        with(&|c| (c.iops_read.max, c.iops_read.burst_length) = (MOST + 1, 0)),
        with(&|c| c.bps_write.burst_length = 0),
        with(&|c| c.bps_write.burst_length = 2),
        with(&|c| c.bps_write = five.burst(MOST, 2)),
        with(&|c| c.bps_write = Limit::NONE.burst(MOST, 2)),
        with(&|c| c.bps_write.max = 5),
        with(&|c| c.iops_write = five.burst(4, 1)),
        with(&|c| (c.bps_read.max, c.bps_write.burst_length) = (5, 0)),
        with(&|c| c.iops_write = five.burst(5, u32::MAX)),
        with(&|c| (c.iops_write, c.iops_size) = (five.burst(MOST, 1), u64::MAX >> 1)),
    ];
    for config in configs {
        let options = config.to_string().replace(',', ",x-");
        let object = format!("throttle-group,id=group,x-{options}");
        let output = qemu_io.run(["--object", &object, "-c", "quit"]);
        let said = String::from_utf8(output.stderr).expect("text");
        let expected = match config.validate() {
            Ok(()) => String::new(),
            Err(error) => format!("qemu-io: {error}\n"),
        };
        assert_eq!(said, expected, "{options}");
    }
}
