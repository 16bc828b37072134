//! A driver and a parent that panic in whichever of their functions it is the
//! turn of.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use block_common::{GraphError, StatusFlags};
use block_gs::{
    AfterReopen, BlockDriver, BqlGuard, ChildPermQuery, Drained, EdgeParent, Node, PermPair,
    PreparedReopen, ReopenCommit, ReopenTo,
};
use block_io::aio::{AioContext, yield_now};
use block_io::{
    BlockLimits, BlockStatus, Capabilities, CopyEnd, Destination, DriverIo, IoError, IoFuture,
    IoNode, Request, Source, Truncation, WriteFlags,
};

/// What a hook panics with.
struct Sprung;

/// Runs `f`, and stops the panic of a hook there. Others go on.
pub fn trapped<T>(f: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(panic) if panic.is::<Sprung>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// Counts the calls of everything that is not the layer's own code, and
/// panics in one of them.
#[derive(Default)]
pub struct Hooks {
    /// How many calls remain before the one that panics; below 1 none does.
    left: AtomicI64,
    /// Where it was.
    panicked: Mutex<Option<&'static str>>,
    /// Drivers that were put in charge, minus those that were closed.
    open: AtomicI64,
}

impl Hooks {
    /// Panics in the `nth` call from now.
    pub fn arm(&self, nth: i64) {
        self.left.store(nth, Ordering::SeqCst);
    }

    /// Where the panic was, if there has been one.
    pub fn panicked(&self) -> Option<&'static str> {
        *self.panicked.lock().expect("no panic")
    }

    /// How many drivers that were put in charge have not been closed.
    pub fn unclosed(&self) -> i64 {
        self.open.load(Ordering::SeqCst)
    }

    /// Foreign code is called. Unwinds without the words that a panic prints:
    /// there are going to be hundreds.
    pub fn hit(&self, name: &'static str) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            *self.panicked.lock().expect("no panic") = Some(name);
            resume_unwind(Box::new(Sprung));
        }
    }
}

impl Hooks {
    /// As [`hit`](Hooks::hit), where a second panic would abort.
    pub fn hit_in_drop(&self, name: &'static str) {
        if !std::thread::panicking() {
            self.hit(name);
        }
    }
}

/// A driver of bytes in memory. Every function is a hook; requests have one
/// before and one after their first pending.
pub struct Trap {
    pub hooks: Arc<Hooks>,
    bytes: Mutex<Vec<u8>>,
    filter: bool,
    /// Begins minus ends of drained sections that it heard of.
    pub drained: AtomicI64,
    pub closed: AtomicU64,
    /// It has agreed to permissions, and not heard what became of it.
    pub undecided: AtomicBool,
    /// What it has got ready for reopens that have not ended.
    pub ready: Arc<AtomicI64>,
}

impl Trap {
    pub fn of(hooks: &Arc<Hooks>, size: usize) -> Trap {
        Trap::new(hooks, size, false)
    }

    pub fn filter(hooks: &Arc<Hooks>) -> Trap {
        Trap::new(hooks, 0, true)
    }

    fn new(hooks: &Arc<Hooks>, size: usize, filter: bool) -> Trap {
        Trap {
            hooks: Arc::clone(hooks),
            bytes: Mutex::new(vec![7; size]),
            filter,
            drained: AtomicI64::new(0),
            closed: AtomicU64::new(0),
            undecided: AtomicBool::new(false),
            ready: Arc::default(),
        }
    }

    /// A request of a kind: hook, pending, hook, and then what it does.
    fn later<'r, T: 'r>(
        &'r self,
        names: [&'static str; 2],
        work: impl Future<Output = Result<T, IoError>> + Send + 'r,
    ) -> IoFuture<'r, T> {
        self.hooks.hit(names[0]);
        IoFuture::new(async move {
            yield_now().await;
            self.hooks.hit(names[1]);
            work.await
        })
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.hooks.hit_in_drop("drop of a driver");
    }
}

impl DriverIo for Trap {
    fn capabilities(&self) -> Capabilities {
        self.hooks.hit("capabilities");
        Capabilities {
            filter: self.filter,
            zero_flags: Some(WriteFlags::empty()),
            discards: true,
            flushes_to_disk: true,
            variable_length: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.later(["read", "read, later"], async move {
            if self.filter {
                return request.file()?.read(offset, into).await;
            }
            let start = offset as usize;
            let end = start + into.len();
            into.copy_from_slice(&self.bytes.lock().expect("no panic")[start..end]);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.later(["write", "write, later"], async move {
            if self.filter {
                return request.file()?.write_with(offset, from, flags).await;
            }
            let start = offset as usize;
            let end = start + from.len();
            from.copy_to_slice(&mut self.bytes.lock().expect("no panic")[start..end]);
            Ok(())
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.later(["write_zeroes", "write_zeroes, later"], async move {
            if self.filter {
                return request.file()?.write_zeroes(offset, bytes, flags).await;
            }
            let range = offset as usize..(offset + bytes) as usize;
            self.bytes.lock().expect("no panic")[range].fill(0);
            Ok(())
        })
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        self.later(["discard", "discard, later"], async move {
            if self.filter {
                return request.file()?.discard(offset, bytes).await;
            }
            Ok(())
        })
    }

    fn block_status<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        self.later(["block_status", "block_status, later"], async move {
            Ok(BlockStatus {
                flags: StatusFlags::DATA | StatusFlags::ALLOCATED,
                bytes,
                at: None,
            })
        })
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        self.later(["truncate", "truncate, later"], async move {
            if self.filter {
                let file = request.file()?;
                return file.truncate(to.length, to.exact, to.preallocation).await;
            }
            let mut bytes = self.bytes.lock().expect("no panic");
            bytes.resize(to.length as usize, 0);
            Ok(())
        })
    }

    fn copy_range_from<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _to: CopyEnd<'r>,
        _bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.later(["copy_range_from", "copy_range_from, later"], async {
            Err(IoError::NotSupported)
        })
    }

    fn flush_to_os<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.later(["flush_to_os", "flush_to_os, later"], async { Ok(()) })
    }

    fn flush_to_disk<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.later(["flush_to_disk", "flush_to_disk, later"], async { Ok(()) })
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        self.later(["length", "length, later"], async move {
            if self.filter {
                return request.file()?.length().await;
            }
            Ok(self.bytes.lock().expect("no panic").len() as u64)
        })
    }
}

impl BlockDriver for Trap {
    fn format_name(&self) -> &'static str {
        "trap"
    }

