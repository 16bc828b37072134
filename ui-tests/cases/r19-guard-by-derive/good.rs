//! Twin of bad.rs: the device contains none.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

#[derive(Default)]
struct Device {
    media: usize,
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let mut device = Device::default();
        device.media = nodes(bql).count();
        assert_eq!(device.media, 1);
        Ok(())
    });
}
