//! Memory that outlives what the kernel does with it.
//!
//! **Fenced module.** A read that io_uring or a worker thread carries out
//! writes into memory after the future that asked for it may have been
//! dropped. Borrowed slices cannot express that, so requests name memory by
//! three kinds of value:
//!
//! * [`Buffer`] owns it and is the only way to look at it;
//! * [`Destination`] and [`Source`] borrow a range of a buffer and are what
//!   requests carry; splitting them costs nothing;
//! * [`TransferIn`] and [`TransferOut`] are what the kernel side holds. They
//!   own a share of the memory and are counted in it.
//!
//! While a transfer is counted the buffer refuses to show its bytes. That can
//! be observed only after a request was cancelled: until then the buffer is
//! borrowed. The rules are in the `SAFETY` comments and the tests below.

use std::alloc::{self, Layout};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use block_common::sync::Mutex;

use crate::{Activity, Request};

/// The alignment of a buffer unless asked otherwise, in bytes: enough for
/// direct I/O on every common device.
pub const DEFAULT_ALIGNMENT: usize = 4096;

struct Memory {
    start: NonNull<u8>,
    layout: Layout,
    /// Length as the owner asked for it; the layout's is at least 1.
    len: usize,
    /// Transfers that may still write to the memory.
    incoming: AtomicU32,
    /// Transfers that may still read it.
    outgoing: AtomicU32,
    /// Whether `kept` has anything.
    is_keeping: AtomicBool,
    /// What stays counted until the last transfer has ended.
    kept: Mutex<Vec<Activity>>,
}

// SAFETY: `Memory` is plain bytes with atomic counters. Who may touch which
// byte when is the business of the types that hold it, see their comments.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory {}

impl Memory {
    fn zeroed(len: usize, alignment: usize) -> Self {
        let layout = Layout::from_size_align(len.max(1), alignment)
            .expect("a buffer's alignment is a power of two and its size fits the address space");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            alloc::handle_alloc_error(layout)
        };
        Memory {
            start,
            layout,
            len,
            incoming: AtomicU32::new(0),
            outgoing: AtomicU32::new(0),
            is_keeping: AtomicBool::new(false),
            kept: Mutex::new(Vec::new()),
        }
    }

    /// Keeps `activity` counted for as long as the kernel, or a worker, uses
    /// the memory.
    fn keep(&self, activity: Activity) {
        self.kept.lock().push(activity);
        // Sequentially consistent, like the end of a transfer: one of the two
        // sees that the other has been there.
        self.is_keeping.store(true, Ordering::SeqCst);
        self.let_go_if_idle();
    }

    fn let_go_if_idle(&self) {
        let transfers = |count: &AtomicU32| count.load(Ordering::SeqCst);
        if self.is_keeping.load(Ordering::SeqCst)
            && transfers(&self.incoming) == 0
            && transfers(&self.outgoing) == 0
        {
            let kept = std::mem::take(&mut *self.kept.lock());
            drop(kept);
        }
    }

    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.len);
        // SAFETY: every range handed out lies within `len`, so the result is
        // within or one past the allocation.
        unsafe { self.start.as_ptr().add(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `zeroed`, freed only here.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Aligned memory for requests (`qemu_blockalign`).
///
/// ```
/// use block_io::Buffer;
///
/// let mut buffer = Buffer::zeroed(4096);
/// buffer.as_mut_slice()[..4].copy_from_slice(b"QFI\xfb");
/// assert_eq!(&buffer.as_slice()[..4], b"QFI\xfb");
/// ```
pub struct Buffer {
    memory: Arc<Memory>,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

impl Buffer {
    /// `len` zero bytes, aligned to [`DEFAULT_ALIGNMENT`].
    pub fn zeroed(len: usize) -> Self {
        Buffer::with_alignment(len, DEFAULT_ALIGNMENT)
    }

    /// `len` zero bytes whose address `alignment` divides.
    ///
    /// # Panics
    /// When `alignment` is no power of two.
    pub fn with_alignment(len: usize, alignment: usize) -> Self {
        Buffer {
            memory: Arc::new(Memory::zeroed(len, alignment)),
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.memory.len
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no transfer of a cancelled request still uses the memory.
    pub fn is_idle(&self) -> bool {
        self.may_write()
    }

    fn may_read(&self) -> bool {
        self.memory.incoming.load(Ordering::Acquire) == 0
    }

    fn may_write(&self) -> bool {
        self.may_read() && self.memory.outgoing.load(Ordering::Acquire) == 0
    }

    /// The bytes.
    ///
    /// # Panics
    /// When a request into this buffer was cancelled and the kernel may still
    /// be writing; see [`reclaim`](Buffer::reclaim).
    pub fn as_slice(&self) -> &[u8] {
        assert!(
            self.may_read(),
            "a cancelled read still writes to this buffer; call `reclaim` before using it again"
        );
        // SAFETY: in bounds. Nobody writes: `Destination`s borrow the buffer
        // mutably, and no incoming transfer is left, nor can one start
        // without a `Destination`.
        unsafe { std::slice::from_raw_parts(self.memory.at(0), self.len()) }
    }

    /// The bytes, to be changed.
    ///
    /// # Panics
    /// When a request with this buffer was cancelled and the kernel may still
    /// be using it; see [`reclaim`](Buffer::reclaim).
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.assert_idle();
        // SAFETY: in bounds. We borrow the buffer mutably, so no view exists,
        // and no transfer is left.
        unsafe { std::slice::from_raw_parts_mut(self.memory.at(0), self.len()) }
    }

    fn assert_idle(&self) {
        assert!(
            self.may_write(),
            "a cancelled request still uses this buffer; call `reclaim` before using it again"
        );
    }

    /// Makes the buffer usable after a cancelled request, with zeroes in it
    /// if it had to leave its old memory to the kernel. Returns whether it
    /// had to.
    pub fn reclaim(&mut self) -> bool {
        let busy = !self.is_idle();
        if busy {
            self.memory = Arc::new(Memory::zeroed(self.len(), self.memory.layout.align()));
        }
        busy
    }

    /// The whole buffer as the place where a read puts its data.
    ///
    /// # Panics
    /// As [`as_mut_slice`](Buffer::as_mut_slice).
    pub fn destination(&mut self) -> Destination<'_> {
        self.assert_idle();
        Destination {
            memory: &self.memory,
            range: 0..self.len(),
            exclusive: PhantomData,
        }
    }

    /// The whole buffer as what a write takes its data from.
    ///
    /// # Panics
    /// As [`as_slice`](Buffer::as_slice).
    pub fn source(&self) -> Source<'_> {
        assert!(
            self.may_read(),
            "a cancelled read still writes to this buffer; call `reclaim` before using it again"
        );
        Source {
            memory: &self.memory,
            start: 0,
            len: self.len(),
        }
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::zeroed(bytes.len());
        buffer.as_mut_slice().copy_from_slice(bytes);
        buffer
    }
}

/// Where a read puts its data: an exclusively borrowed range of a [`Buffer`].
///
/// Passed on by value. A driver that needs two pieces
/// [splits](Destination::split_at) it; there is no way to keep using a range
/// that has been given to the kernel.
pub struct Destination<'b> {
    memory: &'b Arc<Memory>,
    range: Range<usize>,
    exclusive: PhantomData<&'b mut [u8]>,
}

impl std::fmt::Debug for Destination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Destination({} bytes)", self.len())
    }
}

