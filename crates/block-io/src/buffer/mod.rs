//! Memory that outlives what the kernel does with it.
//!
//! A read that io_uring or a worker thread carries out writes into memory
//! after the future that asked for it may have been dropped. Borrowed slices
//! cannot express that, so requests name memory by four kinds of value:
//!
//! * [`Buffer`] owns it and is the only way to look at all of it;
//! * [`Destination`] and [`Source`] borrow a range of a buffer, or several
//!   ranges of several buffers, and are what requests carry; splitting them
//!   costs nothing;
//! * [`DestinationVec`] and [`SourceVec`] put several of them together;
//! * [`TransferIn`] and [`TransferOut`] are what the kernel side holds. They
//!   own a share of the memory and are counted in it.
//!
//! While a transfer is counted the buffer refuses to show its bytes. That can
//! be observed only after a request was cancelled: until then the buffer is
//! borrowed.
//!
//! # Why nobody looks at what the kernel writes
//!
//! Three ways lead back to memory whose transfer goes on although its future
//! is gone, dropped or leaked:
//!
//! * **The buffer**, once the borrow is over: it asks the counts.
//! * **Another `Destination` of the same memory**: never the same bytes, as
//!   they are split off a first one that was made of an idle buffer.
//! * **The same range, lent before**, by [`Destination::reborrow`],
//!   [`Destination::as_source`] or [`DestinationVec::destination`]. What is
//!   lent, and whoever lends it, is marked *shared* from then on: transfers of
//!   shared ranges are noted in the memory, one by one, and shared ranges are
//!   compared with the notes before they are touched.

#[allow(unsafe_code)]
mod destination;
#[allow(unsafe_code)]
mod memory;
#[allow(unsafe_code)]
mod owner;
mod pinned;
#[allow(unsafe_code)]
mod source;
#[cfg(test)]
mod tests;
#[allow(unsafe_code)]
mod transfer;
mod vector;
mod view;
mod zero;

pub use destination::Destination;
pub use owner::{Buffer, DEFAULT_ALIGNMENT};
pub use pinned::PinnedMemory;
pub use source::Source;
pub(crate) use transfer::Place;
pub use transfer::{TransferIn, TransferOut};
pub use vector::{DestinationVec, SourceVec};
