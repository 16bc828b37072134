//! Copy on read: what was read from below is kept, and nothing else changes.

use std::sync::{Arc, Mutex};

use block_common::error::errno;
use block_drivers::{CopyOnRead, NullCo};
use block_gs::{BlockDriver, BlockLimits, BqlGuard, GraphError, Node, NodeBuilder, Perm, Role};
use block_io::{
    BlockStatus, Buffer, Capabilities, Destination, DriverIo, IoError, IoFuture, Request, Source,
    WriteFlags,
};

use crate::support::{backend, in_layer, read, write};

const CLUSTER: usize = 4096;
const SIZE: usize = 16 * CLUSTER;

/// An image that allocates whole clusters, over a backing image.
struct Overlay {
    clusters: Mutex<Vec<Option<Vec<u8>>>>,
    log: Mutex<Vec<(&'static str, u64, u64, WriteFlags)>>,
    fails: Mutex<bool>,
}

impl Overlay {
    fn open(bql: &mut BqlGuard, name: &str, backing: &Node) -> Node {
        let driver = Overlay {
            clusters: Mutex::new(vec![None; SIZE / CLUSTER]),
            log: Mutex::default(),
            fails: Mutex::default(),
        };
        let builder = NodeBuilder::new(name).child("backing", backing, Role::COW);
        builder.open(bql, Arc::new(driver)).expect("opened")
    }

    fn allocated(&self) -> Vec<usize> {
        let clusters = self.clusters.lock().expect("no panic");
        let present = clusters.iter().enumerate();
        present
            .filter_map(|(at, cluster)| cluster.is_some().then_some(at))
            .collect()
    }

    fn log(&self) -> Vec<(&'static str, u64, u64, WriteFlags)> {
        std::mem::take(&mut *self.log.lock().expect("no panic"))
    }
}

impl DriverIo for Overlay {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            write_flags: WriteFlags::UNCHANGED,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            let mut at = offset as usize;
            while !into.is_empty() {
                let bytes = (CLUSTER - at % CLUSTER).min(into.len());
                let (mut piece, rest) = into.split_at(bytes);
                let own = self.clusters.lock().expect("no panic")[at / CLUSTER].clone();
                match own {
                    Some(own) => piece.copy_from_slice(&own[at % CLUSTER..][..bytes]),
                    None => request.backing()?.read(at as u64, piece).await?,
                }
                at += bytes;
                into = rest;
            }
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        if *self.fails.lock().expect("no panic") {
            return IoFuture::failed(IoError::from_errno(errno::ENOSPC));
        }
        let mut log = self.log.lock().expect("no panic");
        log.push(("write", offset, from.len() as u64, flags));
        let mut clusters = self.clusters.lock().expect("no panic");
        let mut bytes = vec![0; from.len()];
        from.copy_to_slice(&mut bytes);
        for (piece, at) in bytes.chunks(CLUSTER).zip(offset as usize / CLUSTER..) {
            assert_eq!(piece.len(), CLUSTER, "whole clusters");
            clusters[at] = Some(piece.to_vec());
        }
        IoFuture::done()
    }

    fn block_status<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let clusters = self.clusters.lock().expect("no panic");
        let bytes = bytes.min(CLUSTER as u64 - offset % CLUSTER as u64);
        IoFuture::ready(Ok(match clusters[offset as usize / CLUSTER] {
            Some(_) => BlockStatus::data(bytes),
            None => BlockStatus::unallocated(bytes),
        }))
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE as u64))
    }
}

impl BlockDriver for Overlay {
    fn format_name(&self) -> &'static str {
        "overlay"
    }

    fn supports_backing(&self) -> bool {
        true
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.cluster_size = CLUSTER as u32;
        Ok(())
    }
}

fn overlay(node: &Node) -> &Overlay {
    node.driver().expect("an overlay")
}

#[test]
fn what_is_read_is_kept_in_whole_clusters_and_read_once() {
    in_layer(|bql, _| {
        let base = NullCo::new(SIZE as u64).read_zeroes(true);
        let base = base.open(bql, "base").expect("opened");
        let top = Overlay::open(bql, "top", &base);
        let filter = CopyOnRead::over(&top).open(bql, "cor").expect("opened");
        let disk = backend(bql, &filter, Perm::CONSISTENT_READ).expect("nobody objects");

        let data = read(bql, &disk, 5000, 6000).expect("read");
        assert_eq!(data, vec![0; 6000]);
        assert_eq!(overlay(&top).allocated(), [1, 2]);
        let log = overlay(&top).log();
        assert!(
            log.iter()
                .all(|(.., flags)| *flags == WriteFlags::UNCHANGED)
        );
        read(bql, &disk, 5000, 6000).expect("read");
        assert_eq!(overlay(&top).log(), [], "it is there already");
        read(bql, &disk, (SIZE - 1) as u64, 1).expect("read");
        assert_eq!(overlay(&top).allocated(), [1, 2, 15]);
    });
}

