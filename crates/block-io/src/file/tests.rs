//! Transfers by every way there is, and what is left of those that are dropped.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;

use block_common::IoError;
use rustix::io::{Errno, ReadWriteFlags};

use super::here::SHORT;
use super::*;
use crate::aio::{EventLoop, Wait, yield_now};
use crate::node::tests::null_node;
use crate::{Activity, Buffer, DestinationVec, SourceVec};

/// A loop with io_uring. Where the kernel forbids it there is nothing to test;
/// the test says so and ends.
macro_rules! ring_loop {
    () => {{
        let event_loop = EventLoop::new("test").expect("a loop");
        if let Some(error) = event_loop.context().io_uring_error() {
            println!("SKIPPED: no io_uring here: {error}");
            return;
        }
        event_loop
    }};
}

/// Every way of carrying a transfer out, in one call if it can and in pieces.
fn ways(file: &File) -> Vec<FileIo> {
    let mut ways = Vec::new();
    for chunk in [None, Some(0), Some(700), Some(1 << 20)] {
        // One byte at a time takes too long by an engine.
        let engines: &[_] = match chunk {
            Some(0) => &[None],
            _ => &[None, Some(Engine::IoUring), Some(Engine::Threads)],
        };
        for &engine in engines {
            for inline in [
                Inline::Never,
                Inline::NoWait,
                Inline::Patient,
                Inline::Always,
            ] {
                if chunk == Some(0) && inline == Inline::Never {
                    continue;
                }
                let fd = Arc::new(file.try_clone().expect("a descriptor").into());
                ways.push(FileIo::new(fd).engine(engine).inline(inline).chunk(chunk));
            }
        }
    }
    ways
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let byte = |index: usize| (index.wrapping_mul(31) >> 4) as u8 ^ seed;
    (0..len).map(byte).collect()
}

fn temporary(content: &[u8]) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(content, 0).expect("written");
    file
}

