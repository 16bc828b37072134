//! A device that fails or hangs at a chosen place: what goes on all the same,
//! and what stops because nobody knows what is stored.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use block_gs::{Backend, BlockDriver, BqlGuard, IoError, Node, NodeBuilder, NodeOptions, Perm};
use block_io::aio::yield_now;
use block_io::{
    Buffer, Capabilities, Destination, DriverIo, IoFuture, Preallocation, Repairs, Request, Source,
    Truncation, WriteFlags,
};
use block_qcow2::{CreateOptions, Qcow2, Qcow2Image, Qcow2Options};

use crate::support::{
    READ_WRITE, Stored, at_a_path, backend, check, close, create_written, discard, disk, flush,
    read, turn, write,
};
use test_support::stored::put;

const EIO: i32 = 5;

const ALL: Repairs = Repairs::LEAKS.union(Repairs::ERRORS);

/// What a device is asked for; offsets and lengths in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read(u64, u64),
    Write(u64, u64),
    Flush,
}

/// What comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    Fails,
    /// It is done, and said to have failed.
    DoneAndFails,
    /// It is asked for again later.
    Waits,
}

/// Says what comes of what is asked for.
type Rule = Box<dyn FnMut(Op) -> Outcome + Send>;

/// A file in memory that does as it is told.
pub struct Device {
    bytes: Mutex<Vec<u8>>,
    rule: Mutex<Rule>,
}

impl Device {
    pub fn new(bytes: Stored) -> Arc<Device> {
        Arc::new(Device {
            bytes: Mutex::new(bytes.0),
            rule: Mutex::new(Box::new(|_| Outcome::Done)),
        })
    }

    pub fn set(&self, rule: impl FnMut(Op) -> Outcome + Send + 'static) {
        *self.rule.lock().expect("not poisoned") = Box::new(rule);
    }

    pub fn bytes(&self) -> Stored {
        Stored(self.bytes.lock().expect("not poisoned").clone())
    }

    /// Opens the image that is there.
    pub fn open(self: &Arc<Device>, bql: &mut BqlGuard, settings: Qcow2Options) -> Node {
        let options = NodeOptions {
            unmap: true,
            ..NodeOptions::default()
        };
        let driver: Arc<dyn BlockDriver> = self.clone();
        let file = NodeBuilder::new("").options(options);
        let file = file.open(bql, driver).expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let node = image.options(options).settings(settings).open(bql, "");
        node.expect("opened")
    }

    /// Does what was asked for, once the rule says what comes of it.
    async fn run<T>(&self, op: Op, mut deed: impl FnMut(&mut Vec<u8>) -> T) -> Result<T, IoError> {
        loop {
            yield_now().await;
            let outcome = (self.rule.lock().expect("not poisoned"))(op);
            let fails = matches!(outcome, Outcome::Fails | Outcome::DoneAndFails);
            let done = match outcome {
                Outcome::Waits => continue,
                Outcome::Fails => None,
                _ => Some(deed(&mut self.bytes.lock().expect("not poisoned"))),
            };
            return match done {
                Some(done) if !fails => Ok(done),
                _ => Err(IoError::from_errno(EIO)),
            };
        }
    }
}

impl DriverIo for Device {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            flushes_to_disk: true,
            discards: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(&'r self, _: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            let length = into.len();
            let read = |bytes: &mut Vec<u8>| {
                let from = (offset as usize).min(bytes.len());
                let there = (bytes.len() - from).min(length);
                let mut data = vec![0; length];
                data[..there].copy_from_slice(&bytes[from..from + there]);
                data
            };
            let data = self.run(Op::Read(offset, length as u64), read).await?;
            into.copy_from_slice(&data);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            let mut data = vec![0; from.len()];
            from.copy_to_slice(&mut data);
            let write = |bytes: &mut Vec<u8>| put(bytes, offset, &data);
            self.run(Op::Write(offset, data.len() as u64), write).await
        })
    }

    fn discard<'r>(&'r self, _: Request<'r>, _: u64, _: u64) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let mut bytes = self.bytes.lock().expect("not poisoned");
        bytes.resize(to.length as usize, 0);
        IoFuture::done()
    }

    fn flush_to_disk<'r>(&'r self, _: Request<'r>) -> IoFuture<'r> {
        IoFuture::new(async move { self.run(Op::Flush, |_| ()).await })
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        let bytes = self.bytes.lock().expect("not poisoned");
        IoFuture::ready(Ok(bytes.len() as u64))
    }
}

