//! How much memory an input makes the code take.

use peak_alloc::PeakAlloc;

/// Counts what everything in the process takes.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What an input may cost whatever it says, in bytes: the longest L1 table that
/// the format permits, and its copy for a snapshot, a few clusters, and what the harness
/// itself keeps.
const FIXED: usize = 128 << 20;

/// And for each byte of its own.
const PER_BYTE: usize = 64;

/// Runs `f`, on an input `length` bytes long.
///
/// # Panics
/// When it takes more memory than such an input may cost.
pub fn bounded<R>(length: usize, f: impl FnOnce() -> R) -> R {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = f();
    let taken = ALLOCATOR.peak_usage().saturating_sub(before);
    let most = FIXED + PER_BYTE * length;
    assert!(
        taken <= most,
        "{length} bytes of input took {taken} bytes of memory"
    );
    result
}
