//! `blkdebug`: a filter that fails and holds requests as rules say.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use block_common::error::errno;
use block_common::role::PermPair;
use block_common::sync::Mutex;
use block_gs::{
    BlockDriver, BqlGuard, Breakpoints, ChildPermQuery, GraphError, Node, NodeBuilder, NodeOptions,
    NodeView, Perm, Role, Value,
};
use block_io::aio::yield_now;
use block_io::{
    BlockLimits, BlockStatus, Capabilities, CopyEnd, Destination, DriverIo, IoError, IoFuture,
    IoNode, Request, Source, Truncation, WriteFlags,
};

use crate::forward::{AS_THE_CHILD, at_file, file_length};
use crate::options::node_options;

mod config;
mod event;
mod rules;

pub use config::{ConfigError, RuleText, parse_config, read_config};
pub use event::{EVENTS, Event, IoType, UnknownName};
pub use rules::{InjectError, SetState};

use rules::Rules;

/// Hands requests on to the child `image`, unless a rule lets them fail or a
/// breakpoint holds them (`blkdebug.c`).
///
/// Rules and breakpoints speak of [events](EVENTS), which the driver above
/// reports as it works, and the layer where it deals with writes to this node
/// itself. A request that is held keeps its counts: a drained section waits
/// until [`Breakpoints::resume`] lets it go.
pub struct Blkdebug {
    state: Mutex<State>,
    limits: Limits,
    perms: ExtraPerms,
    /// What decides which rules there are, as it was given.
    given: Vec<(&'static str, Value)>,
    config: Option<PathBuf>,
    observer: Mutex<Option<Observer>>,
}

struct State {
    rules: Rules,
    held: Vec<Held>,
}

struct Held {
    tag: String,
    latch: Arc<Latch>,
}

/// Opened once.
#[derive(Default)]
struct Latch(Mutex<(bool, Option<Waker>)>);

impl Latch {
    fn open(&self) {
        let waker = {
            let mut state = self.0.lock();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Who is told of requests that are held and let go, on their thread or in
/// the main loop.
pub type Observer = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// What happens to a request at a breakpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress<'t> {
    /// It is held, under this name.
    Suspended(&'t str),
    /// It is let go.
    Resuming(&'t str),
}

/// A size is 0 where nothing is said.
#[derive(Clone, Copy, Default, Debug)]
struct Limits {
    align: u64,
    max_transfer: u64,
    opt_write_zero: u64,
    max_write_zero: u64,
    opt_discard: u64,
    max_discard: u64,
}

/// What is asked of the child beyond what parents ask.
#[derive(Clone, Copy, Debug)]
struct ExtraPerms {
    take: Perm,
    unshare: Perm,
}

impl std::fmt::Debug for Blkdebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blkdebug")
            .field("rules", &self.state.lock().rules)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Blkdebug {
    /// A filter over `node`, to be opened.
    pub fn over(node: &Node) -> BlkdebugOptions {
        BlkdebugOptions {
            image: node.clone(),
            errors: Vec::new(),
            states: Vec::new(),
            limits: Limits::default(),
            perms: ExtraPerms {
                take: Perm::empty(),
                unshare: Perm::empty(),
            },
            given: Vec::new(),
            config: None,
            options: NodeOptions::default(),
        }
    }

    /// Tells `observer` of requests that are held and let go; nobody before.
    /// Any thread: it is called on that of the request, or where it is let
    /// go, and must not wait.
    pub fn observe(&self, observer: Option<Observer>) {
        *self.observer.lock() = observer;
    }

    fn tell(&self, progress: Progress<'_>) {
        let observer = self.observer.lock().clone();
        if let Some(observer) = observer {
            observer(&progress);
        }
    }

    /// Does `run` at the child, unless a rule says that it fails.
    fn unless_failing<'r, T: Send + Unpin + 'r>(
        &self,
        kind: IoType,
        offset: u64,
        bytes: u64,
        run: impl FnOnce() -> IoFuture<'r, T>,
    ) -> IoFuture<'r, T> {
        let failure = self.state.lock().rules.fail(kind, offset, bytes);
        match failure {
            None => run(),
            Some(failure) => {
                let error = IoError::from_errno(failure.errno);
                if failure.immediately {
                    return IoFuture::failed(error);
                }
                IoFuture::new(async move {
                    yield_now().await;
                    Err(error)
                })
            }
        }
    }
}

/// Waits until a breakpoint lets go.
struct Suspended<'d> {
    driver: &'d Blkdebug,
    latch: Arc<Latch>,
}

impl Future for Suspended<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.latch.0.lock();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Suspended<'_> {
    /// Also when the request is dropped: then nobody is held any more.
    fn drop(&mut self) {
        let mut state = self.driver.state.lock();
        let own = |held: &Held| Arc::ptr_eq(&held.latch, &self.latch);
        state.held.retain(|held| !own(held));
    }
}

/// How to open a [`Blkdebug`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct BlkdebugOptions {
    image: Node,
    errors: Vec<InjectError>,
    states: Vec<SetState>,
    limits: Limits,
    perms: ExtraPerms,
    given: Vec<(&'static str, Value)>,
    config: Option<PathBuf>,
    options: NodeOptions,
}

impl BlkdebugOptions {
    /// Adds a rule that lets requests fail.
    pub fn inject_error(mut self, rule: InjectError) -> Self {
        self.errors.push(rule);
        self
    }

