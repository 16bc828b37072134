//! Rule R5: Data that requests read is replaced in a drained section only.
//! QEMU: None recorded. Fields that requests read are plain fields of the driver.
//! Shape: receiver.
//! Why: `Drained::set` takes the node out of the section; the cell itself has no safe setter.

use block_gs::BqlGuard;
use block_io::{Activity, GraphCell};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let offset = GraphCell::new(node.io().uid(), 0);
        let in_flight = Activity::try_begin(node.io()).expect("not quiesced");
        assert_eq!(*offset.get(in_flight.request()), 0);
        drop(in_flight);
        let old = offset.replace_in_drained_section(512);
        //~^ E0133 "replace_in_drained_section` is unsafe"
        assert_eq!(old, 0);
        Ok(())
    });
}
