//! Twin of bad.rs: what is sent is a handle of the context.

use block_gs::BqlGuard;
use block_io::aio::AioContext;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (send, sent) = mpsc::channel::<AioContext>();
        let context = iothread(bql, "io0").context().clone();
        context.schedule(move |home| send.send(home.context().clone()).expect("a receiver"));
        assert_eq!(sent.recv()?.name(), "io0");
        Ok(())
    });
}
