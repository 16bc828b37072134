//! Dirty bitmaps of a node: which parts of it have been written
//! (`block/dirty-bitmap.c`), the half of them that requests touch.
//!
//! A bitmap has contents and either notes writes in them, notes them in a
//! *successor* while it is frozen, or notes nothing. That is all that is here;
//! names, and who may do what to a bitmap, are global state and live in
//! `block-gs`.
//!
//! # What is noted, and when
//!
//! A request that may change data (a write, a zero write, a discard, a copy to
//! the node) notes the range that the driver was asked to change, after the
//! driver is done with it and before anybody hears of it; also when it failed
//! or was dropped. So whoever finds a part clean and reads it afterwards has
//! what every write wrote that had been reported before, and a write that was
//! not is noted later.
//!
//! A node has its first bitmap from within a drained section, so every write
//! that begins afterwards is noted, and none that is not noted is still in
//! flight. Everything that happens to bitmaps later (another one, enabling,
//! freezing, thawing, merging, clearing) happens under the lock that noting
//! takes: a write is noted as a whole before it or after it.
//!
//! A node without bitmaps pays nothing: its writes see that in the flags that
//! they look at anyway.

mod handles;
mod list;

pub use handles::{BitmapReader, FrozenContents, Tracker};
pub use list::{BitmapId, BitmapState, DirtyBitmaps};

use block_common::bitmap::HBitmap;

/// A bitmap that is kept with the image, as a driver stores it.
#[derive(Clone, Debug)]
pub struct StoredBitmap {
    /// The name.
    pub name: String,
    /// Whether it notes writes when the image is opened again (`auto`).
    pub enabled: bool,
    /// What is dirty, and the granularity.
    pub contents: HBitmap,
}
