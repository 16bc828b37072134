//! How long nodes are: growing writes, truncations, thresholds.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use block_drivers::{File, Raw, Throttle, ThrottleGroup};
use block_gs::{Backend, BqlGuard, Node, NodeBuilder, NodeOptions, Perm, Role};
use block_io::{Buffer, IoError, Preallocation, WriteFlags};

use crate::strict::{Call, Kind, Setup, Strict};
use crate::support::{
    GROWING, READ_WRITE, backend, discard, disk, errno, in_layer, pattern, poll_once, read, strict,
    unmap, write, zeroes,
};

const NONE: WriteFlags = WriteFlags::empty();

#[test]
fn only_who_may_resize_makes_a_node_longer() {
    in_layer(|bql| {
        let options = NodeOptions::default();
        let (front, node, driver) = disk(bql, vec![1; 1000], Setup::default(), options, READ_WRITE);
        let root = front.root();
        for (offset, len) in [(1000, 1), (999, 2), (5000, 10)] {
            let bytes = vec![2; len];
            let done = bql.block_on(write(root, offset, &bytes, NONE));
            assert!(matches!(done, Err(IoError::Permission(Perm::RESIZE))));
            let done = bql.block_on(zeroes(root, offset, len as u64, NONE));
            assert!(matches!(done, Err(IoError::Permission(Perm::RESIZE))));
        }
        assert!(driver.calls().is_empty());
        let jobs = backend(bql, &node, GROWING);
        bql.block_on(write(jobs.root(), 1500, &[2; 10], NONE))
            .expect("grown");
        assert_eq!(node.io().length(), 1510);
        assert!(bql.block_on(read(root, 990, 520)).expect("read")[10..510] == [0; 510][..500]);
        bql.block_on(zeroes(jobs.root(), 1600, 10, NONE))
            .expect("grown");
        assert_eq!(node.io().length(), 1610);
        // A backend keeps to the node unless told otherwise.
        let buffer = Buffer::from(&[3; 10][..]);
        let done = bql.block_on(jobs.root().write(1605, buffer.source()));
        assert!(matches!(done, Err(IoError::BeyondEnd { length: 1610, .. })));
        jobs.set_grows(bql, true);
        bql.block_on(jobs.root().write(1605, buffer.source()))
            .expect("grown");
        assert_eq!(node.io().length(), 1615);
        // Reads never go beyond.
        let mut into = Buffer::zeroed(2);
        let done = bql.block_on(jobs.root().read(1614, into.destination()));
        assert!(matches!(done, Err(IoError::BeyondEnd { .. })));
        front.set_grows(bql, true);
        let done = bql.block_on(front.root().write(1610, buffer.source()));
        assert!(matches!(done, Err(IoError::Permission(Perm::RESIZE))));
    });
}

/// The node is as long as what arrived.
#[test]
fn a_write_that_fails_half_way_grows_half_way() {
    in_layer(|bql| {
        let mut setup = Setup::default();
        setup.limits.max_transfer = 100;
        let (disk, node, driver) = disk(bql, vec![1; 150], setup, NodeOptions::default(), GROWING);
        driver.fail(Kind::Write, 2, 28);
        let done = write(disk.root(), 100, &[2; 400], NONE);
        assert_eq!(errno(bql.block_on(done)), 28);
        assert_eq!(driver.calls().len(), 3, "nothing follows a failure");
        assert_eq!((node.io().length(), driver.bytes().len()), (300, 300));
        let done = bql.block_on(read(disk.root(), 0, 400)).expect("read");
        assert!(done == [vec![1; 100], vec![2; 200], vec![0; 100]].concat());
    });
}

