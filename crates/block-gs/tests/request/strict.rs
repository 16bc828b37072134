//! A driver that holds the layer to what it promises to drivers.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use block_gs::{BlockDriver, BlockLimits, BqlGuard, GraphError};
use block_io::aio::yield_now;
use block_io::{
    BlockStatus, Capabilities, CopyEnd, Destination, DriverIo, IoError, IoFuture, Perm, Request,
    Source, Truncation, WriteFlags,
};

/// What the driver was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Read(u64, u64),
    Write(u64, u64, WriteFlags),
    Zeroes(u64, u64, WriteFlags),
    Discard(u64, u64),
    Status(u64, u64),
    Truncate(u64),
    Flush,
    CopyFrom(u64, u64),
    CopyTo(u64, u64, WriteFlags),
}

/// The kinds of [`Call`] that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Read,
    Write,
    Zeroes,
    Discard,
    Status,
    Truncate,
    Flush,
    Length,
}

/// The `after + 1`-th call of `kind` from now on fails with `errno`.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub after: usize,
    pub errno: i32,
}

/// How the driver behaves.
#[derive(Clone, Debug)]
pub struct Setup {
    pub limits: BlockLimits,
    pub capabilities: Capabilities,
    /// Each call takes this many turns of the event loop.
    pub turns: usize,
    /// No two calls that overlap may be inside when one of them writes. For
    /// tests in which every write is serialising.
    pub exclusive: bool,
    /// How many native zero writes are refused with `ENOTSUP`, of each three.
    pub unable: usize,
    pub backing: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            limits: BlockLimits::default(),
            capabilities: Capabilities {
                flushes_to_disk: true,
                ..Capabilities::default()
            },
            turns: 0,
            exclusive: false,
            unable: 0,
            backing: false,
        }
    }
}

impl Setup {
    pub fn aligned(alignment: u32) -> Setup {
        let mut setup = Setup::default();
        setup.limits.request_alignment = alignment;
        setup
    }
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    calls: Vec<Call>,
    faults: Vec<Fault>,
    inside: Vec<(Range<u64>, bool)>,
    flushing: bool,
    zero_writes: usize,
    complaints: Vec<String>,
    /// Answers to `block_status`, first one first.
    answers: VecDeque<(block_io::StatusFlags, u64, bool)>,
}

/// Bytes in memory, and a log.
pub struct Strict {
    setup: Setup,
    limits: BlockLimits,
    state: Mutex<State>,
}

impl Drop for Strict {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.content();
        }
    }
}

/// What is inside the driver until this is dropped.
struct Inside<'d>(&'d Strict, Range<u64>, bool);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let entry = (self.1.clone(), self.2);
        let inside = &mut self.0.state().inside;
        let at = inside.iter().position(|known| *known == entry);
        inside.swap_remove(at.expect("it came in"));
    }
}

