//! `stats`.

use std::sync::Arc;
use std::time::Duration;

use block_drivers::{Counters, NullCo, Raw, Stats, Tally};
use block_gs::{BlockDriver, IoThread, Node, NodeBuilder, Perm, Role};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};

use crate::support::{
    READ_WRITE, backend, disk, flush, in_layer, read, read_as_parent, write, write_as_parent,
};

fn counters(node: &Node) -> Counters {
    node.driver::<Stats>().expect("a stats node").counters()
}

#[test]
fn requests_bytes_and_errors_are_counted() {
    in_layer(|bql, _| {
        // One completes at once, the other later.
        for latency in [Duration::ZERO, Duration::from_micros(100)] {
            let null = NullCo::new(1000).latency(latency).open(bql, "");
            let node = Stats::over(&null.expect("opened")).open(bql, "");
            let node = node.expect("opened");
            assert_eq!(node.io().length(), 1000);
            assert_eq!(counters(&node), Counters::default());
            let disk = backend(bql, &node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
            read(bql, &disk, 0, 10).expect("read");
            read(bql, &disk, 5, 300).expect("read");
            write(bql, &disk, 0, &[0; 7]).expect("written");
            assert!(write_as_parent(bql, &disk, 990, &[0; 100]).is_err());
            flush(bql, &disk).expect("flushed");
            let expected = Counters {
                reads: Tally {
                    requests: 2,
                    bytes: 310,
                    errors: 0,
                },
                writes: Tally {
                    requests: 2,
                    bytes: 7,
                    errors: 1,
                },
                flushes: Tally {
                    requests: 1,
                    bytes: 0,
                    errors: 0,
                },
                ..Counters::default()
            };
            assert_eq!(counters(&node), expected);

            // What never gets here is not counted: beyond the end, refused.
            read_as_parent(bql, &disk, 1000, 10).expect("zeroes");
            assert!(read(bql, &disk, 1000, 10).is_err());
            assert_eq!(counters(&node), expected);
        }
    });
}

/// A device that never answers a read.
struct Stuck;

impl DriverIo for Stuck {
    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::new(std::future::pending())
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(1000))
    }
}

impl BlockDriver for Stuck {
    fn format_name(&self) -> &'static str {
        "stuck"
    }
}

#[test]
fn a_cancelled_request_has_begun_and_no_more() {
    in_layer(|bql, _| {
        let stuck = NodeBuilder::new("").open(bql, Arc::new(Stuck));
        let node = Stats::over(&stuck.expect("opened")).open(bql, "");
        let node = node.expect("opened");
        let disk = disk(bql, &node);
        let root = disk.root().clone();
        let read = bql.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            root.read(0, buffer.destination()).await
        });
        bql.poll_until(|_| disk.root().in_flight() == 1);
        assert!(bql.block_on(read.cancel()).is_none());
        assert_eq!(disk.root().in_flight(), 0);
        let begun = Tally {
            requests: 1,
            ..Tally::default()
        };
        assert_eq!(counters(&node).reads, begun);
    });
}

#[test]
fn only_a_stats_node_has_counters() {
    in_layer(|bql, _| {
        let null = NullCo::new(1000).open(bql, "null").expect("opened");
        let raw = Raw::over(&null).open(bql, "raw").expect("opened");
        assert!(&null.driver::<Stats>().is_none());
        assert!(&raw.driver::<Stats>().is_none());
    });
}

#[test]
fn it_comes_and_goes_below_a_running_disk() {
    in_layer(|bql, _| {
        let null = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        let disk = disk(bql, &null);
        let iothread = IoThread::create(bql, "io0").expect("an iothread");
        let root = disk.root().clone();
        let reader = iothread.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            for sector in 0..2000 {
                root.read(sector * 512, buffer.destination()).await?;
                block_io::aio::yield_now().await;
            }
            Ok::<_, block_io::IoError>(())
        });
        let mut seen = 0;
        while !reader.is_finished() {
            let alone = NullCo::new(1 << 20).open(bql, "").expect("opened");
            let stats = Stats::over(&alone).open(bql, "").expect("opened");
            // As a filter it takes the node's place, and gives it back.
            stats.drain(bql).detach_child("file").expect("detached");
            null.drain(bql).append(&stats).expect("inserted");
            assert_eq!(disk.node(bql).as_ref(), Some(&stats));
            bql.run_for(Duration::from_millis(1));
            stats.drain(bql).drop_filter().expect("taken out");
            assert_eq!(disk.node(bql).as_ref(), Some(&null));
            let reads = counters(&stats).reads;
            assert_eq!(reads.bytes, reads.requests * 512);
            seen += reads.requests;
        }
        bql.block_on(reader).expect("read");
        assert!(seen <= 2000, "each request is seen at most once: {seen}");
    });
}

#[test]
fn threads_count_together() {
    in_layer(|bql, _| {
        let null = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        let node = Stats::over(&null).open(bql, "stats").expect("opened");
        let disk = disk(bql, &node);
        let threads: Vec<_> = (0..4)
            .map(|index| IoThread::create(bql, &format!("io{index}")))
            .collect::<Result<_, _>>()
            .expect("iothreads");
        let tasks: Vec<_> = threads
            .iter()
            .map(|thread| {
                let root = disk.root().clone();
                thread.context().spawn(async move {
                    let mut buffer = Buffer::zeroed(512);
                    for _ in 0..1000 {
                        root.read(0, buffer.destination()).await?;
                        root.write(0, buffer.source()).await?;
                    }
                    Ok::<_, block_io::IoError>(())
                })
            })
            .collect();
        for task in tasks {
            bql.block_on(task).expect("no error");
        }
        let all = Tally {
            requests: 4000,
            bytes: 4000 * 512,
            errors: 0,
        };
        let counted = counters(&node);
        assert_eq!((counted.reads, counted.writes), (all, all));
    });
}

#[test]
fn it_asks_of_its_child_what_is_asked_of_it() {
    in_layer(|bql, _| {
        let null = NullCo::new(512).open(bql, "null").expect("opened");
        let node = Stats::over(&null).open(bql, "stats").expect("opened");
        let _disk = disk(bql, &node);
        let edge = node.view(bql).child("file").expect("a file");
        assert_eq!(edge.role(), Role::FILTERED | Role::PRIMARY);
        assert_eq!(edge.perm(), READ_WRITE);
        assert_eq!(edge.shared(), Perm::all());
    });
}
