//! The drivers in a running block layer.

mod blkdebug;
mod commit;
mod copy_on_read;
mod failures;
mod file;
mod host;
mod inject;
mod io_limits;
mod knowledge;
mod locks;
mod model;
mod null;
mod qemu;
mod raw;
mod reopen;
mod resize;
mod stats;
mod support;
mod throttle;
