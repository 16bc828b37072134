//! Rule R10: A function over whatever becomes a request takes no handle.
//! QEMU: None recorded. A macro cannot tell one caller from another.
//! Shape: generic.
//! Why: Nothing converts into `Request`: one has to begin one.

use block_gs::BqlGuard;
use block_io::Request;
use ui_tests::{disk, in_main_loop, null};

fn name_below<'r>(request: impl Into<Request<'r>>) -> String {
    request.into().node().name().to_owned()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let name = name_below(disk.root());
        //~^ E0277 "is not satisfied"
        assert_eq!(name, "node");
        Ok(())
    });
}