impl BlockDriver for Device {
    fn format_name(&self) -> &'static str {
        "device"
    }
}

/// What a check finds in these bytes: what is wrong, and what is leaked.
fn look(bql: &mut BqlGuard, bytes: Stored) -> (u64, u64) {
    let device = Device::new(bytes);
    let node = device.open(bql, Qcow2Options::default());
    let found = check(bql, &node, Repairs::empty()).expect("looked at");
    close(bql, node);
    (found.corruptions + found.check_errors, found.leaks)
}

const SIZE: u64 = 1 << 20;

/// An image full of data, as it is in its file. A block of counts describes
/// 128 KiB of it.
fn image(bql: &mut BqlGuard, path: &Path) -> Stored {
    let options = CreateOptions {
        cluster_size: 512,
        ..CreateOptions::new(SIZE)
    };
    image_of(bql, path, &options)
}

fn image_of(bql: &mut BqlGuard, path: &Path, options: &CreateOptions) -> Stored {
    create_written(bql, path, options, &[(0, &[7; SIZE as usize / 2])]);
    Stored::read(path)
}

/// Where a block of counts is.
fn block(bytes: &Stored, index: u64) -> u64 {
    bytes.place(bytes.table() + index * 8)
}

#[test]
fn what_cannot_be_counted_is_not_given_back_and_nothing_else_fails() {
    at_a_path(|bql, path| {
        let bytes = image(bql, path);
        let bad = block(&bytes, 2);
        let device = Device::new(bytes);
        let node = device.open(bql, Qcow2Options::default());
        let root = disk(bql, &node);
        device.set(move |op| match op {
            Op::Read(offset, _) if offset == bad => Outcome::Fails,
            _ => Outcome::Done,
        });
        // Counted by the blocks 1 to 3.
        discard(bql, &root, 128 << 10, 300 << 10).expect("given up");
        flush(bql, &root).expect("what is bad is not needed");
        write(bql, &root, 4096, &[8; 512]).expect("in place");
        flush(bql, &root).expect("flushed again");
        let seen = read(bql, &root, 0, SIZE as usize / 2).expect("read");
        assert!(seen[128 << 10..428 << 10].iter().all(|byte| *byte == 0));
        assert!(seen[4096..4608] == [8; 512] && seen[..4096].iter().all(|byte| *byte == 7));
        // What has become free around it can be used.
        write(bql, &root, SIZE - 4096, &[9; 4096]).expect("written");
        flush(bql, &root).expect("flushed");
        close(bql, (root, node));
        let (wrong, leaks) = look(bql, device.bytes());
        assert_eq!(wrong, 0);
        assert!((200..=256).contains(&leaks), "those of one block: {leaks}");
    });
}

#[test]
fn what_could_not_be_counted_is_given_back_in_the_end() {
    at_a_path(|bql, path| {
        let bytes = image(bql, path);
        let bad = block(&bytes, 2);
        let device = Device::new(bytes);
        let node = device.open(bql, Qcow2Options::default());
        let root = disk(bql, &node);
        let is_bad = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&is_bad);
        device.set(move |op| match op {
            Op::Read(offset, _) if offset == bad && still.load(Ordering::Relaxed) => Outcome::Fails,
            _ => Outcome::Done,
        });
        discard(bql, &root, 128 << 10, 300 << 10).expect("given up");
        flush(bql, &root).expect("flushed");
        is_bad.store(false, Ordering::Relaxed);
        close(bql, (root, node));
        assert_eq!(look(bql, device.bytes()), (0, 0));
    });
}

