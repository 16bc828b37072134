//! A block layer of its own for each test.

use block_gs::{BlockLayer, BqlGuard};
use tempfile::TempDir;

/// Runs `test` in a block layer of its own.
pub fn in_layer<R>(test: impl FnOnce(&mut BqlGuard) -> R) -> R {
    BlockLayer::new().expect("a block layer").enter(test)
}

/// As [`in_layer`], with a directory that goes when the layer is closed.
pub fn in_layer_with_files<R>(test: impl FnOnce(&mut BqlGuard, &TempDir) -> R) -> R {
    let directory = tempfile::tempdir().expect("a temporary directory");
    in_layer(|bql| test(bql, &directory))
}
