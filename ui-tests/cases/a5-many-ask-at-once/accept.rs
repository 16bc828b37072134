//! Accept A5: Any number of tasks ask for changes at once, and each gets its own answer.
//! QEMU: no_co_wrapper functions, called by several coroutines.
//! Why: The closure runs in the main loop, one after the other, with the guard to itself.

use block_gs::{BqlGuard, GraphError, MainLoop, Node};
use ui_tests::{in_main_loop, iothread, null, overlay};

async fn swap(top: Node, to: Node, main: MainLoop) -> Result<String, GraphError> {
    let swapped = top.drained_by(&main, move |section| {
        section.set_backing(Some(&to))?;
        let edge = section.node().view(section).child("backing");
        Ok(edge.expect("just set").child().name().to_owned())
    });
    swapped.await.expect("the main loop")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (one, two) = (null(bql, "one"), null(bql, "two"));
        let (top, main) = (overlay(bql, "top", &one), bql.main_loop());
        let threads = [iothread(bql, "io0"), iothread(bql, "io1")];
        let asked: Vec<_> = (0..10)
            .map(|i| {
                let to = if i % 3 == 0 { &one } else { &two };
                let task = swap(top.clone(), to.clone(), main.clone());
                (to.name(), threads[i % 2].context().spawn(task))
            })
            .collect();
        for (to, asked) in asked {
            assert_eq!(bql.block_on(asked)?, to);
        }
        Ok(())
    });
}