#[test]
fn truncations_are_checked_in_order() {
    in_layer(|bql| {
        let truncate = |bql: &mut BqlGuard, disk: &Backend, length| {
            let done = disk.root().truncate(length, true, Preallocation::Off);
            bql.block_on(done)
                .map_err(|error| (error.errno(), error.to_string()))
        };
        let read_only = NodeOptions {
            read_only: true,
            ..NodeOptions::default()
        };
        let perm = Perm::CONSISTENT_READ;
        let (front, _node, driver) = disk(bql, vec![1; 1000], Setup::default(), read_only, perm);
        let refused = truncate(bql, &front, 500).expect_err("read-only");
        assert_eq!(refused, (13, "Image is read-only".to_owned()));
        driver.content();
        let options = NodeOptions::default();
        let (front, node, driver) = disk(bql, vec![1; 1000], Setup::default(), options, READ_WRITE);
        assert_eq!(truncate(bql, &front, 500).expect_err("no permission").0, 1);
        let jobs = backend(bql, &node, GROWING);
        let (number, words) = truncate(bql, &jobs, u64::MAX).expect_err("too long");
        assert_eq!(number, 5);
        assert!(words.contains("exceeds maximum"), "{words}");
        driver.fail(Kind::Truncate, 0, 28);
        assert_eq!(truncate(bql, &jobs, 2000).expect_err("no space").0, 28);
        assert_eq!(node.io().length(), 1000);
        driver.fail(Kind::Length, 0, 5);
        let (number, words) = truncate(bql, &jobs, 2000).expect_err("no length");
        assert_eq!(number, 5);
        assert!(
            words.starts_with("Could not refresh total sector count: "),
            "{words}"
        );
        truncate(bql, &jobs, 300).expect("truncated");
        assert_eq!(node.io().length(), 300);
        let empty = Backend::new(bql, "", GROWING, Perm::all()).expect("a backend");
        assert_eq!(truncate(bql, &empty, 300).expect_err("empty").0, 123);
    });
}

#[test]
fn what_a_truncation_adds_does_not_show_the_backing_image() {
    in_layer(|bql| {
        let (base, _) = strict(bql, "base", vec![9; 2000], Setup::default(), unmap());
        for able in [false, true] {
            let mut setup = Setup {
                backing: true,
                ..Setup::default()
            };
            setup.capabilities.truncates_to_zeroes = able;
            let driver = Arc::new(Strict::new(vec![1; 1000], setup));
            let builder = NodeBuilder::new("").child("backing", &base, Role::COW);
            let node = builder.open(bql, driver.clone()).expect("opened");
            let disk = backend(bql, &node, GROWING);
            let mut truncate = |length| {
                let done = disk.root().truncate(length, true, Preallocation::Off);
                bql.block_on(done)
            };
            match truncate(1500) {
                Ok(()) => assert!(able),
                Err(error) => {
                    assert!(!able);
                    assert_eq!(error.errno(), 95);
                    let words = "Block driver does not support requested flags";
                    assert_eq!(error.to_string(), words);
                }
            }
            truncate(500).expect("nothing new");
        }
    });
}

/// The last one of two at a time wins, and the node is as long as the driver
/// says.
#[test]
fn truncations_and_growing_writes_agree_about_the_length() {
    in_layer(|bql| {
        for turns in 1..5 {
            let setup = Setup {
                turns,
                ..Setup::default()
            };
            let options = NodeOptions::default();
            let (disk, node, driver) = disk(bql, vec![1; 1000], setup, options, GROWING);
            let root = disk.root();
            bql.block_on(async {
                for round in 0..20u64 {
                    let to = 500 + round * 97 % 1000;
                    let mut truncation = pin!(root.truncate(to, true, Preallocation::Off));
                    let mut growing = pin!(write(root, 1200, &[2; 300], NONE));
                    let mut inside = pin!(write(root, 100, &[3; 150], NONE));
                    let mut other = pin!(root.truncate(to / 2 + 300, true, Preallocation::Off));
                    if round % 3 == 0 {
                        let _ = poll_once(growing.as_mut()).await;
                    }
                    let ends = futures(truncation.as_mut(), other.as_mut());
                    let ((one, two), grown) = futures(pin!(ends), growing.as_mut()).await;
                    one.and(two).and(grown).expect("all done");
                    inside.as_mut().await.expect("written");
                    assert_eq!(node.io().length(), driver.bytes().len() as u64, "{round}");
                }
            });
            assert_eq!(root.in_flight(), 0);
        }
    });
}

