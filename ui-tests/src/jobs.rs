//! A job whose code needs what its driver prepares.

use std::sync::Arc;

use block_common::WriteFlags;
use block_gs::{BqlGuard, Node, Perm};
use block_jobs::{
    CreatedJob, Failure, Job, JobBackend, JobBuilder, JobContext, JobDriver, JobRun, JobType,
};

/// Amends an image: writes what only a job may write that was permitted to.
#[derive(Debug)]
pub struct Amend;

/// The code of [`Amend`], which has the permission.
#[derive(Debug)]
pub struct AmendRun {
    permitted: Arc<JobBackend>,
}

impl JobDriver for Amend {
    type Run = AmendRun;

    fn kind(&self) -> JobType {
        JobType::Amend
    }

    fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<AmendRun, Failure> {
        let node = job.nodes(bql).remove(0);
        let permitted = JobBackend::new(bql, job, &node, Perm::WRITE, Perm::all())?;
        Ok(AmendRun { permitted })
    }
}

impl AmendRun {
    /// What the code writes to.
    pub fn permitted(&self) -> &Arc<JobBackend> {
        &self.permitted
    }
}

impl JobRun for AmendRun {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        let flags = WriteFlags::empty();
        job.write_zeroes(&self.permitted, 0, 512, flags).await?;
        job.progress_done(512);
        Ok(())
    }
}

/// A job over `node` that was not started and stays when it is over.
///
/// # Panics
/// When there is a job already.
pub fn create_job<D: JobDriver>(bql: &mut BqlGuard, node: &Node, driver: D) -> CreatedJob {
    let builder = JobBuilder::new().id("job").manual_dismiss();
    let created = builder.create_block_job(bql, node, Perm::empty(), Perm::all(), driver);
    created.expect("a job")
}

/// As [`create_job`], started, and waited for.
///
/// # Errors
/// Why it has failed.
///
/// # Panics
/// As [`create_job`], and when it cannot be started.
pub fn run_job<D: JobDriver>(bql: &mut BqlGuard, node: &Node, driver: D) -> Result<Job, Failure> {
    let created = create_job(bql, node, driver);
    let job = created.start(bql).expect("a started job");
    job.wait(bql)?;
    Ok(job)
}