impl Strict {
    pub fn new(bytes: Vec<u8>, setup: Setup) -> Strict {
        let limits = setup.limits.checked().expect("possible limits");
        let state = State {
            bytes,
            ..State::default()
        };
        Strict {
            setup,
            limits,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked since the last look.
    pub fn calls(&self) -> Vec<Call> {
        self.content();
        std::mem::take(&mut self.state().calls)
    }

    /// Asserts that nobody broke a promise.
    pub fn content(&self) {
        let complaints = self.state().complaints.clone();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Changes the contents behind the layer's back.
    pub fn set_bytes(&self, bytes: Vec<u8>) {
        self.state().bytes = bytes;
    }

    pub fn fail(&self, kind: Kind, after: usize, errno: i32) {
        self.state().faults.push(Fault { kind, after, errno });
    }

    pub fn forgive(&self) {
        self.state().faults.clear();
    }

    /// What the next `block_status` says; `true` says where, too.
    pub fn answer(&self, flags: block_io::StatusFlags, bytes: u64, mapped: bool) {
        self.state().answers.push_back((flags, bytes, mapped));
    }

    fn complain(&self, complaint: String) {
        self.state().complaints.push(complaint);
    }

    fn demand(&self, fine: bool, call: impl std::fmt::Debug, what: &str) {
        if !fine {
            self.complain(format!("{call:?}: {what}"));
        }
    }

    fn aligned(&self, offset: u64, bytes: u64) -> bool {
        (offset | bytes).is_multiple_of(u64::from(self.limits.request_alignment))
    }

    fn fault(&self, kind: Kind) -> Result<(), IoError> {
        let faults = &mut self.state().faults;
        let mut failed = None;
        faults.retain_mut(|fault| {
            if fault.kind != kind {
                return true;
            }
            let due = fault.after == 0 && failed.is_none();
            if due {
                failed = Some(fault.errno);
            } else {
                fault.after = fault.after.saturating_sub(1);
            }
            !due
        });
        match failed {
            Some(errno) => Err(IoError::from_errno(errno)),
            None => Ok(()),
        }
    }

    fn enter(&self, range: Range<u64>, writes: bool, call: Call) -> Inside<'_> {
        let mut state = self.state();
        let clash = state.inside.iter().any(|(other, other_writes)| {
            (writes || *other_writes) && other.start < range.end && range.start < other.end
        });
        state.calls.push(call);
        state.inside.push((range.clone(), writes));
        drop(state);
        if self.setup.exclusive {
            self.demand(!clash, call, "overlaps with another one");
        }
        Inside(self, range, writes)
    }

    async fn turns(&self) {
        for _ in 0..self.setup.turns {
            yield_now().await;
        }
    }

    fn check_end(&self, request: Request<'_>, end: u64, call: Call) {
        let fine = end <= request.node().length() || request.perm().contains(Perm::RESIZE);
        self.demand(fine, call, "ends beyond what may grow");
    }
}

impl DriverIo for Strict {
    fn capabilities(&self) -> Capabilities {
        self.setup.capabilities
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        let bytes = into.len() as u64;
        let call = Call::Read(offset, bytes);
        let segments = into.segment_count();
        self.demand(bytes > 0, call, "empty");
        self.demand(self.aligned(offset, bytes), call, "not aligned");
        self.demand(bytes <= self.limits.max_transfer, call, "too long");
        self.demand(segments <= self.limits.max_segments, call, "too scattered");
        let begins_inside = offset < request.node().length();
        self.demand(begins_inside, call, "begins beyond the end");
        let work = async move {
            let _inside = self.enter(offset..offset + bytes, false, call);
            self.turns().await;
            self.fault(Kind::Read)?;
            let state = self.state();
            let start = offset as usize;
            let mut whole = vec![0; into.len()];
            let end = state.bytes.len().min(start + whole.len());
            if start < end {
                whole[..end - start].copy_from_slice(&state.bytes[start..end]);
            }
            into.copy_from_slice(&whole);
            Ok(())
        };
        IoFuture::new(work)
    }

    /// A write that fails has written half of what lies within the length.
    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let bytes = from.len() as u64;
        let call = Call::Write(offset, bytes, flags);
        let end = offset + bytes;
        let segments = from.segment_count();
        self.demand(bytes > 0, call, "empty");
        self.demand(self.aligned(offset, bytes), call, "not aligned");
        self.demand(bytes <= self.limits.max_transfer, call, "too long");
        self.demand(segments <= self.limits.max_segments, call, "too scattered");
        let known = self.setup.capabilities.write_flags.contains(flags);
        self.demand(known, call, "has a flag it should not");
        self.check_end(request, end, call);
        IoFuture::new(async move {
            let _inside = self.enter(offset..end, true, call);
            self.turns().await;
            let mut whole = vec![0; from.len()];
            from.copy_to_slice(&mut whole);
            let start = offset as usize;
            if let Err(error) = self.fault(Kind::Write) {
                let mut state = self.state();
                let half = (start + whole.len() / 2).min(state.bytes.len());
                if start < half {
                    state.bytes[start..half].copy_from_slice(&whole[..half - start]);
                }
                return Err(error);
            }
            let mut state = self.state();
            let length = state.bytes.len().max(end as usize);
            state.bytes.resize(length, 0);
            state.bytes[start..end as usize].copy_from_slice(&whole);
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
        let call = Call::Zeroes(offset, bytes, flags);
        let end = offset + bytes;
        let known = self.setup.capabilities.zero_flags;
        let known = known.is_some_and(|known| known.contains(flags));
        self.demand(bytes > 0, call, "empty");
        self.demand(known, call, "has a flag it should not");
        self.demand(self.aligned(offset, bytes), call, "not aligned");
        self.demand(bytes <= self.limits.max_zeroes, call, "too long");
        self.check_end(request, end, call);
        let number = {
            let mut state = self.state();
            state.zero_writes += 1;
            state.zero_writes
        };
        if number % 3 < self.setup.unable {
            return IoFuture::failed(IoError::NotSupported);
        }
        IoFuture::new(async move {
            let _inside = self.enter(offset..end, true, call);
            self.turns().await;
            self.fault(Kind::Zeroes)?;
            let mut state = self.state();
            let length = state.bytes.len().max(end as usize);
            state.bytes.resize(length, 0);
            state.bytes[offset as usize..end as usize].fill(0);
            Ok(())
        })
    }

    /// Whole blocks of the discard alignment become zeroes.
    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        let call = Call::Discard(offset, bytes);
        let end = offset + bytes;
        self.demand(bytes > 0, call, "empty");
        self.demand(bytes <= self.limits.max_discard, call, "too long");
        let inside = end <= request.node().length();
        self.demand(inside, call, "ends beyond the end");
        self.demand(self.setup.capabilities.discards, call, "not asked for");
        IoFuture::new(async move {
            let _inside = self.enter(offset..end, true, call);
            self.turns().await;
            self.fault(Kind::Discard)?;
            let unit = u64::from(self.limits.discard_alignment);
            if !(offset | bytes).is_multiple_of(unit) {
                return Err(IoError::from_errno(22));
            }
            let mut state = self.state();
            let end = state.bytes.len().min(end as usize);
            if (offset as usize) < end {
                state.bytes[offset as usize..end].fill(0);
            }
            Ok(())
        })
    }

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let call = Call::Status(offset, bytes);
        self.demand(bytes > 0, call, "empty");
        self.demand(self.aligned(offset, bytes), call, "not aligned");
        self.state().calls.push(call);
        if let Err(error) = self.fault(Kind::Status) {
            return IoFuture::failed(error);
        }
        let answer = self.state().answers.pop_front();
        let Some((flags, most, mapped)) = answer else {
            return IoFuture::ready(Ok(BlockStatus::data(bytes)));
        };
        let stored_in = match request.file() {
            Ok(file) => file.node(),
            Err(_) => request.node(),
        };
        IoFuture::ready(Ok(BlockStatus {
            flags,
            bytes: bytes.min(most),
            at: mapped.then_some((stored_in, offset)),
        }))
    }

    fn truncate<'r>(&'r self, _request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        IoFuture::new(async move {
            let call = Call::Truncate(to.length);
            let _inside = self.enter(0..0, true, call);
            self.turns().await;
            self.fault(Kind::Truncate)?;
            self.state().bytes.resize(to.length as usize, 0);
            Ok(())
        })
    }

