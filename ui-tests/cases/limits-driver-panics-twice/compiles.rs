//! Limit: A driver that panics again while its first panic is undone aborts the process.
//! QEMU: an abort() in a driver.
//! Why: Rust aborts on a panic in a destructor that runs because of another one.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder};
use block_io::{Destination, DriverIo, IoFuture, Request};
use std::process::{Command, Stdio};
use std::{env, os::unix::process::ExitStatusExt, sync::Arc};
use ui_tests::in_main_loop;

const AGAIN: &str = "THE_DRIVER_PANICS";

struct Panicking;

impl DriverIo for Panicking {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

impl BlockDriver for Panicking {
    fn format_name(&self) -> &'static str {
        "panicking"
    }

    fn drain_begin(&self, _: &BqlGuard) {
        panic!("in the callback");
    }

    fn drain_end(&self, _: &BqlGuard) {
        panic!("and while that is undone");
    }
}

fn main() {
    if env::var_os(AGAIN).is_none() {
        let this = env::current_exe().expect("a program");
        let mut child = Command::new(this);
        // The name is for a binary of many programs.
        let child = child.arg("driver_panics_twice").env(AGAIN, "1");
        let child = child.stdout(Stdio::null()).stderr(Stdio::null());
        let status = child.status().expect("it runs");
        assert_eq!(status.signal(), Some(6), "not aborted: {status}");
        return;
    }
    in_main_loop(|bql: &mut BqlGuard| {
        let node = NodeBuilder::new("node").open(bql, Arc::new(Panicking))?;
        node.drain(bql).end();
        Ok(())
    });
}
