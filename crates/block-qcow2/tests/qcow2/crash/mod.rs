//! Crashes: whatever part of what was written since the last flush is stored,
//! an image has what it had before or after, and no more than leaks.
//!
//! `QUIESCE_CRASH_ROUNDS=n` runs every case with n more seeds, and looks at
//! every moment instead of some. `QUIESCE_CRASH_KINDS=n` tries n kinds of images.

mod bitmaps;
mod cases;
mod faults;
mod given_up;
mod model;
pub mod recorder;
mod tables;
pub mod workload;
