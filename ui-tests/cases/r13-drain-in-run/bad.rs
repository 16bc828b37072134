//! Rule R13: The code of a job does no global-state work.
//! QEMU: V069, block_crypto_co_amend_luks() in a job's coroutine -> bdrv_child_refresh_perms().
//! Shape: async.
//! Why: A section takes the guard, and code has a `JobContext` only.

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
        self.node.drain().end();
        //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
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