    /// Adds a rule that changes the state.
    pub fn set_state(mut self, rule: SetState) -> Self {
        self.states.push(rule);
        self
    }

    /// Adds the rules in a file; see [`read_config`].
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn config(mut self, path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let path = path.into();
        let (errors, states) = read_config(&path)?;
        self.errors.extend(errors);
        self.states.extend(states);
        self.config = Some(path);
        Ok(self)
    }

    /// What the node has to be opened with to have the same rules again,
    /// `config` aside.
    pub fn given(mut self, options: Vec<(&'static str, Value)>) -> Self {
        self.given = options;
        self
    }

    /// Sets the alignment of requests in bytes, a power of two.
    pub fn align(mut self, bytes: u64) -> Self {
        self.limits.align = bytes;
        self
    }

    /// Sets the longest transfer in bytes, a multiple of the alignment.
    pub fn max_transfer(mut self, bytes: u64) -> Self {
        self.limits.max_transfer = bytes;
        self
    }

    /// Sets the best alignment of zero writes in bytes; those that are
    /// shorter are refused.
    pub fn opt_write_zero(mut self, bytes: u64) -> Self {
        self.limits.opt_write_zero = bytes;
        self
    }

    /// Sets the longest zero write in bytes.
    pub fn max_write_zero(mut self, bytes: u64) -> Self {
        self.limits.max_write_zero = bytes;
        self
    }

    /// Sets the best alignment of discards in bytes; those that are shorter
    /// are refused.
    pub fn opt_discard(mut self, bytes: u64) -> Self {
        self.limits.opt_discard = bytes;
        self
    }

    /// Sets the longest discard in bytes.
    pub fn max_discard(mut self, bytes: u64) -> Self {
        self.limits.max_discard = bytes;
        self
    }

    /// Asks these permissions of the image, whether parents need them or not.
    pub fn take_child_perms(mut self, perms: Perm) -> Self {
        self.perms.take = perms;
        self
    }

    /// Lets nobody else have these permissions on the image.
    pub fn unshare_child_perms(mut self, perms: Perm) -> Self {
        self.perms.unshare = perms;
        self
    }

    node_options!(options, read_only);

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// [`GraphError::Refused`] for sizes that contradict each other; those of
    /// [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let below = self.image.view(bql).limits().request_alignment;
        self.limits.check(u64::from(below))?;
        let driver = Blkdebug {
            state: Mutex::new(State {
                rules: Rules::new(&self.errors, &self.states),
                held: Vec::new(),
            }),
            limits: self.limits,
            perms: self.perms,
            given: self.given,
            config: self.config,
            observer: Mutex::new(None),
        };
        NodeBuilder::new(name)
            .options(self.options)
            .child("image", &self.image, Role::FILTERED | Role::PRIMARY)
            .open(bql, Arc::new(driver))
    }
}

impl Limits {
    /// Whether all sizes fit each other; `below` is the alignment of the
    /// child.
    fn check(&self, below: u64) -> Result<(), GraphError> {
        let refuse = |name: &str, size: u64| GraphError::Refused {
            message: format!("Cannot meet constraints with {name} {size}"),
            errno: errno::EINVAL,
        };
        let most = u64::from(block_common::limits::MAX_ALIGNMENT);
        if self.align > most || self.align != 0 && !self.align.is_power_of_two() {
            return Err(refuse("align", self.align));
        }
        let align = self.align.max(below);
        let fits = |size: u64, align: u64| {
            size < i32::MAX as u64 && size.checked_rem(align).unwrap_or(0) == 0
        };
        for (name, size, align) in [
            ("max-transfer", self.max_transfer, align),
            ("opt-write-zero", self.opt_write_zero, align),
            (
                "max-write-zero",
                self.max_write_zero,
                align.max(self.opt_write_zero),
            ),
            ("opt-discard", self.opt_discard, align),
            ("max-discard", self.max_discard, align.max(self.opt_discard)),
        ] {
            if !fits(size, align) {
                return Err(refuse(name, size));
            }
        }
        // The layer cuts at powers of two only.
        for (name, size) in [
            ("opt-write-zero", self.opt_write_zero),
            ("opt-discard", self.opt_discard),
        ] {
            if size > most || size != 0 && !size.is_power_of_two() {
                return Err(refuse(name, size));
            }
        }
        Ok(())
    }
}

impl DriverIo for Blkdebug {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            hears_events: true,
            ..AS_THE_CHILD
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.unless_failing(IoType::Read, offset, into.len() as u64, || {
            at_file(request, |image| image.read(offset, into))
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.unless_failing(IoType::Write, offset, from.len() as u64, || {
            at_file(request, |image| image.write_with(offset, from, flags))
        })
    }

    /// Where a best alignment is set, shorter zero writes are refused, as by
    /// a device that knows larger units only.
    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        if bytes < self.limits.opt_write_zero {
            return IoFuture::failed(IoError::NotSupported);
        }
        self.unless_failing(IoType::WriteZeroes, offset, bytes, || {
            at_file(request, |image| image.write_zeroes(offset, bytes, flags))
        })
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        if bytes < self.limits.opt_discard {
            return IoFuture::failed(IoError::NotSupported);
        }
        self.unless_failing(IoType::Discard, offset, bytes, || {
            at_file(request, |image| image.discard(offset, bytes))
        })
    }

    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        self.unless_failing(IoType::Flush, 0, 0, || request.flush_layers())
    }

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        self.unless_failing(IoType::BlockStatus, offset, bytes, || {
            at_file(request, |image| image.block_status(offset, bytes, precise))
        })
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        at_file(request, |image| {
            image.truncate(to.length, to.exact, to.preallocation)
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
        // Rules know reads and writes only: copies are made of them.
        IoFuture::failed(IoError::NotSupported)
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        file_length(request, |length| length)
    }

    /// Nobody knows: the file is not the node's own (as for each protocol that
    /// does not say).
    fn allocated_size<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Rules become active, the state changes, and whoever reports the event
    /// waits where a breakpoint is.
    fn debug_event<'r>(&'r self, _request: Request<'r>, event: &'static str) -> IoFuture<'r> {
        let Ok(event) = event.parse::<Event>() else {
            return IoFuture::done();
        };
        let held: Vec<(String, Suspended<'r>)> = {
            let mut state = self.state.lock();
            if state.rules.is_empty() {
                return IoFuture::done();
            }
            let tags = state.rules.happen(event).into_iter();
            let hold = |tag: String| {
                let latch = Arc::<Latch>::default();
                state.held.push(Held {
                    tag: tag.clone(),
                    latch: Arc::clone(&latch),
                });
                let driver = self;
                (tag, Suspended { driver, latch })
            };
            tags.map(hold).collect()
        };
        if held.is_empty() {
            return IoFuture::done();
        }
        for (tag, _) in &held {
            self.tell(Progress::Suspended(tag));
        }
        IoFuture::new(async move {
            for (_, suspended) in held {
                suspended.await;
            }
            Ok(())
        })
    }
}

