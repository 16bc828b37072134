//! A drive for tests: bytes in memory, and every hook of a device. Above
//! another node it is a format that keeps everything there. It notes what it
//! was asked, in order.

use std::any::Any;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use block_common::error::errno;
use block_gs::{
    BlockDriver, BqlGuard, Breakpoints, ChildPermQuery, Drained, GraphError, Measurement, Node,
    NodeBuilder, NodeView, Perm, PermPair, Role, Value,
};
use block_io::{
    BlockStatus, Capabilities, CopyEnd, Destination, DriverIo, IoError, IoFuture, Request,
    ScsiCommand, ScsiReply, Source, WriteFlags, Zone, ZoneKind, ZoneOperation, ZoneState,
};

/// The length of a zone in bytes.
pub const ZONE: usize = 1024;

/// What the drive has, and what has happened to it.
#[derive(Default)]
pub struct Drive {
    pub bytes: Mutex<Vec<u8>>,
    /// The state of each zone, and how far it is written. Most have none.
    pub zones: Mutex<Vec<(ZoneState, usize)>>,
    /// What was there at the time of a snapshot.
    pub past: Mutex<Option<Vec<u8>>>,
    /// The file that it is, if it is one.
    pub path: Option<PathBuf>,
    /// The directory it says it is in.
    pub directory: Option<String>,
    /// Shows what each of its children shows.
    pub mirrors: bool,
    /// Stores what it is given in less space.
    pub compresses: bool,
    /// Everything but reads and writes fails with this errno.
    pub fails: AtomicI32,
    /// Reads and writes wait for an answer from outside.
    pub silent: AtomicBool,
    /// How often those that wait were told to give up.
    pub given_up: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
    points: Mutex<Vec<Point>>,
    asked: Mutex<Vec<String>>,
}

/// A breakpoint.
struct Point {
    event: String,
    tag: String,
    /// A request has come by.
    holds: bool,
}

impl Drive {
    pub fn of(bytes: usize) -> Drive {
        Drive {
            bytes: Mutex::new(vec![0; bytes]),
            ..Drive::default()
        }
    }

    /// With `count` empty zones.
    pub fn zoned(count: usize) -> Drive {
        Drive {
            zones: Mutex::new(vec![(ZoneState::Empty, 0); count]),
            ..Drive::of(count * ZONE)
        }
    }

