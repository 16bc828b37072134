//! Rule R19: An edge gives no request.
//! QEMU: None recorded. bdrv_co_pread() takes the child and nothing else.
//! Shape: receiver.
//! Why: A request descends from one that is counted; an edge counts nothing.

use block_gs::BqlGuard;
use block_io::Activity;
use ui_tests::{SIZE, in_main_loop, null, raw};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let counted = Activity::try_begin(format.io()).expect("not quiesced");
        let edge = counted.request().children().file().expect("a file");
        let request = edge.request();
        //~^ E0277 "I/O takes a counted `Request`, and `IoEdge` is none"
        assert_eq!(bql.block_on(request.refresh_length())?, SIZE);
        Ok(())
    });
}