#[test]
fn nothing_is_written_to_an_image_whose_table_of_counts_is_in_doubt() {
    at_a_path(|bql, path| {
        let mut bytes = image(bql, path);
        let table = bytes.table();
        bytes.put(table, 0);
        for outcome in [Outcome::Fails, Outcome::DoneAndFails] {
            for flush_fails in [false, true] {
                let device = Device::new(bytes.clone());
                let node = device.open(bql, Qcow2Options::default());
                // The flush behind the write that lets the new table count, or
                // that write.
                let mut is_switched = false;
                device.set(move |op| {
                    let was = is_switched;
                    is_switched |= op == Op::Write(48, 12);
                    let is_it = match flush_fails {
                        true => was && op == Op::Flush,
                        false => !was && is_switched,
                    };
                    match is_it {
                        true => {
                            is_switched = false;
                            outcome
                        }
                        false => Outcome::Done,
                    }
                });
                let failed = check(bql, &node, ALL);
                assert!(failed.is_err(), "{failed:?}");
                let before = device.bytes();
                // Whichever table is stored, the clusters of both stay.
                let root = disk(bql, &node);
                for number in 0..64 {
                    let offset = SIZE / 2 + number * 512;
                    let refused = write(bql, &root, offset, &[9; 512]);
                    assert!(refused.is_err(), "nobody knows what is free");
                }
                flush(bql, &root).expect("there is nothing to be stored");
                assert!(device.bytes() == before, "nothing is written");
                let seen = read(bql, &root, 0, 4096).expect("read");
                assert!(seen.iter().all(|byte| *byte == 7));
                // Repaired, it goes on.
                device.set(|_| Outcome::Done);
                let found = check(bql, &node, ALL).expect("repaired");
                assert_eq!((found.corruptions, found.check_errors), (0, 0));
                write(bql, &root, SIZE / 2, &[9; 8192]).expect("written");
                flush(bql, &root).expect("flushed");
                close(bql, (root, node));
                assert_eq!(look(bql, device.bytes()), (0, 0));
            }
        }
    });
}

/// Polls a future so often. Says whether it is over.
async fn some_steps<T>(work: impl Future<Output = T>, steps: usize) -> bool {
    let mut work = pin!(work);
    for _ in 0..steps {
        let over = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await;
        if over {
            return true;
        }
        yield_now().await;
    }
    false
}

/// After a repair that came to nothing: whether or not writes are refused,
/// nothing gets worse, and the next repair mends everything.
fn is_mended(bql: &mut BqlGuard, device: &Arc<Device>, node: Node, refuses: Option<bool>) {
    let root = disk(bql, &node);
    for number in 0..32 {
        let written = write(bql, &root, SIZE / 2 + number * 512, &[9; 512]);
        if let Some(refuses) = refuses {
            assert_eq!(written.is_err(), refuses, "{written:?}");
        }
    }
    flush(bql, &root).expect("what could be written is stored");
    let seen = read(bql, &root, 0, SIZE as usize / 2).expect("read");
    assert!(seen.iter().all(|byte| *byte == 7), "data is lost");
    let found = check(bql, &node, ALL).expect("repaired");
    assert_eq!((found.corruptions, found.check_errors), (0, 0));
    write(bql, &root, SIZE / 2, &[9; 8192]).expect("written");
    flush(bql, &root).expect("flushed");
    let seen = read(bql, &root, 0, SIZE as usize / 2).expect("read");
    assert!(seen.iter().all(|byte| *byte == 7), "data is lost");
    close(bql, (root, node));
    assert_eq!(look(bql, device.bytes()), (0, 0));
}

#[test]
fn what_was_repaired_and_cannot_be_read_again_is_not_written() {
    at_a_path(|bql, path| {
        let mut bytes = image(bql, path);
        // A cluster of data that is free, and a leak.
        let counts = block(&bytes, 1);
        bytes.put_bytes(counts + 2 * 20, &[0, 0]);
        bytes.put_bytes(counts + 2 * 21, &[0, 2]);
        for fails in [Op::Flush, Op::Read(0, 512)] {
            let device = Device::new(bytes.clone());
            let node = device.open(bql, Qcow2Options::default());
            let mut wrote = false;
            device.set(move |op| {
                wrote |= matches!(op, Op::Write(..));
                match wrote
                    && matches!(
                        (op, fails),
                        (Op::Flush, Op::Flush) | (Op::Read(0, _), Op::Read(..))
                    ) {
                    true => Outcome::Fails,
                    false => Outcome::Done,
                }
            });
            let failed = check(bql, &node, ALL);
            assert!(failed.is_err(), "{failed:?}");
            device.set(|_| Outcome::Done);
            is_mended(bql, &device, node, Some(true));
        }
    });
}

