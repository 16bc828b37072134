//! Data that was found once is not looked for again, and never after it may
//! have gone.

use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use block_gs::{Backend, BlockDriver, BqlGuard, Node, NodeBuilder, Role};
use block_io::aio::yield_now;
use block_io::{
    BlockStatus, Capabilities, Destination, DriverIo, IoFuture, Preallocation, Request, Source,
    StatusFlags, Truncation, WriteFlags,
};

use crate::support::{GROWING, backend, in_layer, poll_once, unmap};

const BLOCK: u64 = 512;
const BLOCKS: usize = 64;

/// Says of each block whether it is data. What it is asked for is found out
/// or done at once, and answered later.
struct Holes {
    data: Mutex<Vec<bool>>,
    looks: AtomicUsize,
    child: bool,
}

impl Holes {
    fn set(&self, offset: u64, bytes: u64, data: bool) {
        let mut blocks = self.data.lock().expect("no panic");
        let (first, last) = (offset / BLOCK, (offset + bytes) / BLOCK);
        blocks[first as usize..last as usize].fill(data);
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }
}

impl DriverIo for Holes {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            zero_flags: Some(WriteFlags::MAY_UNMAP),
            discards: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        into.fill(0);
        IoFuture::done()
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.set(offset, from.len() as u64, true);
        IoFuture::done()
    }

    fn write_zeroes<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.set(offset, bytes, false);
        IoFuture::new(async {
            yield_now().await;
            Ok(())
        })
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        self.write_zeroes(request, offset, bytes, WriteFlags::MAY_UNMAP)
    }

    /// The extent, as far as it goes.
    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        _bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let blocks = self.data.lock().expect("no panic");
        let rest = &blocks[(offset / BLOCK) as usize..];
        let alike = rest.iter().take_while(|&&data| data == rest[0]).count() as u64;
        let status = match rest[0] {
            true => BlockStatus::data(alike * BLOCK),
            false => BlockStatus::zero(alike * BLOCK),
        };
        IoFuture::new(async move {
            yield_now().await;
            Ok(status.stored_at(request.node(), offset))
        })
    }

    fn truncate<'r>(&'r self, _request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let mut blocks = self.data.lock().expect("no panic");
        blocks.resize((to.length / BLOCK) as usize, false);
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        let blocks = self.data.lock().expect("no panic").len() as u64;
        IoFuture::ready(Ok(blocks * BLOCK))
    }
}

impl BlockDriver for Holes {
    fn format_name(&self) -> &'static str {
        "holes"
    }

    fn is_filter(&self) -> bool {
        self.child
    }
}

fn full(bql: &mut BqlGuard) -> (Backend, Node, Arc<Holes>) {
    open(bql, None)
}

fn open(bql: &mut BqlGuard, child: Option<&Node>) -> (Backend, Node, Arc<Holes>) {
    let driver = Arc::new(Holes {
        data: Mutex::new(vec![true; BLOCKS]),
        looks: AtomicUsize::new(0),
        child: child.is_some(),
    });
    let mut builder = NodeBuilder::new("").options(unmap());
    if let Some(child) = child {
        builder = builder.child("file", child, Role::FILTERED | Role::PRIMARY);
    }
    let node = builder.open(bql, driver.clone()).expect("opened");
    (backend(bql, &node, GROWING), node, driver)
}

async fn status(disk: &Backend, offset: u64, bytes: u64) -> (StatusFlags, u64) {
    let in_flight = disk.root().begin().await;
    let request = in_flight.request().expect("a node");
    let status = request.block_status(offset, bytes, true).await;
    let status = status.expect("known");
    let (node, at) = status.at.expect("stored there");
    assert_eq!((node.uid(), at), (request.node().uid(), offset));
    (status.flags, status.bytes)
}

const DATA: StatusFlags = StatusFlags::DATA.union(StatusFlags::ALLOCATED);
const ZERO: StatusFlags = StatusFlags::ZERO.union(StatusFlags::ALLOCATED);

#[test]
fn one_look_is_enough_for_a_run_of_data() {
    in_layer(|bql| {
        let (disk, _, driver) = full(bql);
        bql.block_on(async {
            for block in 0..BLOCKS as u64 {
                let (flags, bytes) = status(&disk, block * BLOCK, BLOCK).await;
                assert_eq!((flags - StatusFlags::EOF, bytes), (DATA, BLOCK));
            }
            let eof = status(&disk, 100, 1 << 20).await;
            let length = BLOCKS as u64 * BLOCK;
            assert_eq!(eof, (DATA | StatusFlags::EOF, length - 100));
        });
        assert_eq!(driver.looks(), 1);
    });
}

