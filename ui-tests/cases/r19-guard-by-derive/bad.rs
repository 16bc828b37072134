//! Rule R19: A guard does not come into being as a field of something that is made by default.
//! QEMU: None recorded. A macro looks at the thread.
//! Shape: field.
//! Why: `BqlGuard` has no default, so nothing that contains one has.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

#[derive(Default)]
struct Device {
    bql: BqlGuard,
    //~^ E0277 "the trait bound `BqlGuard: Default` is not satisfied"
    media: usize,
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let mut device = Device::default();
        device.media = nodes(&device.bql).count();
        assert_eq!(device.media, 1);
        Ok(())
    });
}