#[test]
fn populating_keeps_without_reading_for_anybody() {
    in_layer(|bql, _| {
        let base = NullCo::new(SIZE as u64).read_zeroes(true);
        let base = base.open(bql, "base").expect("opened");
        let top = Overlay::open(bql, "top", &base);
        let filter = CopyOnRead::over(&top).open(bql, "cor").expect("opened");
        let _disk = backend(bql, &filter, Perm::CONSISTENT_READ).expect("nobody objects");
        let mut section = filter.drain(bql);
        section
            .io(async |request: Request<'_>| {
                CopyOnRead::populate(request, 0, 3 * CLUSTER as u64).await
            })
            .expect("populated");
        assert_eq!(overlay(&top).allocated(), [0, 1, 2]);
    });
}

#[test]
fn reads_are_kept_while_the_filter_is_there_and_no_longer() {
    in_layer(|bql, _| {
        let base = NullCo::new(SIZE as u64).read_zeroes(true);
        let base = base.open(bql, "base").expect("opened");
        let top = Overlay::open(bql, "top", &base);
        let disk = backend(bql, &top, Perm::CONSISTENT_READ).expect("nobody objects");
        read(bql, &disk, 0, 512).expect("read");
        assert_eq!(overlay(&top).allocated(), [] as [usize; 0]);

        let filter = CopyOnRead::over(&top).open(bql, "cor").expect("opened");
        top.drain(bql).replace_with(&filter).expect("inserted");
        read(bql, &disk, 0, 512).expect("read");
        assert_eq!(overlay(&top).allocated(), [0]);

        filter.drain(bql).drop_filter().expect("dropped");
        assert_eq!(disk.node(bql), Some(top.clone()));
        read(bql, &disk, CLUSTER as u64, 512).expect("read");
        assert_eq!(overlay(&top).allocated(), [0], "nothing is kept any more");
    });
}

#[test]
fn a_failure_to_keep_is_reported_and_keeps_nothing() {
    in_layer(|bql, _| {
        let base = NullCo::new(SIZE as u64).read_zeroes(true);
        let base = base.open(bql, "base").expect("opened");
        let top = Overlay::open(bql, "top", &base);
        let filter = CopyOnRead::over(&top).open(bql, "cor").expect("opened");
        let disk = backend(bql, &filter, Perm::CONSISTENT_READ).expect("nobody objects");
        *overlay(&top).fails.lock().expect("no panic") = true;
        let refused = read(bql, &disk, 0, 512).expect_err("no space");
        assert_eq!(refused.errno(), errno::ENOSPC);
        assert_eq!(overlay(&top).allocated(), [] as [usize; 0]);
    });
}

/// The child asks for a permission of its own, so nobody may forbid it, and
/// writers beside it are fine.
#[test]
fn the_filter_asks_to_write_what_changes_nothing() {
    in_layer(|bql, _| {
        let base = NullCo::new(SIZE as u64).open(bql, "base").expect("opened");
        let top = Overlay::open(bql, "top", &base);
        let writer = backend(bql, &top, Perm::CONSISTENT_READ | Perm::WRITE).expect("first");
        let filter = CopyOnRead::over(&top).open(bql, "cor").expect("opened");
        let reader = backend(bql, &filter, Perm::CONSISTENT_READ).expect("nobody objects");
        let edge = filter.view(bql).child("file").expect("it has one");
        assert_eq!(edge.perm(), Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED);
        write(bql, &writer, 0, &[7; CLUSTER]).expect("written");
        assert_eq!(read(bql, &reader, 0, 3).expect("read"), [7; 3]);
        assert_eq!(overlay(&top).allocated(), [0]);
    });
}

/// Reading from below and writing here is one step as far as writers can see:
/// whichever comes first, what was written stays.
#[test]
fn a_write_meanwhile_is_not_overwritten() {
    in_layer(|bql, _| {
        let base = NullCo::new(SIZE as u64).read_zeroes(true);
        let slow = base.latency(std::time::Duration::from_millis(2));
        let base = slow.open(bql, "base").expect("opened");
        let top = Overlay::open(bql, "top", &base);
        let filter = CopyOnRead::over(&top).open(bql, "cor").expect("opened");
        let disk = backend(bql, &filter, Perm::CONSISTENT_READ | Perm::WRITE);
        let disk = disk.expect("nobody objects");
        let (reader, writer) = (disk.root().clone(), disk.root().clone());
        let reads = bql.context().spawn(async move {
            let mut buffer = Buffer::zeroed(SIZE);
            reader.read(0, buffer.destination()).await
        });
        let writes = bql.context().spawn(async move {
            let buffer = Buffer::from(&[9; CLUSTER][..]);
            writer.write(CLUSTER as u64, buffer.source()).await
        });
        bql.block_on(reads).expect("read");
        bql.block_on(writes).expect("written");
        let data = read(bql, &disk, CLUSTER as u64, CLUSTER).expect("read");
        assert_eq!(data, [9; CLUSTER]);
    });
}
