//! Every kind of request, dropped at every point where it waits.

use std::future::Future;
use std::pin::Pin;

use block_gs::NodeOptions;
use block_io::aio::yield_now;
use block_io::{Buffer, Capabilities, CopyEnd, IoError, Preallocation, Root, WriteFlags};

use crate::strict::{Setup, Strict};
use crate::support::{
    GROWING, discard, disk, in_layer, pattern, poll_once, read, unmap, write, write_scattered,
    zeroes,
};

const NONE: WriteFlags = WriteFlags::empty();
const FUA: WriteFlags = WriteFlags::FUA;
const SIZE: usize = 4096;

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(), IoError>> + 'a>>;
type Kind = (
    &'static str,
    for<'a> fn(&'a Root, &'a Buffer) -> Attempt<'a>,
);

async fn copy(root: &Root) -> Result<(), IoError> {
    let (source, target) = (root.begin().await, root.begin().await);
    let end = CopyEnd {
        request: target.request()?,
        offset: 2048,
    };
    source.request()?.copy_range(0, end, 1024, FUA).await
}

const KINDS: [Kind; 13] = [
    ("read", |root, _| {
        Box::pin(async { read(root, 0, 2048).await.map(drop) })
    }),
    ("padded read", |root, _| {
        Box::pin(async { read(root, 100, 3000).await.map(drop) })
    }),
    ("write", |root, buffer| {
        Box::pin(root.write(0, buffer.source()))
    }),
    ("durable write", |root, buffer| {
        Box::pin(root.write_with(512, buffer.source(), FUA))
    }),
    ("padded write", |root, buffer| {
        Box::pin(root.write_with(100, buffer.source(), FUA))
    }),
    ("scattered write", |root, _| {
        Box::pin(write_scattered(root, 7, &[5; 3000], 9, NONE))
    }),
    ("growing write", |root, _| {
        Box::pin(write(root, SIZE as u64 - 100, &[6; 2000], NONE))
    }),
    ("zeroes", |root, _| {
        Box::pin(zeroes(root, 100, 3000, WriteFlags::MAY_UNMAP | FUA))
    }),
    ("discard", |root, _| Box::pin(discard(root, 100, 3000))),
    ("flush", |root, _| {
        Box::pin(async {
            write(root, 0, &[7; 512], NONE).await?;
            root.flush().await
        })
    }),
    ("shorter", |root, _| {
        Box::pin(root.truncate(1024, true, Preallocation::Off))
    }),
    ("longer", |root, _| {
        Box::pin(root.truncate(9000, true, Preallocation::Off))
    }),
    ("copy", |root, _| Box::pin(copy(root))),
];

fn setup(alignment: u32, native: bool) -> Setup {
    let mut setup = Setup::aligned(alignment);
    setup.limits.max_transfer = 1024;
    setup.limits.max_zeroes = 1024;
    setup.limits.max_segments = 4;
    setup.turns = 2;
    setup.capabilities = Capabilities {
        zero_flags: native.then_some(WriteFlags::MAY_UNMAP),
        discards: true,
        ..setup.capabilities
    };
    setup
}

/// Nothing waits, nothing is entered, nothing is counted: a request that
/// demands to be alone gets through without waiting, one to each block too,
/// and the bytes are what the driver has.
async fn is_over(root: &Root, driver: &Strict, what: &str) {
    assert_eq!(root.in_flight(), 0, "{what}");
    let length = driver.bytes().len() as u64;
    let whole = length.next_multiple_of(512).max(512) as usize;
    let alone = WriteFlags::SERIALISING | WriteFlags::NO_WAIT;
    let done = write(root, 0, &vec![3; whole], alone).await;
    done.unwrap_or_else(|error| panic!("{what}: {error}"));
    write(root, 10, &[4; 20], NONE).await.expect("written");
    let got = read(root, 0, whole).await.expect("read");
    assert!(got == driver.bytes()[..whole], "{what}");
    root.flush().await.expect("flushed");
}