/// Both to their end, in turns.
async fn futures<A, B>(
    mut first: std::pin::Pin<&mut A>,
    mut second: std::pin::Pin<&mut B>,
) -> (A::Output, B::Output)
where
    A: Future,
    B: Future,
{
    let (mut one, mut two) = (None, None);
    loop {
        if one.is_none()
            && let std::task::Poll::Ready(done) = poll_once(first.as_mut()).await
        {
            one = Some(done);
        }
        if two.is_none()
            && let std::task::Poll::Ready(done) = poll_once(second.as_mut()).await
        {
            two = Some(done);
        }
        match (one, two) {
            (Some(one), Some(two)) => return (one, two),
            pending => (one, two) = pending,
        }
        block_io::aio::yield_now().await;
    }
}

/// A write that is on its way beyond the end is not lost by a truncation that
/// asks for the length too early.
#[test]
fn an_acknowledged_write_is_within_the_length() {
    in_layer(|bql| {
        for first in [true, false] {
            let setup = Setup {
                turns: 3,
                ..Setup::default()
            };
            let options = NodeOptions::default();
            let (disk, node, driver) = disk(bql, vec![1; 100], setup, options, GROWING);
            let root = disk.root();
            bql.block_on(async {
                let mut growing = pin!(write(root, 200, &[2; 100], NONE));
                let mut longer = pin!(root.truncate(150, true, Preallocation::Off));
                if first {
                    assert!(poll_once(growing.as_mut()).await.is_pending());
                }
                assert!(poll_once(longer.as_mut()).await.is_pending());
                let (truncated, written) = futures(longer, growing).await;
                truncated.expect("truncated");
                written.expect("written");
            });
            // In the order of arrival.
            let expected = if first { 150 } else { 300 };
            assert_eq!(driver.bytes().len(), expected);
            assert_eq!(node.io().length(), expected as u64);
        }
    });
}

fn open_throttle(bql: &mut BqlGuard, below: &Node) -> Node {
    let group = ThrottleGroup::new("group", Default::default()).expect("no limits");
    let throttle = Throttle::over(below).group(&group);
    throttle.open(bql, "").expect("opened")
}

/// Whoever makes the file longer, whoever looks at it from above sees it.
#[test]
fn a_file_that_grew_otherwise_is_seen_from_everywhere() {
    in_layer(|bql| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image");
        std::fs::write(&path, pattern(2048, 1)).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let throttle = open_throttle(bql, &file);
        let raw = Raw::over(&throttle).open(bql, "raw").expect("opened");
        let mut backends: Vec<_> = [&file, &throttle, &raw]
            .iter()
            .map(|node| backend(bql, node, READ_WRITE))
            .collect();
        let other = backend(bql, &file, GROWING);
        bql.block_on(write(other.root(), 3000, &[7; 96], NONE))
            .expect("grown");
        for (number, disk) in backends.iter().enumerate() {
            let mut into = Buffer::zeroed(96);
            let done = bql.block_on(disk.root().read(3000, into.destination()));
            done.unwrap_or_else(|error| panic!("{number}: {error}"));
            assert!(into.as_slice() == [7; 96], "{number}");
            let length = bql.block_on(disk.root().length()).expect("known");
            assert_eq!(length, 3096, "{number}");
        }
        // A window does not share the permission to resize.
        drop(other);
        let window = Raw::over(&raw).offset(1000).open(bql, "window");
        backends.push(backend(bql, &window.expect("opened"), READ_WRITE));
        // By another process.
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &[8; 4]))
            .expect("written");
        for (number, disk) in backends.iter().enumerate() {
            let base = if number == 3 { 1000 } else { 0 };
            let source = Buffer::from(&[number as u8; 4][..]);
            let done = bql.block_on(disk.root().write(3096 - base, source.source()));
            done.unwrap_or_else(|error| panic!("{number}: {error}"));
            let got = bql
                .block_on(read(disk.root(), 3096 - base, 6))
                .expect("read");
            assert!(
                got == [&[number as u8; 4][..], &[0, 0]].concat(),
                "{number}"
            );
        }
    });
}

