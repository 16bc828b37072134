//! Twin of bad.rs: what the code has to know is found out before.

use block_gs::BqlGuard;
use block_jobs::{Failure, JobContext, JobRun};
use ui_tests::{Amend, in_main_loop, null, run_job};

struct Armed {
    nodes: u64,
}

impl JobRun for Armed {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        job.progress_done(self.nodes);
        Ok(())
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        let armed = Armed {
            nodes: block_gs::nodes(bql).count() as u64,
        };
        assert_eq!(armed.nodes, 1);
        Ok(())
    });
}
