//! What goes on after a request was dropped, and what comes after it.

use std::fs::File as HostFile;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex};

use block_drivers::File;
use block_gs::{Backend, BlockDriver, BlockLimits, BqlGuard, GraphError, NodeBuilder, Perm};
use block_io::aio::{Engine, yield_now};
use block_io::file::FileIo;
use block_io::{
    Buffer, Capabilities, Destination, DriverIo, IoFuture, Preallocation, Request, Source,
    Truncation, WriteFlags,
};

use crate::support::{GROWING, backend, in_layer, pattern, poll_once, read, write};

const NONE: WriteFlags = WriteFlags::empty();

/// Holds writes back until told otherwise: whether it does, and how many it
/// has got hold of.
#[derive(Clone, Default)]
struct Hold(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Hold {
    fn set(&self, held: bool) {
        self.0.0.lock().expect("no panic").0 = held;
        self.0.1.notify_all();
    }

    fn is_set(&self) -> bool {
        self.0.0.lock().expect("no panic").0
    }

    fn wait(&self) {
        let mut held = self.0.0.lock().expect("no panic");
        held.1 += 1;
        self.0.1.notify_all();
        let waited = self.0.1.wait_while(held, |held| held.0);
        waited.expect("no panic").1 -= 1;
    }

    /// Work that has not begun would just be forgotten.
    fn until_one_is_held(&self) {
        let held = self.0.0.lock().expect("no panic");
        let waited = self.0.1.wait_while(held, |held| held.1 == 0);
        drop(waited.expect("no panic"));
    }
}

/// A file whose writes run on worker threads that can be held back.
struct Slow {
    io: FileIo,
    hold: Hold,
    alignment: u32,
}

impl Slow {
    fn host(fd: &OwnedFd) -> std::io::Result<HostFile> {
        Ok(HostFile::from(fd.try_clone()?))
    }
}

impl DriverIo for Slow {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            zero_flags: Some(NONE),
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.io.read(request, offset, into)
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        let mut bytes = vec![0; from.len()];
        from.copy_to_slice(&mut bytes);
        let hold = self.hold.is_set().then(|| self.hold.clone());
        let changes = offset..offset + bytes.len() as u64;
        self.io.blocking(request, Some(changes), move |fd| {
            if let Some(hold) = hold {
                hold.wait();
            }
            Slow::host(fd)?.write_all_at(&bytes, offset)
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.io
            .blocking(request, Some(offset..offset + bytes), move |fd| {
                Slow::host(fd)?.write_all_at(&vec![0; bytes as usize], offset)
            })
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        self.io
            .blocking(request, None, move |fd| Slow::host(fd)?.set_len(to.length))
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        let host = Slow::host(self.io.fd()).and_then(|host| host.metadata());
        IoFuture::ready(host.map(|metadata| metadata.len()).map_err(Into::into))
    }
}

impl BlockDriver for Slow {
    fn format_name(&self) -> &'static str {
        "slow"
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.request_alignment = self.alignment;
        Ok(())
    }
}

fn slow(bql: &mut BqlGuard, alignment: u32, bytes: &[u8]) -> (Backend, Hold) {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(bytes, 0).expect("written");
    let hold = Hold::default();
    let driver = Slow {
        io: FileIo::new(Arc::new(file.into())).engine(Some(Engine::Threads)),
        hold: hold.clone(),
        alignment,
    };
    let node = NodeBuilder::new("").open(bql, Arc::new(driver));
    let node = node.expect("opened");
    (backend(bql, &node, GROWING), hold)
}

async fn some_turns() {
    for _ in 0..20 {
        yield_now().await;
    }
}

/// Begins a write, holds it back, and drops it.
async fn drop_in_the_middle(disk: &Backend, hold: &Hold, offset: u64, bytes: &[u8]) {
    hold.set(true);
    let mut dropped = pin!(write(disk.root(), offset, bytes, NONE));
    assert!(poll_once(dropped.as_mut()).await.is_pending());
    hold.until_one_is_held();
}

/// A request that waited for the dropped one must not go ahead of what is
/// left of it.
#[test]
fn who_waits_waits_for_what_is_left_too() {
    in_layer(|bql| {
        let (disk, hold) = slow(bql, 512, &[0; 1024]);
        bql.block_on(async {
            let root = disk.root();
            hold.set(true);
            let mut second = pin!(write(root, 100, &[2; 30], NONE));
            let mut third = pin!(read(root, 0, 512));
            {
                let mut first = pin!(write(root, 0, &[1; 512], NONE));
                assert!(poll_once(first.as_mut()).await.is_pending());
                assert!(poll_once(second.as_mut()).await.is_pending());
                assert!(poll_once(third.as_mut()).await.is_pending());
                hold.until_one_is_held();
            }
            some_turns().await;
            assert!(poll_once(second.as_mut()).await.is_pending());
            assert!(poll_once(third.as_mut()).await.is_pending());
            hold.set(false);
            second.await.expect("written");
            let mut expected = [1; 512];
            expected[100..130].fill(2);
            assert!(third.await.expect("read") == expected);
        });
    });
}

/// Each kind of request that follows is served after what is left.
#[test]
fn who_comes_later_waits_for_what_is_left() {
    in_layer(|bql| {
        for alignment in [1, 512] {
            let (disk, hold) = slow(bql, alignment, &[0; 2048]);
            bql.block_on(async {
                let root = disk.root();
                for kind in 0..3 {
                    drop_in_the_middle(&disk, &hold, 0, &[1; 1024]).await;
                    let mut later: Pin<Box<dyn Future<Output = _>>> = match kind {
                        0 => Box::pin(write(root, 512, &[3; 512], NONE)),
                        1 => Box::pin(crate::support::zeroes(root, 512, 512, NONE)),
                        _ => Box::pin(async { read(root, 512, 10).await.map(drop) }),
                    };
                    some_turns().await;
                    assert!(poll_once(later.as_mut()).await.is_pending(), "{kind}");
                    // What does not overlap goes ahead.
                    read(root, 1024, 512).await.expect("read");
                    hold.set(false);
                    later.await.expect("done");
                    let expected = [3, 0, 1][kind];
                    let got = read(root, 512, 512).await.expect("read");
                    assert!(got == [expected; 512], "{kind}");
                }
            });
        }
    });
}

/// What is left of a write beyond the end must not make the node longer after
/// it was truncated, nor show in what is new.
#[test]
fn a_truncation_waits_for_what_is_left() {
    in_layer(|bql| {
        let cases = [
            // A part of what is cut off; beyond the old end; across it.
            (1000, 100, 500),
            (1200, 100, 1100),
            (1000, 300, 1100),
            (1000, 300, 600),
        ];
        for (offset, len, length) in cases {
            let (disk, hold) = slow(bql, 1, &[9; 1100]);
            bql.block_on(async {
                let root = disk.root();
                drop_in_the_middle(&disk, &hold, offset, &vec![1; len]).await;
                let mut cut = pin!(root.truncate(length, true, Preallocation::Off));
                some_turns().await;
                assert!(poll_once(cut.as_mut()).await.is_pending(), "{offset}");
                hold.set(false);
                cut.await.expect("truncated");
                assert_eq!(root.length().await.expect("known"), length);
                let longer = root.truncate(2000, true, Preallocation::Off);
                longer.await.expect("truncated");
                let got = read(root, length, (2000 - length) as usize).await;
                assert!(got.expect("read").iter().all(|&byte| byte == 0));
            });
        }
    });
}

/// A dropped write that has made the file longer is noticed where it matters.
#[test]
fn a_dropped_write_beyond_the_end_is_all_there_or_not_at_all() {
    in_layer(|bql| {
        let (disk, hold) = slow(bql, 1, &[9; 1000]);
        bql.block_on(async {
            let root = disk.root();
            drop_in_the_middle(&disk, &hold, 1000, &[1; 500]).await;
            hold.set(false);
            // Waits for what is left.
            let got = read(root, 1000, 500).await.expect("read");
            assert!(got == [1; 500], "{got:?}");
            assert_eq!(root.length().await.expect("known"), 1500);
            root.truncate(1200, true, Preallocation::Off)
                .await
                .expect("truncated");
            assert_eq!(root.length().await.expect("known"), 1200);
            assert!(read(root, 1000, 500).await.expect("read")[200..] == [0; 300]);
        });
    });
}

/// A section is not complete before nothing is left.
#[test]
fn a_section_waits_for_what_is_left() {
    in_layer(|bql| {
        let (disk, hold) = slow(bql, 1, &[0; 1024]);
        bql.block_on(drop_in_the_middle(&disk, &hold, 0, &[1; 1024]));
        assert_eq!(disk.root().in_flight(), 0);
        let node = disk.node(bql).expect("inserted");
        assert_eq!(node.io().in_flight(), 1);
        let later = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(30));
            hold.set(false);
        });
        let mut section = node.drain(bql);
        let mut buffer = Buffer::zeroed(1024);
        let done =
            section.io(async |request: Request<'_>| request.read(0, buffer.destination()).await);
        done.expect("read");
        drop(section);
        assert!(buffer.as_slice() == [1; 1024]);
        later.join().expect("no panic");
    });
}