    /// What it was asked since this was last called.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    fn note(&self, what: String) -> Result<(), IoError> {
        self.asked.lock().expect("no panic").push(what);
        match self.fails.load(Ordering::Relaxed) {
            0 => Ok(()),
            errno => Err(IoError::from_errno(errno)),
        }
    }

    /// Lets those look again who wait.
    pub fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().expect("no panic"));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().expect("no panic").len()
    }

    async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut waiting = self.waiting.lock().expect("no panic");
            match ready() {
                Some(value) => Poll::Ready(value),
                None => {
                    waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The answer of a server, if it comes.
    async fn answer(&self) -> Result<(), IoError> {
        let before = self.given_up.load(Ordering::Relaxed);
        self.until(|| {
            if self.given_up.load(Ordering::Relaxed) > before {
                Some(Err(IoError::from_errno(errno::ECANCELED)))
            } else {
                (!self.silent.load(Ordering::Relaxed)).then_some(Ok(()))
            }
        })
        .await
    }

    /// The zones of a range, and whether it begins and ends with one.
    fn zones_of(&self, offset: u64, bytes: u64) -> Result<std::ops::Range<usize>, IoError> {
        let (start, bytes) = (offset as usize, bytes as usize);
        let (first, last) = (start / ZONE, (start + bytes) / ZONE);
        if self.zones.lock().expect("no panic").is_empty() {
            return Err(IoError::NotSupported);
        }
        if start % ZONE != 0 || bytes % ZONE != 0 {
            return Err(IoError::from_errno(errno::EINVAL));
        }
        Ok(first..last)
    }
}

/// A drive as a node, above `file` if there is one.
pub fn open(
    bql: &mut BqlGuard,
    name: &str,
    drive: Drive,
    file: Option<&Node>,
) -> (Node, Arc<Drive>) {
    let driver = Arc::new(drive);
    let mut builder = NodeBuilder::new(name);
    if let Some(below) = file {
        builder = builder.child("file", below, Role::IMAGE);
    }
    let node = builder.open(bql, driver.clone());
    (node.expect("opened"), driver)
}

/// Does I/O at a node that nobody uses.
pub fn ask<T>(bql: &mut BqlGuard, node: &Node, f: impl AsyncFnOnce(Request<'_>) -> T) -> T {
    node.drain(bql).io(f)
}

fn range(offset: u64, len: usize) -> std::ops::Range<usize> {
    offset as usize..offset as usize + len
}

impl DriverIo for Drive {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            write_flags: match self.compresses {
                true => WriteFlags::COMPRESSED,
                false => WriteFlags::empty(),
            },
            hears_events: true,
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
            self.answer().await?;
            let Ok(file) = request.file() else {
                let bytes = self.bytes.lock().expect("no panic");
                into.copy_from_slice(&bytes[range(offset, into.len())]);
                return Ok(());
            };
            file.debug_event("read_aio").await?;
            file.read(offset, into).await
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.answer().await?;
            let Ok(file) = request.file() else {
                let mut bytes = self.bytes.lock().expect("no panic");
                from.copy_to_slice(&mut bytes[range(offset, from.len())]);
                return Ok(());
            };
            file.debug_event("write_aio").await?;
            file.write_with(offset, from, flags).await
        })
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(match request.file() {
            Ok(file) => file.node().length(),
            Err(_) => self.bytes.lock().expect("no panic").len() as u64,
        }))
    }

    fn copy_range_from<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        to: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.copy_range(offset, to, bytes, flags),
            Err(_) => {
                let from = CopyEnd { request, offset };
                to.request.copy_range_to(to.offset, from, bytes, flags)
            }
        }
    }

    fn copy_range_to<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let noted = self.note(format!("copy {bytes} from {} to {offset}", from.offset));
        if let Err(error) = noted {
            return IoFuture::failed(error);
        }
        if let Ok(file) = request.file() {
            return file.copy_range_to(offset, from, bytes, flags);
        }
        let source: &dyn Any = from.request.node().driver();
        let Some(source) = source.downcast_ref::<Drive>() else {
            return IoFuture::failed(IoError::NotSupported);
        };
        let len = bytes as usize;
        let taken = source.bytes.lock().expect("no panic")[range(from.offset, len)].to_vec();
        self.bytes.lock().expect("no panic")[range(offset, len)].copy_from_slice(&taken);
        IoFuture::done()
    }

    fn invalidate_cache<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        IoFuture::ready(self.note("forget".into()))
    }

    fn delete_file<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        IoFuture::ready(match &self.path {
            Some(path) => std::fs::remove_file(path).map_err(IoError::from),
            None => Err(IoError::NotSupported),
        })
    }

    fn read_snapshot<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        let past = self.past.lock().expect("no panic");
        IoFuture::ready(match &*past {
            Some(bytes) => {
                into.copy_from_slice(&bytes[range(offset, into.len())]);
                Ok(())
            }
            None => Err(IoError::NotSupported),
        })
    }

    fn discard_snapshot<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        bytes: u64,
    ) -> IoFuture<'r> {
        let mut past = self.past.lock().expect("no panic");
        IoFuture::ready(match &mut *past {
            Some(kept) => {
                kept[range(offset, bytes as usize)].fill(0);
                Ok(())
            }
            None => Err(IoError::NotSupported),
        })
    }

    fn snapshot_status<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let past = self.past.lock().expect("no panic");
        IoFuture::ready(match &*past {
            Some(kept) => {
                let looked_at = &kept[range(offset, bytes as usize)];
                let zeroes = looked_at.iter().take_while(|&&byte| byte == 0).count();
                Ok(match precise && zeroes > 0 {
                    true => BlockStatus::zero(zeroes as u64),
                    false => BlockStatus::data(bytes),
                })
            }
            None => Err(IoError::NotSupported),
        })
    }

    fn zones<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        most: usize,
    ) -> IoFuture<'r, Vec<Zone>> {
        let zones = self.zones.lock().expect("no panic");
        if zones.is_empty() {
            return IoFuture::failed(IoError::NotSupported);
        }
        let report = zones.iter().enumerate().skip(offset as usize / ZONE);
        let report = report.take(most).map(|(at, &(state, written))| Zone {
            start: (at * ZONE) as u64,
            length: ZONE as u64,
            capacity: ZONE as u64,
            write_pointer: (at * ZONE + written) as u64,
            kind: ZoneKind::SequentialRequired,
            state,
        });
        IoFuture::ready(Ok(report.collect()))
    }

    fn manage_zones<'r>(
        &'r self,
        _request: Request<'r>,
        operation: ZoneOperation,
        offset: u64,
        bytes: u64,
    ) -> IoFuture<'r> {
        let noted = self.note(format!("{operation:?} {bytes} at {offset}"));
        let which = match noted.and_then(|()| self.zones_of(offset, bytes)) {
            Ok(which) => which,
            Err(error) => return IoFuture::failed(error),
        };
        let mut zones = self.zones.lock().expect("no panic");
        for (state, written) in &mut zones[which] {
            *state = match operation {
                ZoneOperation::Open => ZoneState::ExplicitlyOpen,
                ZoneOperation::Close => ZoneState::Closed,
                ZoneOperation::Finish => ZoneState::Full,
                ZoneOperation::Reset => ZoneState::Empty,
            };
            match operation {
                ZoneOperation::Finish => *written = ZONE,
                ZoneOperation::Reset => *written = 0,
                ZoneOperation::Open | ZoneOperation::Close => {}
            }
        }
        IoFuture::done()
    }

    fn append_to_zone<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r, u64> {
        let noted = self.note(format!("append {} at {offset}", from.len()));
        let which = match noted.and_then(|()| self.zones_of(offset, ZONE as u64)) {
            Ok(which) => which,
            Err(error) => return IoFuture::failed(error),
        };
        let mut zones = self.zones.lock().expect("no panic");
        let (state, written) = &mut zones[which.start];
        if *written + from.len() > ZONE {
            return IoFuture::failed(IoError::from_errno(errno::EIO));
        }
        let at = offset + *written as u64;
        let mut bytes = self.bytes.lock().expect("no panic");
        from.copy_to_slice(&mut bytes[range(at, from.len())]);
        *written += from.len();
        *state = match *written == ZONE {
            true => ZoneState::Full,
            false => ZoneState::ImplicitlyOpen,
        };
        IoFuture::ready(Ok(at))
    }

    fn scsi<'r>(&'r self, _request: Request<'r>, command: ScsiCommand) -> IoFuture<'r, ScsiReply> {
        let noted = self.note(format!("command {:02x?}", command.command));
        IoFuture::ready(noted.map(|()| ScsiReply {
            status: 2,
            sense: vec![0x70, 0, 5],
            ..ScsiReply::default()
        }))
    }

    fn eject<'r>(&'r self, _request: Request<'r>, open: bool) -> IoFuture<'r> {
        let what = if open { "open" } else { "close" };
        IoFuture::ready(self.note(format!("{what} the tray")))
    }

    fn lock_medium<'r>(&'r self, _request: Request<'r>, locked: bool) -> IoFuture<'r> {
        let what = if locked { "lock" } else { "unlock" };
        IoFuture::ready(self.note(format!("{what} the tray")))
    }

    fn debug_event<'r>(&'r self, _request: Request<'r>, event: &'static str) -> IoFuture<'r> {
        if let Err(error) = self.note(event.to_owned()) {
            return IoFuture::failed(error);
        }
        let mut points = self.points.lock().expect("no panic");
        let point = points
            .iter_mut()
            .find(|point| !point.holds && point.event == event);
        let Some(point) = point else {
            return IoFuture::done();
        };
        point.holds = true;
        let tag = point.tag.clone();
        IoFuture::new(async move {
            self.until(|| {
                let points = self.points.lock().expect("no panic");
                let is_held = points.iter().any(|point| point.holds && point.tag == tag);
                (!is_held).then_some(())
            })
            .await;
            Ok(())
        })
    }
}

