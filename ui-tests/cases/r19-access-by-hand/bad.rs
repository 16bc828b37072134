//! Rule R19: Nobody makes the access of global-state code to what requests see.
//! QEMU: None recorded. The fields that requests read are plain fields.
//! Shape: literal.
//! Why: `GsAccess::new` is `unsafe`, and `BqlGuard` is what lends one.

use block_gs::BqlGuard;
use block_io::GsAccess;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        disk.root().set_write_cache(&GsAccess::new(), true);
        //~^ E0133 "call to unsafe function `GsAccess::new`"
        assert!(disk.root().has_write_cache());
        Ok(())
    });
}
