//! The driver, with QEMU's own tools beside it.

mod amending;
mod crash;
mod creating;
mod hostile;
mod keeping;
mod managing;
mod reading;
mod support;
mod writing;
