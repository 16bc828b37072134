//! Bytes that only one request may touch at a time.
//!
//! **Fenced module.** Sharing the cell between threads is what the models
//! question: loom reports every pair of accesses that nothing orders, so the
//! claim below is checked each time it is relied on.

use loom::cell::UnsafeCell;

/// Stands for the bytes of a node.
#[derive(Debug)]
pub struct Bytes(UnsafeCell<()>);

// SAFETY: nothing is behind the cell; loom only notes who comes when.
unsafe impl Sync for Bytes {}

impl Default for Bytes {
    fn default() -> Self {
        Bytes(UnsafeCell::new(()))
    }
}

impl Bytes {
    /// Reads them and writes them back, as a padded write does.
    pub fn change(&self) {
        self.0.with_mut(|_| ());
    }
}