#[test]
fn a_repair_that_is_given_up_anywhere_can_be_repeated() {
    at_a_path(|bql, path| {
        let mut bytes = image(bql, path);
        let table = bytes.table();
        bytes.put(table, 0);
        for steps in 0.. {
            let device = Device::new(bytes.clone());
            let node = device.open(bql, Qcow2Options::default());
            let is_over = node
                .drain(bql)
                .io(async |request: Request<'_>| some_steps(request.check(ALL), steps).await);
            is_mended(bql, &device, node, is_over.then_some(false));
            if is_over {
                assert!(steps > 10, "it is repaired in steps");
                break;
            }
        }
    });
}

#[test]
fn the_header_of_a_corrupt_image_is_not_older_than_what_was_done() {
    at_a_path(|bql, path| {
        let options = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(SIZE)
        };
        let mut bytes = image_of(bql, path, &options);
        let l2 = bytes.l2();
        let entry = bytes.get(l2);
        bytes.put(l2, entry + 512);
        let device = Device::new(bytes);
        let node = device.open(bql, Qcow2Options::default());
        let root = backend(bql, &node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        write(bql, &root, SIZE / 2, &[9; 512]).expect("written");
        // The new length waits for a flush until the image is being marked; the mark
        // waits until the length is stored, if that does not wait for the mark.
        let marking = Arc::new(AtomicBool::new(false));
        let resized = Arc::new(AtomicBool::new(false));
        let (seen, done) = (Arc::clone(&marking), Arc::clone(&resized));
        let mut patience = 500;
        device.set(move |op| match op {
            Op::Flush if !seen.load(Ordering::Relaxed) => Outcome::Waits,
            Op::Write(0, _) => {
                seen.store(true, Ordering::Relaxed);
                patience -= 1;
                match done.load(Ordering::Relaxed) || patience == 0 {
                    true => Outcome::Done,
                    false => Outcome::Waits,
                }
            }
            _ => Outcome::Done,
        });
        let disk = root.root().clone();
        let resize = bql.context().spawn(async move {
            let outcome = disk.truncate(SIZE * 2, true, Preallocation::Off).await;
            resized.store(true, Ordering::Relaxed);
            outcome
        });
        for _ in 0..50 {
            turn(bql);
        }
        let refused = read(bql, &root, 0, 512);
        assert!(refused.is_err(), "it is unaligned");
        bql.block_on(resize).expect("it had begun");
        assert!(marking.load(Ordering::Relaxed), "the image was marked");
        let length = node.io().length();
        close(bql, (root, node));
        let bytes = device.bytes();
        assert_eq!(bytes.get(72) & 2, 2, "it is marked");
        assert_eq!(bytes.get(24), length, "as long as everybody was told");
    });
}

#[test]
fn memory_that_goes_back_makes_nobody_wait_for_a_request_that_hangs() {
    at_a_path(|bql, path| {
        let bytes = image(bql, path);
        let device = Device::new(bytes);
        let often = Qcow2Options {
            l2_cache_size: Some(SIZE),
            l2_cache_entry_size: Some(512),
            cache_clean_interval: Some(1),
            ..Qcow2Options::default()
        };
        let node = device.open(bql, often);
        let root = disk(bql, &node);
        let cached = |bql: &mut BqlGuard, root: &Backend| {
            let root = root.root().clone();
            bql.block_on(async move {
                let in_flight = root.begin().await;
                let request = in_flight.request().expect("a medium");
                let driver: &dyn std::any::Any = request.node().driver();
                let driver = driver.downcast_ref::<Qcow2>().expect("an image");
                driver.cached(request)
            })
        };
        read(bql, &root, 0, SIZE as usize / 2).expect("read");
        let before = cached(bql, &root);
        assert!(before.slices > 8, "{before:?}");
        let hangs = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&hangs);
        device.set(move |op| match op {
            Op::Read(_, 1024) if still.load(Ordering::Relaxed) => Outcome::Waits,
            _ => Outcome::Done,
        });
        let hung = root.root().clone();
        let hung = bql.context().spawn(async move {
            let mut buffer = Buffer::zeroed(1024);
            hung.read(0, buffer.destination()).await
        });
        while cached(bql, &root).cleanings < before.cleanings + 4 {
            read(bql, &root, 4096, 512).expect("it does not hang");
            bql.run_for(Duration::from_millis(10));
        }
        let now = cached(bql, &root);
        assert_eq!(now.slices, before.slices, "somebody may be looking there");
        hangs.store(false, Ordering::Relaxed);
        bql.block_on(hung).expect("read");
        while cached(bql, &root).slices > 1 {
            bql.run_for(Duration::from_millis(10));
        }
        close(bql, (root, node));
    });
}
