//! Rule R19: An edge gives no request.
//! QEMU: None recorded. bdrv_co_pread() takes the child and nothing else.
//! Why: The constructor is private to the crate: its caller vouches for the count.

use block_gs::BqlGuard;
use block_io::{Activity, Request};
use ui_tests::{SIZE, in_main_loop, null, raw};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let counted = Activity::try_begin(format.io()).expect("not quiesced");
        let edge = counted.request().children().file().expect("a file");
        let request = Request::through(edge);
        //~^ E0624 "associated function `through` is private"
        assert_eq!(bql.block_on(request.refresh_length())?, SIZE);
        Ok(())
    });
}