impl<'b> Destination<'b> {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The first `at` bytes, and the rest.
    ///
    /// # Panics
    /// When `at` is beyond the end.
    pub fn split_at(self, at: usize) -> (Destination<'b>, Destination<'b>) {
        assert!(at <= self.len(), "split beyond the end of a destination");
        let middle = self.range.start + at;
        let part = |range| Destination {
            memory: self.memory,
            range,
            exclusive: PhantomData,
        };
        (part(self.range.start..middle), part(middle..self.range.end))
    }

    /// The bytes, to be filled in by the driver itself.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: in bounds. Ranges of `Destination`s of one buffer do not
        // overlap: the first is made under a mutable borrow of an idle
        // buffer, others by splitting, and one given to a transfer is only
        // given back when that has ended.
        unsafe { std::slice::from_raw_parts_mut(self.memory.at(self.range.start), self.len()) }
    }

    /// Sets every byte.
    pub fn fill(&mut self, byte: u8) {
        self.as_mut_slice().fill(byte);
    }

    /// The kernel's share of this range. The caller keeps the `Destination`
    /// locked away until the transfer has ended, or drops it.
    pub(crate) fn transfer(&self) -> TransferIn {
        self.memory.incoming.fetch_add(1, Ordering::Relaxed);
        TransferIn {
            memory: Arc::clone(self.memory),
            start: self.range.start,
            len: self.range.len(),
        }
    }
}

/// What a write takes its data from: a borrowed range of a [`Buffer`].
#[derive(Clone, Copy)]
pub struct Source<'b> {
    memory: &'b Arc<Memory>,
    start: usize,
    len: usize,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} bytes)", self.len)
    }
}

impl<'b> Source<'b> {
    /// The length in bytes.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether the length is zero.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The first `at` bytes, and the rest.
    ///
    /// # Panics
    /// When `at` is beyond the end.
    pub fn split_at(self, at: usize) -> (Source<'b>, Source<'b>) {
        assert!(at <= self.len, "split beyond the end of a source");
        let part = |start, len| Source {
            memory: self.memory,
            start,
            len,
        };
        (part(self.start, at), part(self.start + at, self.len - at))
    }

    /// The bytes.
    pub fn as_slice(self) -> &'b [u8] {
        // SAFETY: in bounds. Nobody writes while the buffer is borrowed
        // shared, and `source` checked that no incoming transfer was left.
        unsafe { std::slice::from_raw_parts(self.memory.at(self.start), self.len) }
    }

    /// The kernel's share of this range.
    pub(crate) fn transfer(self) -> TransferOut {
        self.memory.outgoing.fetch_add(1, Ordering::Relaxed);
        TransferOut {
            memory: Arc::clone(self.memory),
            start: self.start,
            len: self.len,
        }
    }
}