#[test]
fn a_request_can_be_dropped_wherever_it_waits() {
    in_layer(|bql| {
        for (alignment, native) in [(512, true), (512, false), (1, true), (1, false)] {
            let (disk, node, driver) = disk(
                bql,
                pattern(SIZE, 1),
                setup(alignment, native),
                unmap(),
                GROWING,
            );
            node.drain(bql).track_overlaps();
            let mut buffer = Buffer::from(&pattern(3072, 2)[..]);
            for (name, kind) in KINDS {
                let mut polls = 0;
                loop {
                    driver.set_bytes(pattern(SIZE, 1));
                    let same = disk.root().truncate(SIZE as u64, true, Preallocation::Off);
                    bql.block_on(same).expect("as it was");
                    let ended = bql.block_on(async {
                        let mut attempt = kind(disk.root(), &buffer);
                        for _ in 0..polls {
                            if let std::task::Poll::Ready(done) = poll_once(attempt.as_mut()).await
                            {
                                done.unwrap_or_else(|error| panic!("{name}: {error}"));
                                return true;
                            }
                            yield_now().await;
                        }
                        false
                    });
                    assert!(!buffer.reclaim(), "{name}");
                    let what = format!("{name} of {alignment}, dropped after {polls}");
                    bql.block_on(is_over(disk.root(), &driver, &what));
                    drop(node.drain(bql));
                    if ended {
                        break;
                    }
                    polls += 1;
                    assert!(polls < 200, "{name} never ends");
                }
                assert!(polls > 1, "{name} never waits");
            }
        }
    });
}

/// One of several that wait for each other is dropped; the others go on.
#[test]
fn the_others_go_on() {
    in_layer(|bql| {
        for dropped in 0..5 {
            for polls in 0..12 {
                let options = NodeOptions::default();
                let (disk, _node, driver) =
                    disk(bql, vec![0; 1024], setup(512, false), options, GROWING);
                let root = disk.root();
                bql.block_on(async {
                    let mut attempts: Vec<_> = (0..5u64)
                        .map(|number| {
                            let bytes = vec![number as u8 + 1; 100];
                            let at = number * 100 + 6;
                            let attempt: Attempt<'_> =
                                Box::pin(async move { write(root, at, &bytes, NONE).await });
                            Some(attempt)
                        })
                        .collect();
                    for turn in 0.. {
                        if turn == polls {
                            attempts[dropped] = None;
                        }
                        for attempt in &mut attempts {
                            let Some(running) = attempt else { continue };
                            if let std::task::Poll::Ready(done) = poll_once(running.as_mut()).await
                            {
                                done.expect("written");
                                *attempt = None;
                            }
                        }
                        if attempts.iter().all(Option::is_none) {
                            break;
                        }
                        assert!(turn < 300, "somebody waits for ever");
                        yield_now().await;
                    }
                });
                let bytes = driver.bytes();
                for number in (0..5).filter(|&number| number != dropped) {
                    let at = number * 100 + 6;
                    assert!(
                        bytes[at..at + 100]
                            .iter()
                            .all(|&byte| byte == number as u8 + 1)
                    );
                }
                let at = dropped * 100 + 6;
                let all = |byte| bytes[at..at + 100].iter().all(|&known| known == byte);
                assert!(all(0) || all(dropped as u8 + 1), "old or new");
            }
        }
    });
}

/// A request that is parked at a closed gate leaves nothing behind either.
#[test]
fn a_parked_request_can_be_dropped() {
    in_layer(|bql| {
        let options = NodeOptions::default();
        let (disk, node, driver) = disk(bql, vec![0; 1024], setup(512, false), options, GROWING);
        let root = disk.root().clone();
        let mut section = node.drain(bql);
        for (name, kind) in KINDS {
            let buffer = Buffer::zeroed(3072);
            section.block_on(async {
                let mut attempt = kind(&root, &buffer);
                for _ in 0..3 {
                    assert!(poll_once(attempt.as_mut()).await.is_pending(), "{name}");
                    yield_now().await;
                }
            });
        }
        drop(section);
        assert!(driver.calls().is_empty());
        assert_eq!(root.in_flight(), 0);
        bql.block_on(write(&root, 0, &[1; 10], NONE))
            .expect("open again");
    });
}