fn content(file: &File) -> Vec<u8> {
    let len = file.metadata().expect("metadata").len() as usize;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

fn turn_until(event_loop: &EventLoop, mut done: impl FnMut() -> bool) {
    while !done() {
        event_loop.poll(Wait::No);
        thread::yield_now();
    }
}

#[test]
fn every_way_reads_and_writes_the_same() {
    let event_loop = ring_loop!();
    let activity = Activity::try_begin(&null_node("n")).expect("open");
    let file = temporary(&[]);
    for (seed, io) in ways(&file).iter().enumerate() {
        file.set_len(0).expect("truncated");
        let bytes = pattern(5000, seed as u8);
        let source = Buffer::from(&bytes[..]);
        for durable in [false, true] {
            let (front, rest) = source.source().split_at(1234);
            event_loop.block_on(async {
                let at = if durable { 10 } else { 6000 };
                let request = activity.request();
                io.write(request, at, front, durable).await.expect("ok");
                io.write(request, at + 1234, rest, durable)
                    .await
                    .expect("ok");
                io.sync(request, durable).await.expect("synced");
            });
        }
        let mut expected = vec![0; 11_000];
        expected[10..5010].copy_from_slice(&bytes);
        expected[6000..].copy_from_slice(&bytes);
        assert_eq!(content(&file), expected, "{io:?}");

        // Beyond the end everything is zero, what was there before is gone.
        let mut target = Buffer::from(&[0xaa; 12_000][..]);
        event_loop
            .block_on(io.read(activity.request(), 7, target.destination()))
            .expect("read");
        expected.resize(12_007, 0);
        assert_eq!(target.as_slice(), &expected[7..], "{io:?}");
        let read = io.read(activity.request(), 1 << 40, target.destination());
        event_loop.block_on(read).expect("read");
        assert!(target.source().is_zero(), "{io:?}");
    }
    assert_eq!(activity.request().node().in_flight(), 1);
}

#[test]
fn more_ranges_than_the_kernel_takes_at_once() {
    const RANGES: usize = 2500;
    let event_loop = ring_loop!();
    let activity = Activity::try_begin(&null_node("n")).expect("open");
    let file = temporary(&[]);
    let bytes = pattern(RANGES * 3, 1);
    for io in ways(&file) {
        if io.max_bytes() == 1 {
            continue;
        }
        file.set_len(0).expect("truncated");
        let buffer = Buffer::from(&bytes[..]);
        let mut sources = SourceVec::new();
        let mut left = buffer.source();
        while !left.is_empty() {
            let (front, rest) = left.split_at(3);
            sources.push(front);
            left = rest;
        }
        let write = io.write(activity.request(), 5, sources.source(), false);
        event_loop.block_on(write).expect("written");
        assert_eq!(&content(&file)[5..], bytes, "{io:?}");

        let mut target = Buffer::zeroed(bytes.len());
        let mut destinations = DestinationVec::new();
        let mut left = target.destination();
        while !left.is_empty() {
            let (front, rest) = left.split_at(3);
            destinations.push(front);
            left = rest;
        }
        assert_eq!(destinations.destination().segment_count(), RANGES);
        let read = io.read(activity.request(), 5, destinations.destination());
        event_loop.block_on(read).expect("read");
        assert_eq!(target.as_slice(), bytes, "{io:?}");
    }
}

#[test]
fn what_never_waits_is_done_at_once() {
    let activity = Activity::try_begin(&null_node("n")).expect("open");
    let file = temporary(&pattern(100, 0));
    let io = FileIo::new(Arc::new(file.try_clone().expect("a descriptor").into()));
    let io = io.inline(Inline::Always).chunk(Some(7));
    let mut buffer = Buffer::from(&[0xaa; 200][..]);
    let read = io.read(activity.request(), 0, buffer.destination());
    read.into_ready().expect("at once").expect("read");
    assert_eq!(&buffer.as_slice()[..100], pattern(100, 0));
    assert!(buffer.as_slice()[100..].iter().all(|byte| *byte == 0));
    let write = io.write(activity.request(), 50, buffer.source(), true);
    write.into_ready().expect("at once").expect("written");
    assert_eq!(&content(&file)[50..], buffer.as_slice());
}

/// A memory file may or may not be read without waiting, but is asked once.
#[test]
fn a_refusal_to_read_without_waiting_is_remembered() {
    let event_loop = ring_loop!();
    let activity = Activity::try_begin(&null_node("n")).expect("open");
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    rustix::io::pwrite(&fd, &pattern(600, 3), 0).expect("written");
    let mut byte = [0];
    let slices = &mut [io::IoSliceMut::new(&mut byte)];
    let asked = rustix::io::preadv2(&fd, slices, 0, ReadWriteFlags::NOWAIT);
    let refused = asked == Err(Errno::OPNOTSUPP);
    let io = FileIo::new(Arc::new(fd)).inline(Inline::NoWait);
    for _ in 0..2 {
        let mut buffer = Buffer::zeroed(512);
        event_loop
            .block_on(io.read(activity.request(), 8, buffer.destination()))
            .expect("read");
        assert_eq!(buffer.as_slice(), &pattern(600, 3)[8..520]);
        let remembered = io
            .no_wait_refused
            .load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(remembered, refused);
    }
}

/// Memory takes every write, but may not promise that it does not wait.
#[test]
fn a_short_write_that_may_wait_a_little_is_done_at_once() {
    let activity = Activity::try_begin(&null_node("n")).expect("open");
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    let file = File::from(fd);
    let io = |inline| {
        let fd = file.try_clone().expect("a descriptor").into();
        FileIo::new(Arc::new(fd)).inline(inline).chunk(Some(700))
    };
    let bytes = pattern(64 << 10, 5);
    let buffer = Buffer::from(&*bytes);
    let patient = io(Inline::Patient);
    for _ in 0..2 {
        let write = patient.write(activity.request(), 3, buffer.source(), false);
        write.into_ready().expect("at once").expect("written");
        assert_eq!(&content(&file)[3..], bytes);
    }
    let refused = patient
        .no_wait_writes_refused
        .load(std::sync::atomic::Ordering::Relaxed);
    let strict = io(Inline::NoWait);
    let write = strict.write(activity.request(), 0, buffer.source(), false);
    assert_eq!(write.into_ready().is_ok(), !refused);

    let durable = patient.write(activity.request(), 0, buffer.source(), true);
    assert!(durable.into_ready().is_err(), "it waits for the disk");
    let longer = Buffer::zeroed(SHORT + 1);
    let long = patient.write(activity.request(), 0, longer.source(), false);
    assert!(long.into_ready().is_err(), "it takes a while");
}

#[test]
fn errors_of_the_kernel_are_passed_on() {
    let event_loop = ring_loop!();
    let activity = Activity::try_begin(&null_node("n")).expect("open");
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("opened");
    let os_error = |result: Result<(), IoError>| match result {
        Err(IoError::Os(error)) => error,
        other => panic!("{other:?}"),
    };
    let mut buffer = Buffer::zeroed(512);
    for io in ways(&full) {
        let write = io.write(activity.request(), 0, buffer.source(), false);
        let error = os_error(event_loop.block_on(write));
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{io:?}");
        let read = io.read(activity.request(), 0, buffer.destination());
        let error = os_error(event_loop.block_on(read));
        assert_eq!(error.raw_os_error(), Some(9), "not open for reading");
        let write = io.write(activity.request(), u64::MAX, buffer.source(), false);
        let error = os_error(event_loop.block_on(write));
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{io:?}");
    }
}

/// A pipe: reading from it takes as long as the test wants.
fn pipe() -> (FileIo, io::PipeWriter) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let io = FileIo::new(Arc::new(reader.into())).engine(Some(Engine::IoUring));
    (io, writer)
}

