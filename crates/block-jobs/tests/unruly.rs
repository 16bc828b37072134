//! Drivers that panic, and code that does not wait for what it began.

mod common;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use block_gs::BqlGuard;
use block_io::aio::sleep;
use block_jobs::{
    Failure, Job, JobBuilder, JobContext, JobDriver, JobRun, JobStatus, JobTransaction, JobType,
};
use common::{in_layer, node, script, until};

#[test]
fn code_that_gives_up_a_pause_point_ends_when_the_pause_does() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let builder = JobBuilder::new().id("job").manual_dismiss();
        let job = script(
            bql,
            builder,
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    let mut rest = pin!(job.rest());
                    let mut stopped = pin!(async {
                        while !flag.load(Ordering::SeqCst) {
                            sleep(Duration::from_millis(5)).await;
                        }
                    });
                    poll_fn(|cx| match stopped.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(()),
                        Poll::Pending => rest.as_mut().poll(cx),
                    })
                    .await;
                    Ok(())
                })
            }),
        );
        bql.run_for(Duration::from_millis(20));
        job.user_pause(bql).expect("running");
        until(bql, || job.is_paused());
        stop.store(true, Ordering::SeqCst);
        bql.run_for(Duration::from_millis(50));
        assert!(job.is_paused(), "{}", job.status());
        job.user_resume(bql).expect("paused");
        until(bql, || job.status() == JobStatus::Concluded);
    });
}

struct Driver {
    panics: bool,
}

struct Nothing;

impl JobRun for Nothing {
    async fn run(self, _: &mut JobContext<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

impl JobDriver for Driver {
    type Run = Nothing;

    fn kind(&self) -> JobType {
        JobType::Stream
    }

    fn start(&self, _: &mut BqlGuard, _: &Job) -> Result<Nothing, Failure> {
        Ok(Nothing)
    }

    fn commit(&self, _: &mut BqlGuard, _: &Job) {
        assert!(!self.panics, "commit");
    }
}

#[test]
fn a_panic_in_one_commit_keeps_no_job_of_the_transaction_from_its_end() {
    for order in [[true, false], [false, true]] {
        in_layer(|bql| {
            let transaction = JobTransaction::new(bql);
            let jobs = [("a", order[0]), ("b", order[1])].map(|(id, panics)| {
                let builder = JobBuilder::new().id(id).transaction(&transaction);
                builder.create(bql, Driver { panics }).expect("created")
            });
            let jobs = jobs.map(|job| job.start(bql).expect("started"));
            let run = AssertUnwindSafe(|| bql.run_for(Duration::from_millis(100)));
            catch_unwind(run).expect_err("the panic goes on");
            until(bql, || {
                jobs.iter().all(|job| job.status() == JobStatus::Null)
            });
        });
    }
}
