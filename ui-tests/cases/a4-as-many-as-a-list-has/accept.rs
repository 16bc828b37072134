//! Accept A4: Sections nest as deep as a list is long, one inside the other.
//! QEMU: bdrv_drained_begin() over the nodes of a reopen queue, in a loop.
//! Why: Each section lends itself to the next, so a recursion opens one on each level.

use block_gs::{BqlGuard, Drained, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn unplug_all(section: &mut Drained<'_>, rest: &[Node]) -> Result<u32, GraphError> {
    section.set_backing(None)?;
    match rest {
        [] => Ok(1),
        [next, rest @ ..] => Ok(1 + unplug_all(&mut section.also(next), rest)?),
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let tops: Vec<Node> = (0..7)
            .map(|i| overlay(bql, &format!("top{i}"), &base))
            .collect();
        let depth = unplug_all(&mut tops[0].drain(bql), &tops[1..])?;
        assert_eq!((depth, base.view(bql).parents().count()), (7, 0));
        assert!(tops.iter().all(|top| top.view(bql).quiesce_count() == 0));
        Ok(())
    });
}
