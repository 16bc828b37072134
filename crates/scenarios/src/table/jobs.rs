//! What needs jobs or dirty bitmaps.

use super::{Scenario, waits};

/// States of a job.
pub(super) const BLOCKJOB: &[Scenario] = &[
    waits("/blockjob/ids", "jobs"),
    waits("/blockjob/cancel/created", "jobs"),
    waits("/blockjob/cancel/paused", "jobs"),
    waits("/blockjob/cancel/ready", "jobs"),
    waits("/blockjob/cancel/pending", "jobs"),
    waits("/blockjob/cancel/concluded", "jobs"),
];

/// Jobs that end together.
pub(super) const BLOCKJOB_TXN: &[Scenario] = &[
    waits("/single/success", "jobs"),
    waits("/single/failure", "jobs"),
    waits("/pair/success", "jobs"),
    waits("/pair/failure", "jobs"),
    waits("/pair/fail-cancel-race", "jobs"),
];

/// Hierarchical bitmaps.
pub(super) const HBITMAP: &[Scenario] = &[
    waits("/hbitmap/size/0", "bitmaps"),
    waits("/hbitmap/size/unaligned", "bitmaps"),
    waits("/hbitmap/iter/partial", "bitmaps"),
    waits("/hbitmap/iter/granularity", "bitmaps"),
    waits("/hbitmap/get/some", "bitmaps"),
    waits("/hbitmap/set/all", "bitmaps"),
    waits("/hbitmap/set/two-elem", "bitmaps"),
    waits("/hbitmap/set/general", "bitmaps"),
    waits("/hbitmap/set/overlap", "bitmaps"),
    waits("/hbitmap/reset/empty", "bitmaps"),
    waits("/hbitmap/reset/all", "bitmaps"),
    waits("/hbitmap/granularity", "bitmaps"),
    waits("/hbitmap/truncate/grow/negligible", "bitmaps"),
    waits("/hbitmap/truncate/shrink/negligible", "bitmaps"),
    waits("/hbitmap/truncate/shrink/tiny", "bitmaps"),
    waits("/hbitmap/truncate/grow/small", "bitmaps"),
    waits("/hbitmap/truncate/grow/medium", "bitmaps"),
    waits("/hbitmap/truncate/shrink/medium", "bitmaps"),
    waits("/hbitmap/truncate/shrink/large", "bitmaps"),
    waits("/hbitmap/serialize/align", "bitmaps"),
    waits("/hbitmap/serialize/part", "bitmaps"),
    waits("/hbitmap/serialize/zeroes", "bitmaps"),
    waits("/hbitmap/next_zero/next_x_0", "bitmaps"),
    waits("/hbitmap/next_zero/next_x_4", "bitmaps"),
    waits("/hbitmap/next_dirty_area/next_dirty_area_0", "bitmaps"),
    waits("/hbitmap/next_dirty_area/next_dirty_area_1", "bitmaps"),
    waits(
        "/hbitmap/next_dirty_area/next_dirty_area_after_truncate",
        "bitmaps",
    ),
];
