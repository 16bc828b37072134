//! The driver, with QEMU's own tools beside it.

mod activity;
mod amending;
mod caches;
mod chains;
mod checking;
mod concurrency;
mod crash;
mod creating;
mod errors;
mod hostile;
mod keeping;
mod lazy;
mod managing;
mod matrix;
mod reading;
mod remains;
mod support;
mod writing;