impl BlockDriver for Blkdebug {
    fn format_name(&self) -> &'static str {
        "blkdebug"
    }

    fn is_filter(&self) -> bool {
        true
    }

    fn filtered_child_name(&self) -> &'static str {
        "image"
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        let set = |limit: &mut u64, size: u64| {
            if size != 0 {
                *limit = size;
            }
        };
        let set_alignment = |limit: &mut u32, size: u64| {
            if size != 0 {
                *limit = u32::try_from(size).unwrap_or(u32::MAX);
            }
        };
        let own = &self.limits;
        set_alignment(&mut limits.request_alignment, own.align);
        set(&mut limits.max_transfer, own.max_transfer);
        set_alignment(&mut limits.zero_alignment, own.opt_write_zero);
        set(&mut limits.max_zeroes, own.max_write_zero);
        set_alignment(&mut limits.discard_alignment, own.opt_discard);
        set(&mut limits.max_discard, own.max_discard);
        Ok(())
    }

    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        let usual = query.default_perms();
        PermPair {
            perm: usual.perm | self.perms.take,
            shared: usual.shared - self.perms.unshare,
        }
    }

    fn opened(&self, _bql: &BqlGuard, _node: &Arc<IoNode>) {
        // No breakpoint can have been set.
        let held = self.state.lock().rules.happen(Event::NONE);
        debug_assert!(held.is_empty());
    }

    /// Nothing of it changes; the image may.
    fn reopens(&self) -> bool {
        true
    }

    fn strong_options(&self, _bql: &BqlGuard) -> Vec<(&'static str, Value)> {
        let config = self.config.as_ref();
        let config = config.map(|path| ("config", Value::Text(path.display().to_string())));
        config.into_iter().chain(self.given.clone()).collect()
    }

    /// `blkdebug:`, the file of rules, and the image, if these say it all.
    fn filename(&self, bql: &BqlGuard, node: NodeView<'_>) -> Option<String> {
        if !self.given.is_empty() {
            return None;
        }
        let image = node.primary_node()?.exact_filename(bql)?;
        let config = self.config.as_ref();
        let config = config.map_or(String::new(), |path| path.display().to_string());
        Some(format!("blkdebug:{config}:{image}"))
    }

    fn breakpoints(&self) -> Option<&dyn Breakpoints> {
        Some(self)
    }
}