#[test]
fn a_dropped_transfer_keeps_its_node_busy_and_all_its_memory_out_of_reach() {
    let event_loop = ring_loop!();
    let node = null_node("n");
    let activity = Activity::try_begin(&node).expect("open");
    let (io, mut writer) = pipe();
    let (mut first, mut second) = (Buffer::zeroed(3), Buffer::zeroed(5));
    let mut both = DestinationVec::new();
    both.push(first.destination());
    both.push(second.destination());
    event_loop.block_on(async {
        let mut read = io.read(activity.request(), 0, both.destination());
        assert!(poll_once(&mut read).await.is_pending());
        yield_now().await;
        assert_eq!(node.in_flight(), 1);
        drop(read);
        assert_eq!(node.in_flight(), 2);
    });
    let touched = catch_unwind(AssertUnwindSafe(|| both.destination().fill(1)));
    assert!(touched.is_err(), "the kernel may be writing");
    let again = io.read(activity.request(), 0, both.destination());
    let again = catch_unwind(AssertUnwindSafe(|| event_loop.block_on(again)));
    assert!(again.is_err(), "two reads of the same memory");

    turn_until(&event_loop, || node.in_flight() == 1);
    both.destination().fill(1);
    assert!(first.is_idle() && second.is_idle());
    assert_eq!(first.as_slice(), [1; 3]);

    // Nothing was taken from the pipe.
    writer.write_all(b"01234567").expect("written");
    let mut both = DestinationVec::new();
    both.push(first.destination());
    both.push(second.destination());
    event_loop
        .block_on(io.read(activity.request(), 0, both.destination()))
        .expect("read");
    assert_eq!(first.as_slice(), b"012");
    assert_eq!(second.as_slice(), b"34567");
}

