//! Jobs under everything that can happen to them, in an order of chance.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_gs::{BqlGuard, IoThread, Node, Perm, drain_all};
use block_io::aio::yield_now;
use block_jobs::{Job, JobBackend, JobBuilder, JobStatus, JobTransaction, jobs};
use common::{IoCode, Plan, Watch, create_over, in_layer, node, script_with_io, until};
use test_support::Random;

struct World {
    chance: Random,
    nodes: Vec<Node>,
    homes: Vec<IoThread>,
    jobs: Vec<(Job, Option<Arc<Watch>>)>,
    made: u32,
}

impl World {
    fn pick(&mut self) -> Option<Job> {
        let all = self.jobs.len() as u64;
        let index = (all > 0).then(|| self.chance.next(all) as usize)?;
        Some(self.jobs[index].0.clone())
    }

    fn node(&mut self) -> Node {
        let index = self.chance.next(self.nodes.len() as u64) as usize;
        self.nodes[index].clone()
    }

    fn start(&mut self, bql: &mut BqlGuard) {
        let together = JobTransaction::new(bql);
        for _ in 0..=self.chance.next(2) {
            self.made += 1;
            let builder = JobBuilder::new().id(format!("j{}", self.made));
            let node = self.node();
            if self.chance.next(3) == 0 {
                let job = script_with_io(bql, builder, &node, copying());
                self.jobs.push((job, None));
                continue;
            }
            let plan = Plan {
                ready: self.chance.next(2) == 0,
                soft: self.chance.next(2) == 0,
                prepare: if self.chance.next(4) == 0 { 5 } else { 0 },
                ..Plan::default()
            };
            let builder = builder.transaction(&together);
            let (created, watch) = create_over(bql, builder, &node, plan).expect("created");
            let other = self.node();
            let nothing = Perm::empty();
            let held = created
                .job()
                .add_node(bql, "other", &other, nothing, Perm::all());
            held.expect("nothing keeps it from moving");
            // The other of its transaction may have failed already.
            if let Ok(job) = created.start(bql) {
                self.jobs.push((job, Some(watch)));
            }
        }
    }

    fn step(&mut self, bql: &mut BqlGuard) {
        match self.chance.next(9) {
            0 if self.jobs.len() < 12 => self.start(bql),
            1 => {
                let node = self.node();
                let mut section = node.drain(bql);
                // One that is cancelled by force goes on, to its end.
                let stands = |job: &Job| {
                    let held = job.nodes(&section).contains(&node);
                    !held || !job.is_busy() || job.is_cancelled()
                };
                assert!(self.jobs.iter().all(|(job, _)| stands(job)));
                section.block_on(yield_now());
            }
            2 => drain_all(bql).end(),
            3 => {
                let to = self.chance.next(3) as usize;
                let home = self.homes.get(to).cloned();
                let node = self.node();
                node.set_iothread(bql, home.as_ref()).expect("all follow");
            }
            4 => {
                let Some(job) = self.pick() else { return };
                // In whatever state it is: refused, or done.
                let _ = job.user_pause(bql);
                let _ = job.set_speed(bql, 1000);
            }
            5 => {
                let Some(job) = self.pick() else { return };
                let _ = job.user_resume(bql);
            }
            6 => {
                let Some(job) = self.pick() else { return };
                let _ = job.complete(bql);
            }
            7 => {
                let Some(job) = self.pick() else { return };
                let force = self.chance.next(2) == 0;
                let _ = job.cancel(bql, force);
            }
            _ => bql.run_for(std::time::Duration::from_micros(300)),
        }
        self.jobs.retain(|(job, _)| job.status() != JobStatus::Null);
    }
}

fn copying() -> IoCode {
    Box::new(|job, backend: Arc<JobBackend>| {
        Box::pin(async move {
            while !job.is_cancelled() {
                job.flush(&backend).await?;
                job.sleep(std::time::Duration::from_micros(100)).await;
            }
            Ok(())
        })
    })
}

#[test]
fn jobs_survive_everything() {
    for seed in 0..6 {
        in_layer(|bql| {
            let names = ["a", "b", "c"];
            let mut world = World {
                chance: Random(seed),
                nodes: names.map(|name| node(bql, name)).into(),
                homes: ["io0", "io1"]
                    .map(|name| IoThread::create(bql, name).expect("an iothread"))
                    .into(),
                jobs: Vec::new(),
                made: 0,
            };
            for _ in 0..1500 {
                world.step(bql);
            }
            assert!(world.made > 20, "{} jobs are few", world.made);
            block_jobs::cancel_all(bql);
            until(bql, || {
                let mut jobs = world.jobs.iter();
                jobs.all(|(job, _)| job.status() == JobStatus::Null)
            });
            assert_eq!(jobs(bql).count(), 0);
            for (job, watch) in &world.jobs {
                assert_eq!(job.pause_count(), 0, "{job:?}");
                let strays = watch
                    .iter()
                    .map(|watch| watch.strays.load(Ordering::Relaxed));
                assert_eq!(strays.sum::<u64>(), 0, "{job:?}");
            }
            drain_all(bql).end();
            for node in &world.nodes {
                assert_eq!(node.view(bql).quiesce_count(), 0);
            }
        });
    }
}