    fn copy_range_from<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        to: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let call = Call::CopyFrom(offset, bytes);
        self.demand(bytes > 0, call, "empty");
        self.demand(self.aligned(offset, bytes), call, "not aligned");
        self.state().calls.push(call);
        let from = CopyEnd { request, offset };
        to.request.copy_range_to(to.offset, from, bytes, flags)
    }

    fn copy_range_to<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let call = Call::CopyTo(offset, bytes, flags);
        self.demand(bytes > 0, call, "empty");
        self.demand(self.aligned(offset, bytes), call, "not aligned");
        self.check_end(request, offset + bytes, call);
        IoFuture::new(async move {
            let _inside = self.enter(offset..offset + bytes, true, call);
            self.turns().await;
            self.fault(Kind::Write)?;
            let driver: &dyn std::any::Any = from.request.node().driver();
            let other = driver.downcast_ref::<Strict>();
            let other = other.ok_or(IoError::NotSupported)?;
            let start = from.offset as usize;
            let data = other.state().bytes[start..start + bytes as usize].to_vec();
            let mut state = self.state();
            let end = (offset + bytes) as usize;
            let length = state.bytes.len().max(end);
            state.bytes.resize(length, 0);
            state.bytes[offset as usize..end].copy_from_slice(&data);
            Ok(())
        })
    }

    fn flush_to_disk<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        let mut state = self.state();
        state.calls.push(Call::Flush);
        let twice = std::mem::replace(&mut state.flushing, true);
        drop(state);
        self.demand(!twice, Call::Flush, "two at a time");
        IoFuture::new(async move {
            struct Done<'d>(&'d Strict);
            impl Drop for Done<'_> {
                fn drop(&mut self) {
                    self.0.state().flushing = false;
                }
            }
            let _done = Done(self);
            self.turns().await;
            self.fault(Kind::Flush)
        })
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        if let Err(error) = self.fault(Kind::Length) {
            return IoFuture::failed(error);
        }
        IoFuture::ready(Ok(self.state().bytes.len() as u64))
    }
}

impl BlockDriver for Strict {
    fn format_name(&self) -> &'static str {
        "strict"
    }

    fn supports_backing(&self) -> bool {
        self.setup.backing
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        *limits = self.setup.limits;
        Ok(())
    }
}
