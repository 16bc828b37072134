//! Jobs and drained sections, sleep, and moves.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use block_gs::{Backend, IoThread, Perm, drain_all};
use block_io::Buffer;
use block_io::aio::{AioContext, sleep, yield_now};
use block_jobs::{Failure, HookFuture, JobBuilder, JobStatus, PauseHooks, find_block_job};
use common::{Heard, Plan, create_over, in_layer, node, script, script_with_io, start_over, until};

fn named(id: &str) -> JobBuilder {
    JobBuilder::new().id(id)
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_section_pauses_and_the_world_hears_of_it() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        for ready in [false, true] {
            let plan = Plan {
                ready,
                ..Plan::default()
            };
            let heard = Heard::new(bql);
            let (job, watch) = start_over(bql, named("j"), &disk, plan);
            until(bql, || watch.rounds() > 1 && job.is_ready() == ready);
            heard.take();
            let before = job.status();
            let mut section = disk.drain(bql);
            assert!(job.is_paused());
            assert_eq!((job.pause_count(), job.is_busy()), (1, false));
            let rounds = watch.rounds();
            section.block_on(sleep(Duration::from_millis(5)));
            assert_eq!(watch.rounds(), rounds);
            section.end();
            assert_eq!(job.pause_count(), 0);
            until(bql, || watch.rounds() > rounds);
            assert_eq!(job.status(), before);
            let order = match ready {
                false => ["j paused", "j running"],
                true => ["j standby", "j ready"],
            };
            assert_eq!(heard.take(), order);
            job.cancel_sync(bql, true).expect_err("cancelled");
        }
    });
}

#[test]
fn a_section_wakes_a_job_that_sleeps() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let naps = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&naps);
        let job = script(
            bql,
            named("j"),
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    while !job.is_cancelled() {
                        job.sleep(LONG).await;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            }),
        );
        until(bql, || !job.is_busy());
        assert_eq!(job.status(), JobStatus::Running, "asleep is not paused");
        let section = disk.drain(bql);
        assert_eq!(job.status(), JobStatus::Paused);
        section.end();
        until(bql, || naps.load(Ordering::Relaxed) == 1);
        let section = drain_all(bql);
        assert_eq!(job.status(), JobStatus::Paused);
        section.end();
        until(bql, || naps.load(Ordering::Relaxed) == 2);
        job.kick();
        until(bql, || naps.load(Ordering::Relaxed) == 3);
        assert_eq!(job.cancel_sync(bql, true), Err(Failure::cancelled()));
    });
}

#[test]
fn each_reason_to_pause_counts() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let (job, watch) = start_over(bql, named("j"), &disk, Plan::default());
        until(bql, || watch.rounds() > 0);
        job.user_pause(bql).expect("it runs");
        until(bql, || job.is_paused());
        let info = job.block_job_info(bql).expect("visible");
        assert!(info.paused && !info.busy);
        let section = disk.drain(bql);
        let inner = job.pause();
        assert_eq!(job.pause_count(), 3);
        section.end();
        job.user_resume(bql).expect("paused");
        bql.run_for(Duration::from_millis(3));
        assert!(job.is_paused(), "one is left");
        let rounds = watch.rounds();
        drop(inner);
        until(bql, || watch.rounds() > rounds);
        assert_eq!(job.status(), JobStatus::Running);
        assert!(watch.calls().contains(&"user_resume"));
    });
}

