//! Limit: A request does not say which permissions it has; writing without is refused.
//! QEMU: BLK_PERM_WRITE is asserted in bdrv_co_write_req_prepare().
//! Why: Permissions are granted and given back at run time, so no type can know them.

use block_gs::{Backend, BqlGuard, Perm};
use block_io::Buffer;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let reader = Backend::new(bql, "reader", Perm::CONSISTENT_READ, Perm::all())?;
        reader.insert(bql, &node)?;
        let buffer = Buffer::zeroed(512);
        assert!(
            bql.block_on(reader.root().write(0, buffer.source()))
                .is_err()
        );
        reader.set_perm(bql, Perm::WRITE, Perm::all())?;
        bql.block_on(reader.root().write(0, buffer.source()))?;
        Ok(())
    });
}
