//! Tests of file operations, among them attempts to break the fence of `uring.rs`.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use super::file::{ReadAt, fsync, read_at, write_at};
use super::{
    AioContext, ContextThread, Engine, EventLoop, Home, LoopOptions, Wait, sleep, yield_now,
};
use crate::buffer::Buffer;

const ENGINES: [Engine; 2] = [Engine::IoUring, Engine::Threads];

/// A loop with io_uring. Where the kernel forbids it there is nothing to test;
/// the test says so and ends.
macro_rules! ring_loop {
    () => {{
        let event_loop = EventLoop::new("test").unwrap();
        if let Some(error) = event_loop.context().io_uring_error() {
            println!("SKIPPED: no io_uring here: {error}");
            return;
        }
        event_loop
    }};
}

fn temporary() -> (File, Arc<OwnedFd>) {
    let file = tempfile::tempfile().unwrap();
    let fd = Arc::new(OwnedFd::from(file.try_clone().unwrap()));
    (file, fd)
}

/// A pipe: reading from it takes as long as the test wants.
fn pipe() -> (Arc<OwnedFd>, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (Arc::new(OwnedFd::from(reader)), writer)
}

fn pattern(index: usize) -> u8 {
    (index.wrapping_mul(7) >> 3) as u8
}

/// Polls a future once, in the current loop.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Turns the loop until `done` says so.
fn turn_until(event_loop: &EventLoop, mut done: impl FnMut() -> bool) {
    while !done() {
        event_loop.poll(Wait::Until(None));
    }
}

#[test]
fn what_is_written_is_read_back() {
    for engine in ENGINES {
        let (file, fd) = temporary();
        let source = Buffer::from((0..10_000).map(pattern).collect::<Vec<_>>().as_slice());
        ring_loop!().block_on(async {
            assert!(engine.is_available());
            let written = write_at(
                engine,
                Arc::clone(&fd),
                source.source().transfer_all(),
                512,
                false,
            );
            assert_eq!(written.await.0.unwrap(), 10_000);
            fsync(engine, Arc::clone(&fd), true).await.unwrap();
            fsync(engine, Arc::clone(&fd), false).await.unwrap();

            let mut target = Buffer::zeroed(10_000);
            let memory = target.destination().transfer_all();
            let (read, memory) = read_at(engine, Arc::clone(&fd), memory, 512).await;
            drop(memory);
            assert_eq!(read.unwrap(), 10_000);
            assert_eq!(target.as_slice(), source.as_slice());

            // Across the end of the file: short. Behind it: nothing.
            let memory = target.destination().transfer_all();
            let (read, memory) = read_at(engine, Arc::clone(&fd), memory, 10_000).await;
            assert_eq!(read.unwrap(), 512);
            let (read, memory) = read_at(engine, Arc::clone(&fd), memory, 1 << 40).await;
            assert_eq!(read.unwrap(), 0);
            drop(memory);
        });
        let mut checked = vec![0; 10_000];
        file.read_exact_at(&mut checked, 512).unwrap();
        assert_eq!(checked, source.as_slice());
    }
}

#[test]
fn errors_of_the_kernel_come_back_with_the_memory() {
    for engine in ENGINES {
        let read_only = File::open("/dev/null").unwrap();
        let fd = Arc::new(OwnedFd::from(read_only));
        let buffer = Buffer::zeroed(16);
        let (result, memory) = ring_loop!().block_on(write_at(
            engine,
            Arc::clone(&fd),
            buffer.source().transfer_all(),
            0,
            false,
        ));
        assert_eq!(
            result.unwrap_err().raw_os_error(),
            Some(9),
            "bad descriptor"
        );
        assert_eq!(memory.len(), 16);

        // -1 would mean "at the file's own position" to io_uring.
        for offset in [u64::MAX, 1 << 63] {
            let operation = write_at(
                engine,
                Arc::clone(&fd),
                buffer.source().transfer_all(),
                offset,
                false,
            );
            let (result, _) = ring_loop!().block_on(operation);
            assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        }
    }
}

