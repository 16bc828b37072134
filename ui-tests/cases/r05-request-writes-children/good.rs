//! Twin of bad.rs: the edges are read, which takes the request.

use block_gs::BqlGuard;
use block_io::Request;
use ui_tests::{disk, in_main_loop, null, raw};

fn bdrv_co_pwritev(request: Request<'_>) -> usize {
    let edges = request.children();
    edges.iter().count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let root = disk(bql, "disk", &format).root().clone();
        let in_flight = bql.block_on(root.begin());
        assert_eq!(bdrv_co_pwritev(in_flight.request()?), 1);
        Ok(())
    });
}