    fn is_filter(&self) -> bool {
        self.hooks.hit("is_filter");
        self.filter
    }

    fn supports_backing(&self) -> bool {
        self.hooks.hit("supports_backing");
        !self.filter
    }

    fn refresh_limits(&self, _bql: &BqlGuard, _limits: &mut BlockLimits) -> Result<(), GraphError> {
        self.hooks.hit("refresh_limits");
        Ok(())
    }

    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        self.hooks.hit("child_perm");
        query.default_perms()
    }

    fn check_perm(&self, _bql: &BqlGuard, _asked: PermPair) -> Result<(), GraphError> {
        self.hooks.hit("check_perm");
        self.undecided.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn set_perm(&self, _bql: &BqlGuard, _granted: PermPair) {
        self.undecided.store(false, Ordering::SeqCst);
        self.hooks.hit("set_perm");
    }

    fn abort_perm_update(&self, _bql: &BqlGuard) {
        self.undecided.store(false, Ordering::SeqCst);
        self.hooks.hit("abort_perm_update");
    }

    fn reopens(&self) -> bool {
        self.hooks.hit("reopens");
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        _to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        self.hooks.hit("reopen_prepare");
        section.io(async |request: Request<'_>| request.flush().await)?;
        self.ready.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(TrapReopen {
            hooks: Arc::clone(&self.hooks),
            ready: Arc::clone(&self.ready),
        }))
    }

    fn opened(&self, _bql: &BqlGuard, _node: &Arc<IoNode>) {
        self.hooks.open.fetch_add(1, Ordering::SeqCst);
        self.hooks.hit("opened");
    }

    fn drain_begin(&self, _bql: &BqlGuard) {
        self.drained.fetch_add(1, Ordering::SeqCst);
        self.hooks.hit("drain_begin");
    }

    fn drain_end(&self, _bql: &BqlGuard) {
        self.drained.fetch_sub(1, Ordering::SeqCst);
        self.hooks.hit("drain_end");
    }

    fn detach_context(&self, _bql: &BqlGuard, _node: &IoNode) {
        self.hooks.hit("detach_context");
    }

    fn attach_context(&self, _bql: &BqlGuard, _node: &IoNode, _context: &AioContext) {
        self.hooks.hit("attach_context");
    }

    fn close(&self, _bql: &mut BqlGuard) {
        self.closed.fetch_add(1, Ordering::SeqCst);
        self.hooks.open.fetch_sub(1, Ordering::SeqCst);
        self.hooks.hit("close");
    }
}

/// What a driver has got ready.
struct TrapReopen {
    hooks: Arc<Hooks>,
    ready: Arc<AtomicI64>,
}

impl PreparedReopen for TrapReopen {
    fn commit(self: Box<Self>, _reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        self.hooks.hit("commit of a reopen");
        let hooks = Arc::clone(&self.hooks);
        Some(Box::new(move |_| hooks.hit("after a reopen")))
    }

    fn abort(self: Box<Self>, _bql: &BqlGuard, _node: &Node) {
        self.hooks.hit("abort of a reopen");
    }
}

impl Drop for TrapReopen {
    fn drop(&mut self) {
        self.ready.fetch_sub(1, Ordering::SeqCst);
        self.hooks.hit_in_drop("drop of a reopen");
    }
}

/// A parent like a job, every function of which is a hook.
pub struct TrapJob {
    pub hooks: Arc<Hooks>,
    pub drained: AtomicI64,
}

impl EdgeParent for TrapJob {
    fn describe(&self) -> String {
        "a job of the test".into()
    }

    fn drained_begin(&self, _bql: &BqlGuard) {
        self.drained.fetch_add(1, Ordering::SeqCst);
        self.hooks.hit("drained_begin");
    }

    fn drained_poll(&self, _bql: &BqlGuard) -> bool {
        self.hooks.hit("drained_poll");
        false
    }

    fn drained_end(&self, _bql: &BqlGuard) {
        self.drained.fetch_sub(1, Ordering::SeqCst);
        self.hooks.hit("drained_end");
    }

    fn stays_at_node(&self) -> bool {
        self.hooks.hit("stays_at_node");
        true
    }

    fn may_change_context(&self, _bql: &BqlGuard, _context: &AioContext) -> Result<(), GraphError> {
        self.hooks.hit("may_change_context");
        Ok(())
    }

    fn context_changed(&self, _bql: &BqlGuard, _context: &AioContext) {
        self.hooks.hit("context_changed");
    }
}