#[test]
fn a_job_may_be_paused_before_it_starts() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let heard = Heard::new(bql);
        let (created, watch) = create_over(bql, named("j"), &disk, Plan::default()).expect("made");
        let job = created.job().clone();
        job.user_pause(bql).expect("created jobs can be paused");
        created.start(bql).expect("started");
        until(bql, || job.is_paused());
        assert_eq!(watch.rounds(), 0);
        assert_eq!(heard.take(), ["j created", "j running", "j paused"]);
        job.user_resume(bql).expect("paused");
        until(bql, || watch.rounds() > 0);
        // And in a section that is open already.
        let (created, watch) = create_over(bql, named("k"), &disk, Plan::default()).expect("made");
        let job = created.job().clone();
        bql.main_loop().schedule(move |bql| {
            created.start(bql).expect("started");
        });
        let mut section = disk.drain(bql);
        section.block_on(sleep(Duration::from_millis(3)));
        assert_eq!(watch.rounds(), 0);
        assert_eq!(job.status(), JobStatus::Paused);
        section.end();
        until(bql, || watch.rounds() > 0);
    });
}

#[test]
fn whoever_waits_for_the_end_ends_the_users_pause() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let plan = Plan {
            ready: true,
            ..Plan::default()
        };
        let (job, _) = start_over(bql, named("j"), &disk, plan);
        until(bql, || job.is_ready());
        job.user_pause(bql).expect("it runs");
        until(bql, || job.status() == JobStatus::Standby);
        job.complete_sync(bql).expect("it ends well");
        assert_eq!(job.status(), JobStatus::Null);
    });
}

struct Hooks(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl PauseHooks for Hooks {
    fn pause(&mut self) -> HookFuture<'_> {
        Box::pin(async {
            yield_now().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn resume(&mut self) -> HookFuture<'_> {
        Box::pin(async {
            self.1.fetch_add(1, Ordering::Relaxed);
        })
    }
}

#[test]
fn hooks_are_called_around_each_pause() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let (pauses, resumes) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let hooks = Hooks(Arc::clone(&pauses), Arc::clone(&resumes));
        let job = script(
            bql,
            named("j"),
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    job.set_pause_hooks(hooks);
                    while !job.is_cancelled() {
                        job.rest().await;
                    }
                    Ok(())
                })
            }),
        );
        until(bql, || !job.is_busy());
        for round in 1..=3 {
            let section = disk.drain(bql);
            assert_eq!(pauses.load(Ordering::Relaxed), round);
            assert_eq!(resumes.load(Ordering::Relaxed), round - 1);
            section.end();
            until(bql, || resumes.load(Ordering::Relaxed) == round);
        }
        job.cancel_sync(bql, true).expect_err("cancelled");
        assert_eq!(pauses.load(Ordering::Relaxed), 3, "it never pauses again");
    });
}

/// Nothing keeps a job that is cancelled by force from ending, not even the
/// section that it was paused for: somebody may wait for it in there.
#[test]
fn a_job_can_be_cancelled_inside_a_section_of_its_node() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let (job, watch) = start_over(bql, named("j"), &disk, Plan::default());
        until(bql, || watch.rounds() > 0);
        let mut section = disk.drain(bql);
        let main = section.main_loop();
        let asked = job.clone();
        let outcome = section.block_on(main.call(move |bql| asked.cancel_sync(bql, true)));
        assert_eq!(outcome, Ok(Err(Failure::cancelled())));
        section.end();
        until(bql, || job.status() == JobStatus::Null);
        assert!(find_block_job(bql, "j").is_err());
    });
}

/// A job that reads and writes all the time, in an iothread, against
/// sections: inside none of them does it get anything done.
#[test]
fn io_of_a_job_stops_in_sections() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let disk = node(bql, "disk");
        disk.set_iothread(bql, Some(&io0)).expect("moved");
        let done = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&done);
        let job = script_with_io(
            bql,
            named("j"),
            &disk,
            Box::new(move |job, backend| {
                Box::pin(async move {
                    let disk = backend;
                    let mut buffer = Buffer::zeroed(512);
                    while !job.is_cancelled() {
                        job.read(&disk, 0, buffer.destination()).await?;
                        count.fetch_add(1, Ordering::Relaxed);
                        let flags = Default::default();
                        job.write(&disk, 512, buffer.source(), flags).await?;
                        count.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                    }
                    Ok(())
                })
            }),
        );
        assert_eq!(
            job.context(),
            *io0.context(),
            "the backend came to its node"
        );
        for _ in 0..200 {
            let before = done.load(Ordering::Relaxed);
            until(bql, || done.load(Ordering::Relaxed) > before);
            let mut section = disk.drain(bql);
            // It may be between two requests, which is no step of its own.
            assert_eq!(job.status(), JobStatus::Paused);
            let inside = done.load(Ordering::Relaxed);
            section.block_on(yield_now());
            assert_eq!(done.load(Ordering::Relaxed), inside);
            section.end();
        }
        assert_eq!(job.cancel_sync(bql, true), Err(Failure::cancelled()));
    });
}

