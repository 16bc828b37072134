//! Accept A3: One section reads, changes its edges, reads again, and waits for something else.
//! QEMU: bdrv_reopen_commit() between reads of the header, all in one drained section.
//! Why: `Drained::io` borrows the section for a request, and gives it back.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use block_io::{Buffer, IoError, Request};
use ui_tests::{in_main_loop, null, overlay};

async fn backing_name(request: Request<'_>, buffer: &mut Buffer) -> Result<String, IoError> {
    request.read(0, buffer.destination()).await?;
    Ok(request.backing()?.node().name().to_owned())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut buffer = Buffer::zeroed(512);
        let mut section = top.drain(bql);
        let before = section.io(async |request| backing_name(request, &mut buffer).await)?;
        section.set_backing(Some(&new))?;
        section.block_on(yield_now());
        let after = section.io(async |request| backing_name(request, &mut buffer).await)?;
        assert_eq!((&*before, &*after), ("old", "new"));
        let mut inner = section.also(&new);
        inner.io(async |request| request.flush().await)?;
        assert_eq!(new.view(&inner).quiesce_count(), 1);
        Ok(())
    });
}