impl Breakpoints for Blkdebug {
    fn set(&self, _bql: &BqlGuard, event: &str, tag: &str) -> Result<(), IoError> {
        let event = event.parse::<Event>();
        let event = event.map_err(|_| IoError::from_errno(errno::ENOENT))?;
        self.state.lock().rules.suspend_at(event, tag);
        Ok(())
    }

    fn remove(&self, _bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        let (known, held) = {
            let mut state = self.state.lock();
            let known = state.rules.forget_suspend(tag);
            let (held, others) = std::mem::take(&mut state.held)
                .into_iter()
                .partition::<Vec<_>, _>(|held| held.tag == tag);
            state.held = others;
            (known, held)
        };
        for held in &held {
            self.tell(Progress::Resuming(&held.tag));
            held.latch.open();
        }
        match known || !held.is_empty() {
            true => Ok(()),
            false => Err(IoError::from_errno(errno::ENOENT)),
        }
    }

    fn resume(&self, _bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        let held = {
            let mut state = self.state.lock();
            let found = state.held.iter().position(|held| held.tag == tag);
            let found = found.ok_or_else(|| IoError::from_errno(errno::ENOENT))?;
            state.held.remove(found)
        };
        self.tell(Progress::Resuming(&held.tag));
        held.latch.open();
        Ok(())
    }

    fn is_suspended(&self, _bql: &BqlGuard, tag: &str) -> bool {
        self.state.lock().held.iter().any(|held| held.tag == tag)
    }
}
