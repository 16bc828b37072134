//! Rule R16: A drained section that the main loop began is not ended in an iothread.
//! QEMU: V009, bdrv_drained_end() -> bdrv_do_drained_end() -> bdrv_do_drained_end() ->
//! bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() -> bdrv_drain_all_begin().
//! Shape: thread.
//! Why: The section holds the guard, so a bottom half of another thread cannot hold it.

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
    context.schedule(move |_home| bdrv_co_drain_bh_cb(section));
    //~^ E0277 "required because it appears within the type `Drained<'_>`"
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
