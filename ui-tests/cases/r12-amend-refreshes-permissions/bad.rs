//! Rule R12: A request cannot widen the permissions of the edge it goes through.
//! QEMU: V069, block_crypto_co_amend_luks() -> bdrv_child_refresh_perms().
//! Shape: receiver.
//! Why: The setter of the I/O view takes a `GsAccess`, which only global-state code lends.

use block_gs::{BqlGuard, Perm};
use block_io::{IoError, Root};
use ui_tests::{disk, in_main_loop, null, raw};

async fn block_crypto_co_amend_luks(root: Root) -> Result<Perm, IoError> {
    let in_flight = root.begin().await;
    let file = in_flight.request()?.children().file().expect("a file");
    file.set_perm(Perm::all());
    //~^ E0061 "argument #1 of type `&GsAccess` is missing"
    Ok(file.perm())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let disk = disk(bql, "disk", &format);
        let granted = bql.block_on(block_crypto_co_amend_luks(disk.root().clone()))?;
        assert!(granted.contains(Perm::WRITE));
        Ok(())
    });
}
