//! Twin of bad.rs: the transfer is part of an activity of the node.

use block_gs::BqlGuard;
use block_io::Activity;
use block_io::{Buffer, file::FileIo};
use std::{fs::File, sync::Arc};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, zeroes) = (null(bql, "node"), File::open("/dev/zero")?);
        let file = FileIo::new(Arc::new(zeroes.into()));
        let mut buffer = Buffer::zeroed(512);
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let read = file.read(counted.request(), 0, buffer.destination());
        bql.block_on(read)?;
        drop(counted);
        assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
        Ok(())
    });
}