#[test]
fn a_job_has_its_own_node_drained_by_the_main_loop() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let held = disk.clone();
        let job = script(
            bql,
            named("j").manual_dismiss(),
            &disk,
            Box::new(move |job| {
                Box::pin(async move {
                    let counted = job.main_loop(move |bql| {
                        let section = held.drain(bql);
                        held.view(&section).quiesce_count()
                    });
                    assert_eq!(counted.await, Ok(1));
                    let twice = job.wait(async { yield_now().await });
                    twice.await;
                    Ok(())
                })
            }),
        );
        job.wait(bql).expect("well");
    });
}

#[test]
fn a_job_moves_with_its_nodes() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let io1 = IoThread::create(bql, "io1").expect("an iothread");
        let (disk, target) = (node(bql, "disk"), node(bql, "target"));
        let (job, watch) = start_over(bql, named("j"), &disk, Plan::default());
        job.add_node(bql, "target", &target, Perm::empty(), Perm::all())
            .expect("held");
        let front = Backend::new(bql, "front", Perm::empty(), Perm::all()).expect("a backend");
        front.insert(bql, &target).expect("inserted");
        for to in [Some(&io0), Some(&io1), None, Some(&io1)] {
            front.set_iothread(bql, to).expect("moved");
            let home = to.map_or_else(|| bql.context().clone(), |to| to.context().clone());
            for node in [&disk, &target] {
                assert_eq!(node.io().context(), home);
            }
            assert_eq!(job.context(), home);
            let before = watch.rounds();
            until(bql, || watch.rounds() > before + 2);
        }
        // A node from elsewhere comes to the job.
        let late = node(bql, "late");
        job.add_node(bql, "late", &late, Perm::empty(), Perm::all())
            .expect("held");
        assert_eq!(late.io().context(), *io1.context());
        assert_eq!(job.nodes(bql), [disk.clone(), target.clone(), late]);
        job.cancel_sync(bql, true).expect_err("cancelled");
        assert_eq!(watch.strays.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn code_that_panics_fails() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let job = script(
            bql,
            named("j").manual_dismiss(),
            &disk,
            Box::new(move |_| Box::pin(async move { panic!("a mistake in the job") })),
        );
        let failure = job.wait(bql).expect_err("it has failed");
        assert_eq!(
            failure.to_string(),
            "the code of the job has ended in the middle"
        );
        disk.drain(bql).end();
    });
}

#[test]
fn a_section_waits_for_the_end_of_code_that_has_ended() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let disk = node(bql, "disk");
        disk.set_iothread(bql, Some(&io0)).expect("moved");
        let returned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&returned);
        let job = script(
            bql,
            named("j").manual_dismiss(),
            &disk,
            Box::new(move |_| {
                Box::pin(async move {
                    assert!(AioContext::current().is_some());
                    flag.store(true, Ordering::Relaxed);
                    Ok(())
                })
            }),
        );
        // The main loop does not turn meanwhile.
        while !returned.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert_eq!(job.status(), JobStatus::Running);
        let mut section = disk.drain(bql);
        assert_eq!(job.status(), JobStatus::Concluded);
        section.block_on(yield_now());
        section.end();
    });
}
