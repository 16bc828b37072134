//! A disk for the tests, and short ways to make bitmaps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use block_common::error::errno;
use block_gs::{
    Backend, BitmapError, BitmapOptions, BlockDriver, BlockLimits, BqlGuard, DirtyBitmap,
    GraphError, IoError, Node, NodeBuilder, NodeOptions, Perm,
};
use block_io::aio::yield_now;
use block_io::dirty::StoredBitmap;
use block_io::{
    Buffer, Capabilities, CopyEnd, Destination, DriverIo, IoFuture, Request, Source, Truncation,
    WriteFlags,
};

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;

/// A disk in memory that may fail, and that can keep bitmaps.
#[derive(Default)]
pub struct Disk {
    pub bytes: Mutex<Vec<u8>>,
    pub alignment: u32,
    pub cluster: u32,
    /// Writes arrive and are reported to have failed.
    pub fails: AtomicBool,
    /// The next so many writes wait until this is 0 again.
    pub held: AtomicU64,
    pub loses_length: AtomicBool,
    pub keeps_bitmaps: bool,
    pub full: AtomicBool,
    /// What the image was asked to keep, and at which granularity.
    pub asked: Mutex<Vec<(String, u32)>>,
    pub kept: Arc<Mutex<Vec<StoredBitmap>>>,
}

impl Disk {
    pub fn of(bytes: u64) -> Disk {
        Disk {
            bytes: Mutex::new(vec![0; bytes as usize]),
            alignment: 1,
            cluster: 1,
            ..Disk::default()
        }
    }

    fn outcome(&self) -> Result<(), IoError> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(IoError::from_errno(errno::EIO)),
            false => Ok(()),
        }
    }
}

impl DriverIo for Disk {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            zero_flags: Some(WriteFlags::MAY_UNMAP),
            discards: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(&'r self, _: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        let (start, bytes) = (offset as usize, self.bytes.lock().expect("no panic"));
        into.copy_from_slice(&bytes[start..start + into.len()]);
        IoFuture::done()
    }

    fn write<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            while self.held.load(Ordering::Acquire) > 0 {
                yield_now().await;
            }
            let start = offset as usize;
            let mut bytes = self.bytes.lock().expect("no panic");
            let end = bytes.len().max(start + from.len());
            bytes.resize(end, 0);
            from.copy_to_slice(&mut bytes[start..start + from.len()]);
            self.outcome()
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        bytes: u64,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        let start = offset as usize;
        self.bytes.lock().expect("no panic")[start..start + bytes as usize].fill(0);
        IoFuture::ready(self.outcome())
    }

    fn discard<'r>(&'r self, _: Request<'r>, _: u64, _: u64) -> IoFuture<'r> {
        IoFuture::ready(self.outcome())
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let mut bytes = self.bytes.lock().expect("no panic");
        bytes.resize(to.length as usize, 0);
        IoFuture::ready(self.outcome())
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        if self.loses_length.load(Ordering::Relaxed) {
            return IoFuture::failed(IoError::from_errno(errno::EIO));
        }
        IoFuture::ready(Ok(self.bytes.lock().expect("no panic").len() as u64))
    }

    fn copy_range_from<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        to: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let from = CopyEnd { request, offset };
        to.request.copy_range_to(to.offset, from, bytes, flags)
    }

    fn copy_range_to<'r>(
        &'r self,
        _: Request<'r>,
        _: u64,
        _: CopyEnd<'r>,
        _: u64,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::ready(self.outcome())
    }

    fn can_store_bitmap<'r>(
        &'r self,
        _: Request<'r>,
        name: &'r str,
        granularity: u32,
    ) -> IoFuture<'r> {
        if !self.keeps_bitmaps {
            return IoFuture::failed(IoError::NotSupported);
        }
        let mut asked = self.asked.lock().expect("no panic");
        asked.push((name.to_owned(), granularity));
        match self.full.load(Ordering::Relaxed) {
            false => IoFuture::done(),
            true => IoFuture::failed(IoError::refused(
                errno::EINVAL,
                format!("There is no room for '{name}'"),
            )),
        }
    }

    fn remove_stored_bitmap<'r>(&'r self, _: Request<'r>, name: &'r str) -> IoFuture<'r> {
        let outcome = self.outcome();
        if outcome.is_ok() {
            let mut kept = self.kept.lock().expect("no panic");
            kept.retain(|stored| stored.name != name);
        }
        IoFuture::ready(outcome)
    }

    fn store_bitmaps<'r>(&'r self, _: Request<'r>, bitmaps: &'r [StoredBitmap]) -> IoFuture<'r> {
        *self.kept.lock().expect("no panic") = bitmaps.to_vec();
        IoFuture::ready(self.outcome())
    }
}

impl BlockDriver for Disk {
    fn format_name(&self) -> &'static str {
        "disk"
    }

    fn supports_persistent_bitmaps(&self) -> bool {
        self.keeps_bitmaps
    }

    fn refresh_limits(&self, _: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.request_alignment = self.alignment;
        limits.cluster_size = self.cluster;
        Ok(())
    }
}

pub fn open(bql: &mut BqlGuard, name: &str, disk: Disk) -> (Node, Arc<Disk>) {
    let driver = Arc::new(disk);
    let options = NodeOptions {
        unmap: true,
        ..NodeOptions::default()
    };
    let builder = NodeBuilder::new(name).options(options);
    let node = builder.open(bql, driver.clone()).expect("opened");
    (node, driver)
}

pub fn front(bql: &mut BqlGuard, node: &Node) -> Backend {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
    let front = Backend::new(bql, &format!("{}-front", node.name()), perm, Perm::all());
    let front = front.expect("a backend");
    front.insert(bql, node).expect("inserted");
    front
}

pub fn of_granularity(bytes: u32) -> BitmapOptions {
    BitmapOptions {
        granularity: Some(bytes),
        ..BitmapOptions::default()
    }
}

pub fn add(bql: &mut BqlGuard, node: &Node, name: &str, granularity: u32) -> DirtyBitmap {
    let added = node.add_bitmap(bql, name, of_granularity(granularity));
    added.expect("a bitmap")
}

pub fn areas(bql: &mut BqlGuard, bitmap: &DirtyBitmap) -> Vec<(u64, u64)> {
    let reader = bitmap.reader(bql).expect("not busy");
    let contents = reader.snapshot();
    let areas = contents.areas(0..u64::MAX);
    areas.map(|area| (area.start, area.end)).collect()
}

/// Writes through the backend's request, which may make the node longer.
pub fn write(bql: &mut BqlGuard, front: &Backend, at: u64, bytes: u64) -> Result<(), IoError> {
    let buffer = Buffer::zeroed(bytes as usize);
    let in_flight = bql.block_on(front.root().begin());
    bql.block_on(in_flight.request()?.write(at, buffer.source()))
}

pub fn said<T: std::fmt::Debug>(outcome: Result<T, BitmapError>) -> String {
    outcome.expect_err("refused").to_string()
}
