//! Rule R10: A transfer between a file and a buffer takes the request that it is part of.
//! QEMU: None recorded. raw_co_prw() takes the node; that somebody above is counted is
//! assumed.
//! Shape: argument.
//! Why: The functions of `FileIo` take the `Request`, whose count they keep while the kernel
//! works.

use block_gs::BqlGuard;
use block_io::{Buffer, file::FileIo};
use std::{fs::File, sync::Arc};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, zeroes) = (null(bql, "node"), File::open("/dev/zero")?);
        let file = FileIo::new(Arc::new(zeroes.into()));
        let mut buffer = Buffer::zeroed(512);
        let read = file.read(0, buffer.destination());
        //~^ E0061 "argument #1 of type"
        bql.block_on(read)?;
        assert_eq!(node.io().in_flight(), 0);
        assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
        Ok(())
    });
}
