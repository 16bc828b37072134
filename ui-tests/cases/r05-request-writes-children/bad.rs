//! Rule R5: I/O code cannot write the edges that it reads.
//! QEMU: V057, QLIST_INSERT_HEAD() on `children` while requests walk the list.
//! Shape: receiver.
//! Why: The one function that could is `unsafe`, and a driver forbids itself that.

use block_gs::BqlGuard;
use block_io::Request;
use ui_tests::{disk, in_main_loop, null, raw};

fn bdrv_co_pwritev(request: Request<'_>) -> usize {
    let edges = Default::default();
    let edges = request.node().replace_children_in_drained_section(edges);
    //~^ E0133 "replace_children_in_drained_section` is unsafe"
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