/// Keeps a request's node busy when the request is cancelled in the middle of
/// a transfer: the kernel may go on, and a drained section has to wait for it.
/// Costs nothing when the transfer ends first.
pub(crate) struct CountedTransfer<'r, 'b> {
    request: Request<'r>,
    memory: &'b Arc<Memory>,
    ended: bool,
}

impl<'r, 'b> CountedTransfer<'r, 'b> {
    pub(crate) fn into(request: Request<'r>, destination: &Destination<'b>) -> Self {
        CountedTransfer {
            request,
            memory: destination.memory,
            ended: false,
        }
    }

    pub(crate) fn out_of(request: Request<'r>, source: Source<'b>) -> Self {
        CountedTransfer {
            request,
            memory: source.memory,
            ended: false,
        }
    }

    /// The transfer has ended before its request.
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for CountedTransfer<'_, '_> {
    fn drop(&mut self) {
        if !self.ended {
            self.memory.keep(self.request.activity());
        }
    }
}

/// Memory into which the kernel, or a worker thread, puts data.
///
/// Owns a share of the memory: it stays allocated, and out of everybody
/// else's reach, until this value is dropped.
pub struct TransferIn {
    memory: Arc<Memory>,
    start: usize,
    len: usize,
}

impl TransferIn {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address to hand to the kernel.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.at(self.start)
    }

    /// The bytes, for a worker thread.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: in bounds. While an incoming transfer is counted, buffers
        // refuse access, and its `Destination` is locked away or gone.
        unsafe { std::slice::from_raw_parts_mut(self.memory.at(self.start), self.len) }
    }
}

impl Drop for TransferIn {
    fn drop(&mut self) {
        self.memory.incoming.fetch_sub(1, Ordering::SeqCst);
        self.memory.let_go_if_idle();
    }
}

/// Memory from which the kernel, or a worker thread, takes data.
pub struct TransferOut {
    memory: Arc<Memory>,
    start: usize,
    len: usize,
}

impl TransferOut {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address to hand to the kernel.
    pub fn as_ptr(&self) -> *const u8 {
        self.memory.at(self.start)
    }

    /// The bytes, for a worker thread.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: in bounds. While an outgoing transfer is counted, buffers
        // refuse to be written.
        unsafe { std::slice::from_raw_parts(self.memory.at(self.start), self.len) }
    }
}

impl Drop for TransferOut {
    fn drop(&mut self) {
        self.memory.outgoing.fetch_sub(1, Ordering::SeqCst);
        self.memory.let_go_if_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_zero() {
        for alignment in [1, 512, 4096, 1 << 16] {
            let buffer = Buffer::with_alignment(1000, alignment);
            assert_eq!(buffer.as_slice().as_ptr() as usize % alignment, 0);
            assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
        }
        assert!(Buffer::zeroed(0).as_slice().is_empty());
    }

    #[test]
    fn split_destinations_do_not_overlap() {
        let mut buffer = Buffer::zeroed(10);
        let (mut a, b) = buffer.destination().split_at(3);
        let (mut b, mut c) = b.split_at(4);
        a.fill(1);
        b.fill(2);
        c.fill(3);
        assert_eq!(buffer.as_slice(), [1, 1, 1, 2, 2, 2, 2, 3, 3, 3]);
    }

    #[test]
    fn an_abandoned_transfer_keeps_its_memory_and_locks_the_buffer() {
        let mut buffer = Buffer::from(&b"old"[..]);
        let mut transfer = buffer.destination().transfer();
        assert!(!buffer.is_idle());
        let shown = std::panic::catch_unwind(|| buffer.as_slice().len());
        assert!(shown.is_err(), "the kernel may be writing");
        assert!(buffer.reclaim());
        assert_eq!(buffer.as_slice(), [0, 0, 0]);
        transfer.as_mut_slice().fill(7);
        drop(transfer);
        assert_eq!(buffer.as_slice(), [0, 0, 0], "the old memory is not ours");
    }

    #[test]
    fn a_transfer_outlives_its_buffer() {
        let mut buffer = Buffer::zeroed(4096);
        let mut transfer = buffer.destination().transfer();
        drop(buffer);
        let worker = std::thread::spawn(move || transfer.as_mut_slice().fill(9));
        worker.join().expect("no panic");
    }

    #[test]
    fn an_outgoing_transfer_lets_others_read_but_not_write() {
        let mut buffer = Buffer::from(&b"data"[..]);
        let transfer = buffer.source().transfer();
        assert_eq!(buffer.as_slice(), b"data");
        assert!(!buffer.is_idle());
        drop(transfer);
        buffer.as_mut_slice()[0] = b'D';
        assert_eq!(buffer.as_slice(), b"Data");
    }
}
