//! Rule R1: A request that resolves a file name gets no further than the graph walk.
//! QEMU: V001, bdrv_get_full_backing_filename() -> bdrv_make_absolute_filename() -> bdrv_dirname().
//! Shape: argument.
//! Why: `Node::view`, with which the walk begins, takes a `&BqlGuard`; a request is another proof.

use block_gs::{BqlGuard, Node};
use block_io::{IoError, Request, Root};
use ui_tests::{disk, in_main_loop, iothread, null, raw};

/// The directory of the file at the bottom.
fn bdrv_dirname(bql: &BqlGuard, node: &Node) -> String {
    let mut view = node.view(bql);
    while let Some(below) = view.child("file") {
        view = below.child();
    }
    format!("/{}", view.name())
}

fn bdrv_make_absolute_filename(request: Request<'_>, node: &Node, relative: &str) -> String {
    let directory = bdrv_dirname(request, node);
    //~^ E0308 "expected `&BqlGuard`, found `Request<'_>`"
    format!("{directory}/{relative}")
}

async fn bdrv_get_full_backing_filename(root: Root, node: Node) -> Result<String, IoError> {
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    Ok(bdrv_make_absolute_filename(request, &node, "base.img"))
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let images = null(bql, "images");
        let overlay = raw(bql, "overlay", &images);
        let blk = disk(bql, "disk", &overlay);
        let resolve = bdrv_get_full_backing_filename(blk.root().clone(), overlay);
        let resolve = iothread(bql, "io0").context().spawn(resolve);
        assert_eq!(bql.block_on(resolve)?, "/images/base.img");
        Ok(())
    });
}
