//! Twin of bad.rs: it is filled afterwards.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, Destination, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn keep(request: Request<'_>, mut buffer: Destination<'_>) -> Result<(), IoError> {
    let write = request.write(0, buffer.as_source());
    write.await?;
    buffer.fill(0);
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let mut memory = Buffer::zeroed(512);
        bql.block_on(keep(counted.request(), memory.destination()))?;
        Ok(())
    });
}
