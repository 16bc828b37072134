//! Twin of bad.rs: the request above leads to the one below.

use block_gs::BqlGuard;
use block_io::Activity;
use ui_tests::{SIZE, in_main_loop, null, raw};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let counted = Activity::try_begin(format.io()).expect("not quiesced");
        let request = counted.request().file()?;
        assert_eq!(bql.block_on(request.refresh_length())?, SIZE);
        Ok(())
    });
}
