//! Requests that fail, and how fast a job goes.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use block_common::IoError;
use block_common::error::errno;
use block_gs::Perm;
use block_jobs::{
    ErrorAction, IoStatus, JobBackend, JobBuilder, JobStatus, OnError, Operation, Progress,
};
use common::{Heard, create_over, in_layer, node, script, until};

fn named(id: &str) -> JobBuilder {
    JobBuilder::new().id(id).manual_dismiss()
}

#[test]
fn a_job_stops_where_the_user_wants_that() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        let job = script(
            bql,
            named("j"),
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    loop {
                        job.pause_point().await;
                        let error = match count.fetch_add(1, Ordering::Relaxed) {
                            0 => IoError::from_errno(errno::EIO),
                            1 | 2 => IoError::from_errno(errno::ENOSPC),
                            _ => return Ok(()),
                        };
                        let policy = match error.errno() {
                            errno::EIO => OnError::Ignore,
                            _ => OnError::Enospc,
                        };
                        let action = job.error_action(policy, Operation::Write, &error);
                        if action == ErrorAction::Report {
                            return Err(error.into());
                        }
                    }
                })
            }),
        );
        for _ in 0..2 {
            until(bql, || job.is_paused());
            let info = job.block_job_info(bql).expect("visible");
            assert_eq!(info.io_status, IoStatus::NoSpace);
            assert!(job.is_user_paused());
            job.user_resume(bql).expect("as if the user had paused it");
            assert_eq!(job.io_status(), IoStatus::Ok);
            let before = tries.load(Ordering::Relaxed);
            until(bql, || {
                tries.load(Ordering::Relaxed) > before || job.is_completed()
            });
        }
        until(bql, || job.status() == JobStatus::Concluded);
        assert_eq!(job.failure(bql), None);
        let order = [
            "j created",
            "j running",
            "j ERROR write ignore",
            "j ERROR write stop",
            "j paused",
            "j running",
            "j ERROR write stop",
            "j paused",
            "j running",
            "j waiting",
            "j pending",
            "j COMPLETED",
            "j concluded",
        ];
        assert_eq!(heard.take(), order);
    });
}

#[test]
fn a_job_fails_where_the_user_wants_that() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let job = script(
            bql,
            named("j"),
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    let error = IoError::from_errno(errno::EIO);
                    let action = job.error_action(OnError::Report, Operation::Read, &error);
                    assert_eq!(action, ErrorAction::Report);
                    Err(error.into())
                })
            }),
        );
        job.wait(bql).expect_err("it fails");
        assert_eq!(job.io_status(), IoStatus::Ok, "it did not stop");
        let heard = heard.take();
        assert_eq!(heard[2], "j ERROR read report");
        assert!(heard.contains(&"j COMPLETED Input/output error".to_owned()));
    });
}

#[test]
fn errors_that_nobody_hears_of_do_not_pile_up() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let job = script(
            bql,
            named("j"),
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    let error = IoError::from_errno(errno::EIO);
                    for _ in 0..100_000 {
                        job.error_action(OnError::Ignore, Operation::Read, &error);
                    }
                    Ok(())
                })
            }),
        );
        job.wait(bql).expect("well");
        assert!(heard.take().len() < 2000);
    });
}

#[test]
fn a_job_does_io_on_nodes_that_it_holds() {
    in_layer(|bql| {
        let (disk, other) = (node(bql, "disk"), node(bql, "other"));
        let plan = Default::default();
        let (created, _) = create_over(bql, named("j"), &disk, plan).expect("created");
        let read = Perm::CONSISTENT_READ;
        let refused = JobBackend::new(bql, created.job(), &other, read, Perm::all());
        assert_eq!(
            refused.expect_err("not held").to_string(),
            "The job does not hold node 'other'"
        );
        let backend = JobBackend::new(bql, created.job(), &disk, read, Perm::all());
        assert!(backend.is_ok());
        created.discard(bql);
    });
}

#[test]
fn a_speed_makes_a_job_wait_until_it_is_raised() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        // At a byte a second the second step is a thousand years away.
        let job = script(
            bql,
            named("j").speed(1),
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    job.progress_set_remaining(10 << 30);
                    for _ in 0..10 {
                        job.throttle().await;
                        job.check_cancelled()?;
                        job.progress_done(1 << 30);
                        job.processed(1 << 30);
                    }
                    Ok(())
                })
            }),
        );
        let progress = Progress {
            current: 1 << 30,
            total: 10 << 30,
        };
        until(bql, || job.progress() == progress && !job.is_busy());
        job.set_speed(bql, 2).expect("faster");
        until(bql, || !job.is_busy());
        assert_eq!(job.progress(), progress);
        job.set_speed(bql, 0).expect("no limit");
        job.wait(bql).expect("it ends");
        assert_eq!(job.progress().current, 10 << 30);
    });
}
