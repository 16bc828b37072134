//! Twin of bad.rs: the name is resolved in the main loop, as QEMU does it since.

use block_gs::{BqlGuard, Node};
use ui_tests::{in_main_loop, null, raw};

/// The directory of the file at the bottom.
fn bdrv_dirname(bql: &BqlGuard, node: &Node) -> String {
    let mut view = node.view(bql);
    while let Some(below) = view.child("file") {
        view = below.child();
    }
    format!("/{}", view.name())
}

fn bdrv_make_absolute_filename(bql: &BqlGuard, node: &Node, relative: &str) -> String {
    let directory = bdrv_dirname(bql, node);
    format!("{directory}/{relative}")
}

fn bdrv_get_full_backing_filename(bql: &BqlGuard, node: &Node) -> String {
    bdrv_make_absolute_filename(bql, node, "base.img")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let images = null(bql, "images");
        let overlay = raw(bql, "overlay", &images);
        let resolved = bdrv_get_full_backing_filename(bql, &overlay);
        assert_eq!(resolved, "/images/base.img");
        Ok(())
    });
}
