//! Rule R16: A section begun in one callback is not ended in another.
//! QEMU: 10.0.2, mirror_run() begins a section that mirror_exit_common() ends.
//! Shape: field.
//! Why: A job lives longer than the borrow of the guard in the section.

use block_gs::{BqlGuard, Drained, Node};
use ui_tests::{in_main_loop, null};

struct MirrorJob {
    target: Node,
    section: Option<Drained<'static>>,
}

impl MirrorJob {
    fn mirror_run(&mut self, bql: &mut BqlGuard) {
        self.section = Some(self.target.drain(bql));
        //~^ "the struct `Drained<'a>` is invariant"
    }

    fn mirror_exit_common(&mut self) {
        drop(self.section.take());
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let mut job = MirrorJob {
            target,
            section: None,
        };
        job.mirror_run(bql);
        job.mirror_exit_common();
        assert_eq!(job.target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