#[test]
fn a_missing_ring_is_an_error_that_says_why() {
    let (_file, fd) = temporary();
    let mut buffer = Buffer::zeroed(16);
    let options = LoopOptions {
        io_uring: false,
        ..LoopOptions::default()
    };
    let event_loop = EventLoop::with_options("test", options).unwrap();
    assert!(!event_loop.context().has_io_uring());
    event_loop.block_on(async {
        assert_eq!(Engine::best(), Engine::Threads);
        let memory = buffer.destination().transfer_all();
        let (result, memory) = read_at(Engine::IoUring, Arc::clone(&fd), memory, 0).await;
        assert!(result.unwrap_err().to_string().contains("switched off"));
        let (result, _) = read_at(Engine::best(), Arc::clone(&fd), memory, 0).await;
        assert_eq!(result.unwrap(), 0);
    });
    ring_loop!().block_on(async { assert_eq!(Engine::best(), Engine::IoUring) });

    // On a thread without a loop.
    let memory = buffer.destination().transfer_all();
    let mut read = pin!(read_at(Engine::IoUring, fd, memory, 0));
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let Poll::Ready((result, _)) = read.as_mut().poll(&mut cx) else {
        panic!("fails at once");
    };
    assert!(result.unwrap_err().to_string().contains("no event loop"));
}

/// More operations at once than the submission and completion queues have room for.
#[test]
fn full_queues_lose_nothing() {
    for engine in ENGINES {
        const OPERATIONS: usize = 5000;
        let (file, fd) = temporary();
        let event_loop = ring_loop!();
        event_loop.block_on(async {
            let mut writes = Vec::new();
            for index in 0..OPERATIONS {
                let buffer = Buffer::with_alignment(1, 1);
                let mut buffer = buffer;
                buffer.as_mut_slice()[0] = pattern(index);
                let memory = buffer.source().transfer_all();
                let mut write = write_at(engine, Arc::clone(&fd), memory, index as u64, false);
                match poll_once(&mut write).await {
                    Poll::Ready((result, _)) => assert_eq!(result.unwrap(), 1),
                    Poll::Pending => writes.push(write),
                }
            }
            for write in writes {
                assert_eq!(write.await.0.unwrap(), 1);
            }
        });
        let mut content = vec![0; OPERATIONS];
        file.read_exact_at(&mut content, 0).unwrap();
        assert!(
            content
                .iter()
                .enumerate()
                .all(|(index, byte)| *byte == pattern(index))
        );
    }
}

#[test]
fn a_dropped_read_keeps_its_memory_until_the_kernel_is_done() {
    let event_loop = ring_loop!();
    let (fd, mut writer) = pipe();
    let mut buffer = Buffer::zeroed(64);
    event_loop.block_on(async {
        let memory = buffer.destination().transfer_all();
        let mut read = read_at(Engine::IoUring, Arc::clone(&fd), memory, 0);
        assert!(poll_once(&mut read).await.is_pending());
        yield_now().await; // The loop submits it.
        drop(read);
        // The cancel request has not even been submitted.
        assert!(!buffer.is_idle());
    });
    assert_eq!(
        Arc::strong_count(&fd),
        2,
        "the operation keeps the file open"
    );
    turn_until(&event_loop, || buffer.is_idle());
    assert_eq!(Arc::strong_count(&fd), 1);
    // It was cancelled: the pipe's data goes to the next reader.
    writer.write_all(b"next").unwrap();
    drop(writer);
    let mut rest = Vec::new();
    PipeReader::from(Arc::into_inner(fd).unwrap())
        .read_to_end(&mut rest)
        .unwrap();
    assert_eq!(rest, b"next");
    assert!(buffer.as_slice().iter().all(|byte| *byte == 0));
}

#[test]
fn a_read_dropped_before_or_after_the_loop_has_turned_is_freed() {
    let event_loop = ring_loop!();
    let (_file, fd) = temporary();
    for turns in 0..4 {
        let mut buffer = Buffer::zeroed(64);
        event_loop.block_on(async {
            let memory = buffer.destination().transfer_all();
            let mut read = read_at(Engine::IoUring, Arc::clone(&fd), memory, 0);
            assert!(poll_once(&mut read).await.is_pending());
            for _ in 0..turns {
                yield_now().await;
            }
        });
        turn_until(&event_loop, || buffer.is_idle());
        assert_eq!(Arc::strong_count(&fd), 1);
    }
}

#[test]
fn a_read_dropped_by_a_thread_without_the_loop_is_cancelled() {
    for worker_has_a_loop in [false, true] {
        let event_loop = ring_loop!();
        let (fd, _writer) = pipe();
        let mut buffer = Buffer::zeroed(64);
        let memory = buffer.destination().transfer_all();
        let mut read = read_at(Engine::IoUring, Arc::clone(&fd), memory, 0);
        let pending = event_loop.block_on(poll_once(&mut read));
        assert!(pending.is_pending());
        let dropper = thread::spawn(move || {
            let other = worker_has_a_loop.then(|| EventLoop::new("other").unwrap());
            let _entered = other.as_ref().map(|other| other.enter().unwrap());
            drop(read);
        });
        dropper.join().unwrap();
        turn_until(&event_loop, || buffer.is_idle());
    }
}

