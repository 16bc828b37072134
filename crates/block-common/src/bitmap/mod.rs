//! Hierarchical bitmaps (`util/hbitmap.c`): which parts of a node have a
//! property, most of all that of having been written.
//!
//! * [`HBitmap`]: the bitmap, without a lock, a node or a name.
//! * [`MapError`]: what a bitmap refuses.
//! * [`BitmapError`]: what the dirty bitmaps of a node refuse, in QEMU's words.
//! * [`names`](check_name), [`granularities`](check_granularity): what users may
//!   ask for.

mod error;
mod map;
mod rules;
mod scan;
mod serialize;
mod tree;

pub use error::{BitmapError, MapError};
pub use map::{HBitmap, MAX_GRANULARITY_BITS};
pub use rules::{
    MAX_GRANULARITY, MAX_NAME, MIN_GRANULARITY, check_granularity, check_name, default_granularity,
};
pub use scan::{Areas, Granules};
