//! Twin of bad.rs: the section is begun and ended where the job completes.

use block_gs::{BqlGuard, Node};
use ui_tests::{in_main_loop, null};

struct MirrorJob {
    target: Node,
}

impl MirrorJob {
    fn mirror_exit_common(&mut self, bql: &mut BqlGuard) -> u32 {
        let section = self.target.drain(bql);
        self.target.view(&section).quiesce_count()
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let mut job = MirrorJob { target };
        assert_eq!(job.mirror_exit_common(bql), 1);
        assert_eq!(job.target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