type Told = Arc<Mutex<Vec<(String, u64, u64)>>>;

fn watch(bql: &mut BqlGuard, node: &Node, threshold: u64) -> Told {
    let told = Told::default();
    let notes = Arc::clone(&told);
    node.drain(bql)
        .set_write_threshold(threshold, move |name, by, threshold| {
            let mut notes = notes.lock().expect("no panic");
            notes.push((name.to_owned(), by, threshold));
        });
    told
}

#[test]
fn a_threshold_is_told_once_on_the_node_that_has_it() {
    in_layer(|bql| {
        for level in 0..3 {
            let mut setup = Setup::default();
            setup.capabilities.zero_flags = Some(NONE);
            setup.capabilities.discards = true;
            let name = format!("node{level}");
            let (node, _driver) = strict(bql, &name, vec![1; 4096], setup, unmap());
            let over = |bql: &mut BqlGuard, below: &Node, name: &str| {
                let raw = Raw::over(below).options(unmap());
                raw.open(bql, name).expect("opened")
            };
            let middle = over(bql, &node, &format!("middle{level}"));
            let top = over(bql, &middle, &format!("top{level}"));
            let disk = backend(bql, &top, READ_WRITE);
            let watched = [&node, &middle, &top][level];
            let root = disk.root();
            let write_to = |bql: &mut BqlGuard, end: u64| {
                bql.block_on(write(root, end - 100, &[1; 100], NONE))
                    .expect("written");
            };
            let told = watch(bql, watched, 1000);
            let take = |told: &Told| std::mem::take(&mut *told.lock().expect("no panic"));
            assert_eq!(watched.io().threshold(), 1000);
            write_to(bql, 1000);
            bql.block_on(read(root, 0, 4096)).expect("read");
            assert!(take(&told).is_empty());
            write_to(bql, 1024);
            let by = |bytes| vec![(watched.name().to_owned(), bytes, 1000)];
            assert_eq!(take(&told), by(24));
            assert_eq!(watched.io().threshold(), 0);
            write_to(bql, 2000);
            assert!(take(&told).is_empty(), "once");
            let told = watch(bql, watched, 1000);
            bql.block_on(zeroes(root, 0, 1010, NONE)).expect("zeroes");
            assert_eq!(take(&told), by(10));
            let told = watch(bql, watched, 1000);
            bql.block_on(discard(root, 1500, 500)).expect("discarded");
            assert_eq!(take(&told), by(1000));
            let told = watch(bql, watched, 0);
            write_to(bql, 4000);
            assert!(take(&told).is_empty(), "0 is never");
            // What does not pass the node is not told.
            let told = watch(bql, &top, 1000);
            let below = backend(bql, &node, READ_WRITE);
            bql.block_on(write(below.root(), 2000, &[1; 10], NONE))
                .expect("written");
            assert!(take(&told).is_empty());
        }
    });
}

/// A write in pieces, or with padding, is one write.
#[test]
fn a_threshold_counts_what_was_asked_for() {
    in_layer(|bql| {
        let mut setup = Setup::aligned(512);
        setup.limits.max_transfer = 512;
        let options = NodeOptions::default();
        let (disk, node, driver) = disk(bql, vec![1; 4096], setup, options, READ_WRITE);
        let told = watch(bql, &node, 1000);
        bql.block_on(write(disk.root(), 100, &[1; 3000], NONE))
            .expect("written");
        let told = told.lock().expect("no panic").clone();
        assert_eq!(told, [(node.name().to_owned(), 2100, 1000)]);
        let calls = driver.calls();
        assert!(calls.iter().any(|call| matches!(call, Call::Read(..))));
    });
}
