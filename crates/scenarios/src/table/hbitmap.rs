//! Hierarchical bitmaps.

use super::{Scenario, same};

/// Hierarchical bitmaps.
pub(super) const HBITMAP: &[Scenario] = &[
    same("/hbitmap/size/0"),
    same("/hbitmap/size/unaligned"),
    same("/hbitmap/iter/partial"),
    same("/hbitmap/iter/granularity"),
    same("/hbitmap/get/some"),
    same("/hbitmap/set/all"),
    same("/hbitmap/set/two-elem"),
    same("/hbitmap/set/general"),
    same("/hbitmap/set/overlap"),
    same("/hbitmap/reset/empty"),
    same("/hbitmap/reset/all"),
    same("/hbitmap/granularity"),
    same("/hbitmap/truncate/grow/negligible"),
    same("/hbitmap/truncate/shrink/negligible"),
    same("/hbitmap/truncate/shrink/tiny"),
    same("/hbitmap/truncate/grow/small"),
    same("/hbitmap/truncate/grow/medium"),
    same("/hbitmap/truncate/shrink/medium"),
    same("/hbitmap/truncate/shrink/large"),
    same("/hbitmap/serialize/align"),
    same("/hbitmap/serialize/part"),
    same("/hbitmap/serialize/zeroes"),
    same("/hbitmap/next_zero/next_x_0"),
    same("/hbitmap/next_zero/next_x_4"),
    same("/hbitmap/next_dirty_area/next_dirty_area_0"),
    same("/hbitmap/next_dirty_area/next_dirty_area_1"),
    same("/hbitmap/next_dirty_area/next_dirty_area_after_truncate"),
];