#[test]
fn a_dropped_operation_of_a_worker_keeps_its_memory_too() {
    let event_loop = ring_loop!();
    let (_file, fd) = temporary();
    for turns in 0..100 {
        let mut buffer = Buffer::zeroed(1 << 16);
        let memory = buffer.destination().transfer_all();
        let mut read = read_at(Engine::Threads, Arc::clone(&fd), memory, 0);
        event_loop.block_on(async {
            let _ = poll_once(&mut read).await;
            for _ in 0..turns {
                yield_now().await;
            }
        });
        drop(read);
        while !buffer.is_idle() {
            thread::yield_now();
        }
    }
    drop(event_loop);
    while Arc::strong_count(&fd) > 1 {
        thread::yield_now();
    }
}

#[test]
fn a_loop_that_ends_waits_for_its_operations() {
    let event_loop = ring_loop!();
    let (fd, _writer) = pipe();
    let (_file, regular) = temporary();
    let mut buffers = [Buffer::zeroed(64), Buffer::zeroed(64), Buffer::zeroed(64)];
    let [first, second, third] = &mut buffers;
    let mut kept = read_at(
        Engine::IoUring,
        Arc::clone(&fd),
        first.destination().transfer_all(),
        0,
    );
    let mut dropped = read_at(
        Engine::IoUring,
        Arc::clone(&fd),
        second.destination().transfer_all(),
        0,
    );
    let mut done = read_at(
        Engine::IoUring,
        Arc::clone(&regular),
        third.destination().transfer_all(),
        0,
    );
    event_loop.block_on(async {
        assert!(poll_once(&mut kept).await.is_pending());
        assert!(poll_once(&mut dropped).await.is_pending());
        assert!(poll_once(&mut done).await.is_pending());
        sleep(Duration::from_millis(5)).await;
    });
    drop(dropped);
    drop(event_loop);
    assert_eq!(Arc::strong_count(&fd), 1, "nothing is in flight any more");
    let [first, second, third] = &buffers;
    assert!(second.is_idle());
    assert!(
        !first.is_idle() && !third.is_idle(),
        "their futures hold the results"
    );

    // The futures still resolve, in another loop.
    let other = ring_loop!();
    let (result, _) = other.block_on(kept);
    assert_eq!(result.unwrap_err().raw_os_error(), Some(125), "cancelled");
    let (result, _) = other.block_on(done);
    assert_eq!(result.unwrap(), 0);
    assert!(first.is_idle() && third.is_idle());
}

#[test]
fn tasks_parked_on_operations_end_with_their_loop() {
    let event_loop = ring_loop!();
    let (fd, _writer) = pipe();
    let mut buffer = Buffer::zeroed(64);
    let read = read_at(
        Engine::IoUring,
        Arc::clone(&fd),
        buffer.destination().transfer_all(),
        0,
    );
    let task = event_loop.context().spawn(async move {
        let _ = read.await;
    });
    event_loop.poll(Wait::No);
    event_loop.poll(Wait::No);
    drop(event_loop);
    assert!(task.is_finished());
    assert!(buffer.is_idle());
    assert_eq!(Arc::strong_count(&fd), 1);
}

#[test]
fn an_operation_is_passed_on_to_the_context_its_task_has_moved_to() {
    let first = ContextThread::spawn("first").unwrap();
    let second = ContextThread::spawn("second").unwrap();
    let (fd, mut writer) = pipe();
    let home = Arc::new(Home::new(first.context().clone()));
    let mut buffer = Buffer::zeroed(4);
    let memory = buffer.destination().transfer_all();
    let (submitted, wait_submitted) = mpsc::channel();
    let inner = Arc::clone(&home);
    let to = second.context().clone();
    let task = home.spawn(async move {
        let mut read = read_at(Engine::IoUring, fd, memory, 0);
        assert!(poll_once(&mut read).await.is_pending());
        inner.set(to.clone());
        yield_now().await;
        assert!(to.is_current());
        submitted.send(()).unwrap();
        let (result, memory) = read.await;
        assert!(to.is_current());
        drop(memory);
        result
    });
    wait_submitted.recv().unwrap();
    thread::sleep(Duration::from_millis(5));
    writer.write_all(b"data").unwrap();
    let main = EventLoop::new("main").unwrap();
    assert_eq!(main.block_on(task).unwrap(), 4);
    assert_eq!(buffer.as_slice(), b"data");
}