#[test]
fn a_transfer_that_another_thread_drops_keeps_its_node_busy_until_its_loop_knows() {
    for worker_has_a_loop in [false, true] {
        let event_loop = ring_loop!();
        let node = null_node("n");
        let activity = Activity::try_begin(&node).expect("open");
        let (io, _writer) = pipe();
        let mut buffer = Buffer::zeroed(8);
        let mut read = io.read(activity.request(), 0, buffer.destination());
        assert!(event_loop.block_on(poll_once(&mut read)).is_pending());
        thread::scope(|scope| {
            scope.spawn(move || {
                let other = worker_has_a_loop.then(|| EventLoop::new("other").expect("a loop"));
                if let Some(other) = &other {
                    assert!(other.block_on(poll_once(&mut read)).is_pending());
                }
                drop(read);
            });
        });
        assert_eq!(node.in_flight(), 2);
        turn_until(&event_loop, || node.in_flight() == 1);
        assert!(buffer.is_idle());
    }
}

#[test]
fn a_loop_that_ends_leaves_no_node_busy() {
    let event_loop = ring_loop!();
    let node = null_node("n");
    let activity = Activity::try_begin(&node).expect("open");
    let (io, _writer) = pipe();
    let mut buffers = [Buffer::zeroed(8), Buffer::zeroed(8)];
    let [first, second] = &mut buffers;
    let mut here = io.read(activity.request(), 0, first.destination());
    let mut there = io.read(activity.request(), 0, second.destination());
    assert!(event_loop.block_on(poll_once(&mut here)).is_pending());
    assert!(event_loop.block_on(poll_once(&mut there)).is_pending());
    drop(here);
    thread::scope(|scope| {
        scope.spawn(move || drop(there));
    });
    assert_eq!(node.in_flight(), 3);
    drop(event_loop);
    assert_eq!(node.in_flight(), 1);
    assert!(buffers.iter().all(Buffer::is_idle));
}

#[test]
fn dropped_transfers_of_workers_end_some_time() {
    let event_loop = ring_loop!();
    let node = null_node("n");
    let activity = Activity::try_begin(&node).expect("open");
    let file = temporary(&pattern(1 << 16, 0));
    let io = FileIo::new(Arc::new(file.into())).engine(Some(Engine::Threads));
    for turns in 0..50 {
        let mut buffer = Buffer::zeroed(1 << 16);
        event_loop.block_on(async {
            let mut read = io.read(activity.request(), 0, buffer.destination());
            let _ = poll_once(&mut read).await;
            for _ in 0..turns {
                yield_now().await;
            }
            drop(read);
            assert!(buffer.is_idle() || node.in_flight() == 2);
        });
        turn_until(&event_loop, || node.in_flight() == 1);
        assert!(buffer.is_idle(), "the count outlives the transfer");
    }
}

#[test]
fn blocking_work_keeps_its_node_busy_though_nobody_waits() {
    let event_loop = ring_loop!();
    let node = null_node("n");
    let activity = Activity::try_begin(&node).expect("open");
    let io = FileIo::new(Arc::new(temporary(&[]).into()));
    let (started, has_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let mut work = io.blocking(activity.request(), Some(0..10), move |_| {
        started.send(()).expect("the test waits");
        may_go_on.recv().expect("the test says so");
        Ok(())
    });
    assert!(event_loop.block_on(poll_once(&mut work)).is_pending());
    has_started.recv().expect("it runs");
    assert_eq!(node.in_flight(), 1);
    drop(work);
    assert_eq!(node.in_flight(), 2);
    go_on.send(()).expect("it waits");
    turn_until(&event_loop, || node.in_flight() == 1);

    let len = io.blocking(activity.request(), None, |fd| {
        Ok(rustix::fs::fstat(fd)?.st_size)
    });
    assert_eq!(event_loop.block_on(len).expect("known"), 0);
    let failing = io.blocking(activity.request(), None, |_| {
        Err::<(), _>(io::Error::from_raw_os_error(28))
    });
    assert!(event_loop.block_on(failing).is_err());
    assert_eq!(node.in_flight(), 1);
}

/// What is boxed for each transfer that has to wait.
#[test]
fn a_waiting_transfer_is_small() {
    let bytes = size_of::<Transferring<'_>>();
    assert!(bytes <= 192, "{bytes} bytes");
}
