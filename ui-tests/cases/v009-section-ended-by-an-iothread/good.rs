//! Twin of bad.rs: the section stays on its thread, whichever the node's context is.

use block_gs::{BqlGuard, Drained, Node, nodes, sections_opened};
use ui_tests::{disk, in_main_loop, iothread, null};

fn bdrv_drain_all_begin(section: &mut Drained<'_>) {
    let all: Vec<Node> = nodes(section).map(|view| view.node(section)).collect();
    all.iter().for_each(|node| section.also(node).end());
}

fn bdrv_co_drain_bh_cb(mut section: Drained<'_>) {
    bdrv_drain_all_begin(&mut section);
    section.end();
}

fn bdrv_co_yield_to_drain(section: Drained<'_>) {
    let context = section.node().io().context();
    assert!(!context.is_main());
    bdrv_co_drain_bh_cb(section);
}

fn bdrv_do_drained_end(section: Drained<'_>, recursive: bool) {
    match recursive {
        true => bdrv_do_drained_end(section, false),
        false => bdrv_co_yield_to_drain(section),
    }
}

fn bdrv_drained_end(section: Drained<'_>) {
    bdrv_do_drained_end(section, true);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        let before = sections_opened(bql);
        bdrv_drained_end(node.drain(bql));
        assert_eq!(sections_opened(bql), before + 2);
        Ok(())
    });
}
