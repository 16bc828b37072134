//! The buffer: memory and the right to look at all of it.
//!
//! **Fenced module**, for showing the memory as a slice.
//! [`buffer`](super) has the rules.

use std::sync::Arc;

use super::memory::{Memory, Way};
use super::view::{Part, View};
use super::{Destination, Source};

/// The alignment of a buffer unless asked otherwise, in bytes: enough for
/// direct I/O on every common device.
pub const DEFAULT_ALIGNMENT: usize = 4096;

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
        self.memory.len()
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
        self.memory.is_free_of(Way::In)
    }

    fn may_write(&self) -> bool {
        self.may_read() && self.memory.is_free_of(Way::Out)
    }

    /// The bytes.
    ///
    /// # Panics
    /// When a request into this buffer was cancelled and the kernel may still
    /// be writing; see [`reclaim`](Buffer::reclaim).
    pub fn as_slice(&self) -> &[u8] {
        self.assert_readable();
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

    fn assert_readable(&self) {
        assert!(
            self.may_read(),
            "a cancelled read still writes to this buffer; call `reclaim` before using it again"
        );
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
            self.memory = Arc::new(Memory::zeroed(self.len(), self.memory.alignment()));
        }
        busy
    }

    /// The whole buffer as the place where a read puts its data.
    ///
    /// # Panics
    /// As [`as_mut_slice`](Buffer::as_mut_slice).
    #[inline]
    pub fn destination(&mut self) -> Destination<'_> {
        self.assert_idle();
        Destination::of(self.view())
    }

    /// The whole buffer as what a write takes its data from.
    ///
    /// # Panics
    /// As [`as_slice`](Buffer::as_slice).
    #[inline]
    pub fn source(&self) -> Source<'_> {
        self.assert_readable();
        Source::of(self.view())
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn view(&self) -> View<'_> {
        View::One(Part {
            memory: &self.memory,
            start: 0,
            len: self.len(),
            shared: false,
        })
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::zeroed(bytes.len());
        buffer.as_mut_slice().copy_from_slice(bytes);
        buffer
    }
}
