//! The driver, with QEMU's own tools beside it.

mod activity;
mod crash;
mod creating;
mod hostile;
mod keeping;
mod lazy;
mod managing;
mod reading;
mod support;
mod writing;
