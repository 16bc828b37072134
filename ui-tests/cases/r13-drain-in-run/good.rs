//! Twin of bad.rs: the main loop does it, and the job counts as paused.

use block_gs::{BqlGuard, Node};
use block_jobs::{Failure, Job, JobContext, JobDriver, JobRun, JobType};
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

struct Outer;

struct OuterRun {
    inner: AmendRun,
    node: Node,
}

impl JobDriver for Outer {
    type Run = OuterRun;

    fn kind(&self) -> JobType {
        JobType::Amend
    }

    fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<OuterRun, Failure> {
        Ok(OuterRun {
            inner: Amend.start(bql, job)?,
            node: job.nodes(bql).remove(0),
        })
    }
}

impl JobRun for OuterRun {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        let node = self.node;
        let drained = job.main_loop(move |bql| node.drain(bql).end()).await;
        assert_eq!(drained, Ok(()));
        self.inner.run(job).await
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Outer)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
