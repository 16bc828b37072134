//! Dirty bitmaps of nodes: names, and who may do what
//! (`block/dirty-bitmap.c`, `block/monitor/bitmap-qmp-cmds.c`).
//!
//! What requests touch of a bitmap is in [`block_io::dirty`], under a lock.
//! What is here is plain data behind the guard: users' names, and whether the
//! bitmap is kept with the image.
//!
//! | who | holds | may |
//! |---|---|---|
//! | a user | [`DirtyBitmap`], looked up by name | everything, unless the bitmap is busy |
//! | an export | [`BitmapReader`] | read, on any thread; the bitmap is busy |
//! | a job | [`FrozenBitmap`] | the same, and decide at the end what becomes of it |
//! | a job | [`WriteTracker`] | everything, on any thread: it is its own |
//!
//! [`BitmapReader`]: block_io::dirty::BitmapReader

mod add;
mod named;
mod of_node;
mod owned;
mod view;

use std::sync::Arc;

use block_io::dirty::{BitmapId, DirtyBitmaps};

use crate::BqlGuard;
use crate::graph::NodeKey;

pub use add::{BitmapOptions, StoredState};
pub use named::{BitmapBackup, DirtyBitmap};
pub use owned::{FrozenBitmap, WriteTracker};
pub use view::{BitmapInfo, BitmapUse, BitmapView};

/// A bitmap, the half of it that only the main thread sees.
pub(crate) struct NamedBitmap {
    id: BitmapId,
    name: Arc<str>,
    persistent: bool,
    read_only: bool,
    inconsistent: bool,
    skip_store: bool,
}

/// The I/O half of a node's bitmaps.
fn io(bql: &BqlGuard, key: NodeKey) -> &DirtyBitmaps {
    bql.graph().node(key).io.dirty_bitmaps(bql.access())
}

fn views(bql: &BqlGuard, key: NodeKey) -> impl Iterator<Item = BitmapView<'_>> {
    let list = bql.graph().node(key).bitmaps.iter();
    list.map(move |named| BitmapView { bql, key, named })
}