impl BlockDriver for Drive {
    fn format_name(&self) -> &'static str {
        "drive"
    }

    /// Tests look at a node from several sides at once.
    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        PermPair {
            shared: Perm::all(),
            ..query.default_perms()
        }
    }

    fn filename(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<String> {
        self.path.as_ref().map(|path| path.display().to_string())
    }

    fn dirname(&self, _bql: &BqlGuard) -> Option<String> {
        self.directory.clone()
    }

    fn specific_info(&self, _bql: &BqlGuard) -> Option<Value> {
        let zones = self.zones.lock().expect("no panic").len() as u64;
        (zones > 0).then(|| Value::map([("zones", zones.into())]))
    }

    fn specific_stats(&self, _bql: &BqlGuard) -> Option<Value> {
        let asked = self.asked.lock().expect("no panic").len() as u64;
        Some(Value::map([("asked", asked.into())]))
    }

    fn can_replace(&self, bql: &BqlGuard, node: NodeView<'_>, other: NodeView<'_>) -> Option<bool> {
        let mut children = node.children();
        let shows = || children.any(|edge| edge.child().can_replace(bql, other));
        self.mirrors.then(shows)
    }

    fn cancel_in_flight(&self, _bql: &BqlGuard, _node: NodeView<'_>) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        self.wake();
    }

    fn make_empty(&self, section: &mut Drained<'_>) -> Result<(), GraphError> {
        // Nobody reads meanwhile, so it may take several steps.
        section.io(async |_request| self.note("empty".into()))?;
        self.bytes.lock().expect("no panic").fill(0);
        Ok(())
    }

    /// Whole zones, and one more to keep the others in order.
    fn measure(
        &self,
        _bql: &BqlGuard,
        length: u64,
        input: Option<NodeView<'_>>,
    ) -> Result<Measurement, GraphError> {
        let length = input.map_or(length, NodeView::length);
        let zone = ZONE as u64;
        if length > 1 << 40 {
            return Err(IoError::from_errno(errno::ENOSPC).into());
        }
        Ok(Measurement {
            required: zone,
            fully_allocated: length.next_multiple_of(zone) + zone,
            bitmaps: None,
        })
    }

    fn breakpoints(&self) -> Option<&dyn Breakpoints> {
        Some(self)
    }
}