/// Tasks whose home moves between every submission and its completion.
#[test]
fn operations_of_moving_tasks_all_come_back() {
    let threads = ["a", "b"].map(|name| ContextThread::spawn(name).unwrap());
    let (file, fd) = temporary();
    file.write_all_at(&(0..4096).map(pattern).collect::<Vec<_>>(), 0)
        .unwrap();
    let tasks: Vec<_> = (0..8usize)
        .map(|index| {
            let home = Arc::new(Home::new(threads[index % 2].context().clone()));
            let contexts = [0, 1].map(|n: usize| threads[n].context().clone());
            let (inner, fd) = (Arc::clone(&home), Arc::clone(&fd));
            home.spawn(async move {
                for round in 0..500 {
                    let offset = (index * 500 + round) % 4000;
                    let mut buffer = Buffer::with_alignment(8, 8);
                    let memory = buffer.destination().transfer_all();
                    let mut read = read_at(Engine::IoUring, Arc::clone(&fd), memory, offset as u64);
                    let early = poll_once(&mut read).await;
                    assert!(early.is_pending());
                    let there = &contexts[(index + round) % 2];
                    inner.set(there.clone());
                    yield_now().await;
                    assert_eq!(AioContext::current().as_ref(), Some(there));
                    if round % 5 == 0 {
                        drop(read);
                        continue;
                    }
                    let (result, memory) = read.await;
                    drop(memory);
                    assert_eq!(result.unwrap(), 8);
                    let expected: Vec<_> = (offset..offset + 8).map(pattern).collect();
                    assert_eq!(buffer.as_slice(), expected);
                }
            })
        })
        .collect();
    let main = EventLoop::new("main").unwrap();
    main.block_on(async {
        for task in tasks {
            task.await;
        }
    });
    for thread in threads {
        thread.stop().unwrap();
    }
    assert_eq!(Arc::strong_count(&fd), 1);
}

/// The loop hears of the drop only after it has read the completion.
#[test]
fn a_result_that_crosses_the_drop_of_its_future_is_freed() {
    /// Drops a future on another thread when woken.
    struct DropElsewhere(Mutex<Option<ReadAt>>);
    impl Wake for DropElsewhere {
        fn wake(self: Arc<Self>) {
            let read = self.0.lock().unwrap().take();
            thread::spawn(move || drop(read)).join().unwrap();
        }
    }

    let event_loop = ring_loop!();
    let other = EventLoop::new("other").unwrap();
    let (mut first_buffer, mut second_buffer) = (Buffer::zeroed(8), Buffer::zeroed(8));
    let (first_fd, mut first_writer) = pipe();
    let (second_fd, mut second_writer) = pipe();
    let memory = first_buffer.destination().transfer_all();
    let mut first = read_at(Engine::IoUring, first_fd, memory, 0);
    let memory = second_buffer.destination().transfer_all();
    let mut second = read_at(Engine::IoUring, second_fd, memory, 0);

    // The second read is polled in another context, so its result is to be passed on.
    assert!(event_loop.block_on(poll_once(&mut second)).is_pending());
    assert!(other.block_on(poll_once(&mut second)).is_pending());
    let waker = Waker::from(Arc::new(DropElsewhere(Mutex::new(Some(second)))));
    let entered = event_loop.enter().unwrap();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(Pin::new(&mut first).poll(&mut cx).is_pending());
    event_loop.poll(Wait::No);

    // Both complete in one turn. The first drops the second while the loop is between the two.
    first_writer.write_all(b"first").unwrap();
    second_writer.write_all(b"second").unwrap();
    turn_until(&event_loop, || second_buffer.is_idle());
    drop(entered);
    assert_eq!(event_loop.block_on(first).0.unwrap(), 5);
}

/// A future that is leaked takes its memory with it and nothing else.
#[test]
fn a_leaked_read_is_harmless() {
    let event_loop = ring_loop!();
    let (fd, writer) = pipe();
    let mut buffer = Buffer::zeroed(64);
    event_loop.block_on(async {
        let memory = buffer.destination().transfer_all();
        let mut read = read_at(Engine::IoUring, Arc::clone(&fd), memory, 0);
        assert!(poll_once(&mut read).await.is_pending());
        std::mem::forget(read);
        drop(writer);
        yield_now().await;
    });
    drop(event_loop);
    assert_eq!(Arc::strong_count(&fd), 1);
    assert!(!buffer.is_idle(), "the result waits for ever");
    assert!(buffer.reclaim());
}