#[test]
fn what_may_have_gone_is_looked_for_again() {
    in_layer(|bql| {
        let (disk, node, driver) = full(bql);
        let root = disk.root();
        bql.block_on(async {
            status(&disk, 0, BLOCK).await;
            root.discard(8 * BLOCK, BLOCK).await.expect("discarded");
            assert_eq!(status(&disk, 8 * BLOCK, 4 * BLOCK).await, (ZERO, BLOCK));
            assert_eq!(status(&disk, 0, 64 * BLOCK).await, (DATA, 8 * BLOCK));
            let looks = driver.looks();
            let flags = WriteFlags::empty();
            root.write_zeroes(20 * BLOCK, BLOCK, flags)
                .await
                .expect("zeroed");
            assert_eq!(status(&disk, 7 * BLOCK, BLOCK).await, (DATA, BLOCK));
            assert_eq!(driver.looks(), looks, "zeroes elsewhere do not matter");
            // Padded and cut, and by way of what is not aligned.
            root.write_zeroes(3 * BLOCK, BLOCK, WriteFlags::FUA)
                .await
                .expect("zeroed");
            assert_eq!(status(&disk, 3 * BLOCK, BLOCK).await, (ZERO, BLOCK));
            assert_eq!(status(&disk, 30 * BLOCK, BLOCK).await, (DATA, BLOCK));
            let off = Preallocation::Off;
            root.truncate(40 * BLOCK, true, off).await.expect("cut");
            root.truncate(64 * BLOCK, true, off).await.expect("grown");
            assert_eq!(status(&disk, 39 * BLOCK, 9 * BLOCK).await, (DATA, BLOCK));
            assert_eq!(status(&disk, 40 * BLOCK, BLOCK).await, (ZERO, BLOCK));
        });
        // Another process may have changed it.
        bql.block_on(status(&disk, 30 * BLOCK, BLOCK));
        driver.set(30 * BLOCK, BLOCK, false);
        let found = node.drain(bql).io(async |request: Request<'_>| {
            request.invalidate_cache().await.expect("forgotten");
            let status = request.block_status(30 * BLOCK, BLOCK, true).await;
            status.expect("known").flags
        });
        assert_eq!(found, ZERO);
    });
}

/// A look finds data; before it answers, the data goes. It may say what it
/// saw, and nobody else may hear of it.
#[test]
fn a_look_that_is_overtaken_is_not_remembered() {
    in_layer(|bql| {
        let (disk, _, _driver) = full(bql);
        bql.block_on(async {
            let mut look = pin!(status(&disk, 0, BLOCK));
            assert!(poll_once(look.as_mut()).await.is_pending());
            disk.root().discard(0, BLOCK).await.expect("discarded");
            assert_eq!(look.await, (DATA, BLOCK), "as it was when it began");
            assert_eq!(status(&disk, 0, BLOCK).await, (ZERO, BLOCK));

            // The other way round: it begins before the data goes, and ends
            // before whoever voids it hears that it is done.
            let mut discard = pin!(disk.root().discard(8 * BLOCK, BLOCK));
            let mut look = pin!(status(&disk, 8 * BLOCK, BLOCK));
            assert!(poll_once(look.as_mut()).await.is_pending());
            assert!(poll_once(discard.as_mut()).await.is_pending());
            assert_eq!(look.await, (DATA, BLOCK));
            discard.await.expect("discarded");
            assert_eq!(status(&disk, 8 * BLOCK, BLOCK).await, (ZERO, BLOCK));

            // And one that nobody waits for any more.
            let mut zeroes = Box::pin(disk.root().write_zeroes(
                16 * BLOCK,
                BLOCK,
                WriteFlags::empty(),
            ));
            let mut look = pin!(status(&disk, 16 * BLOCK, BLOCK));
            assert!(poll_once(look.as_mut()).await.is_pending());
            assert!(poll_once(zeroes.as_mut()).await.is_pending());
            drop(zeroes);
            assert_eq!(look.await, (DATA, BLOCK));
            assert_eq!(status(&disk, 16 * BLOCK, BLOCK).await, (ZERO, BLOCK));
        });
    });
}

#[test]
fn a_node_with_children_is_always_asked() {
    in_layer(|bql| {
        let (_below, node, _) = full(bql);
        let (disk, _, driver) = open(bql, Some(&node));
        bql.block_on(async {
            status(&disk, 0, BLOCK).await;
            status(&disk, 0, BLOCK).await;
        });
        assert_eq!(driver.looks(), 2);
    });
}
