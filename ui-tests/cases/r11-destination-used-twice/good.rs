//! Twin of bad.rs: the driver lends it to the child, and fills it afterwards.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, Destination, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn read(request: Request<'_>, mut buffer: Destination<'_>) -> Result<(), IoError> {
    if request.read(0, buffer.reborrow()).await.is_ok() {
        buffer.fill(7);
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let mut memory = Buffer::zeroed(512);
        bql.block_on(read(counted.request(), memory.destination()))?;
        assert_eq!(memory.as_slice()[0], 7);
        Ok(())
    });
}