/// Real engines: a write is dropped after so many polls, another one to the
/// same place is reported, and then that is what is there, also later.
#[test]
fn no_engine_overwrites_what_was_written_later() {
    let directory = tempfile::tempdir().expect("a directory");
    in_layer(|bql| {
        for (name, engine) in [("threads", Engine::Threads), ("best", Engine::best())] {
            let path = directory.path().join(name);
            File::create(&path, 1 << 20).expect("created");
            let options = File::new(&path).engine(Some(engine));
            let node = options.open(bql, name).expect("opened");
            let perm = Perm::CONSISTENT_READ | Perm::WRITE;
            let disk = backend(bql, &node, perm);
            let mut buffer = Buffer::from(&pattern(1 << 20, 1)[..]);
            for round in 0..60u64 {
                let new = pattern(300_000, round + 2);
                let offset = (round * 977) % 600_000;
                bql.block_on(async {
                    {
                        let mut dropped = pin!(disk.root().write(0, buffer.source()));
                        for _ in 0..round % 4 + 1 {
                            if poll_once(dropped.as_mut()).await.is_ready() {
                                break;
                            }
                            yield_now().await;
                        }
                    }
                    write(disk.root(), offset, &new, NONE)
                        .await
                        .expect("written");
                    let got = read(disk.root(), offset, new.len()).await;
                    assert!(got.expect("read") == new, "{name} {round}");
                });
                drop(node.drain(bql));
                buffer.reclaim();
                assert!(buffer.is_idle());
                let got = bql.block_on(read(disk.root(), offset, new.len()));
                assert!(
                    got.expect("read") == new,
                    "{name} {round}: overwritten later"
                );
            }
        }
    });
}