impl Breakpoints for Drive {
    fn set(&self, _bql: &BqlGuard, event: &str, tag: &str) -> Result<(), IoError> {
        if !["read_aio", "write_aio"].contains(&event) {
            return Err(IoError::from_errno(errno::ENOENT));
        }
        self.points.lock().expect("no panic").push(Point {
            event: event.to_owned(),
            tag: tag.to_owned(),
            holds: false,
        });
        Ok(())
    }

    fn remove(&self, _bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        let mut points = self.points.lock().expect("no panic");
        let before = points.len();
        points.retain(|point| point.tag != tag);
        let found = points.len() < before;
        drop(points);
        self.wake();
        found
            .then_some(())
            .ok_or(IoError::from_errno(errno::ENOENT))
    }

    fn resume(&self, _bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        let mut points = self.points.lock().expect("no panic");
        let before = points.len();
        points.retain(|point| !(point.holds && point.tag == tag));
        let found = points.len() < before;
        drop(points);
        self.wake();
        found
            .then_some(())
            .ok_or(IoError::from_errno(errno::ENOENT))
    }

    fn is_suspended(&self, _bql: &BqlGuard, tag: &str) -> bool {
        let points = self.points.lock().expect("no panic");
        points.iter().any(|point| point.holds && point.tag == tag)
    }
}
