//! Moves between threads, and threads that come and go.

use block_gs::{BqlGuard, GraphError, IoThread, Node};

use super::formats::home_of;
use super::{Changer, Kind, Outcome, Step};
use crate::tour::failure::Failure;

/// Iothreads beside the first two, at most.
const MOST: usize = 2;

impl Changer {
    /// Moves a connected part of the graph to another thread, asked at a
    /// backend or at a node.
    pub(super) fn move_group(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let to = self.some_thread();
        let at_backend = self.rng.once_in(2);
        let group = &self.world.groups[number];
        let step = self.begin(format!(
            "move '{}' to {}",
            group.name,
            to.as_ref().map_or("the main loop", |thread| thread.name())
        ));
        let outcome = group.movable(bql, |bql| match at_backend {
            true => group.disks[0].backend.set_iothread(bql, to.as_ref()),
            false => group.file.set_iothread(bql, to.as_ref()),
        });
        step.must(outcome)?;
        self.check_together(bql, number, to.as_ref(), &step)?;
        Ok(Kind::Moved)
    }

    /// Starts another iothread, or stops one: refused while somebody is at
    /// home there.
    pub(super) fn change_iothreads(&mut self, bql: &mut BqlGuard) -> Outcome {
        let extra = &self.world.extra_iothreads;
        if extra.is_empty() || (extra.len() < MOST && self.rng.once_in(2)) {
            let name = self.world.fresh_name("io");
            let step = self.begin(format!("start iothread '{name}'"));
            let iothread = step.must(IoThread::create(bql, &name))?;
            self.world.extra_iothreads.push(iothread);
            return Ok(Kind::IoThreadChanged);
        }
        let iothread = self.world.extra_iothreads.remove(0);
        let step = self.begin(format!("stop iothread '{}'", iothread.name()));
        let at_home = |bql: &BqlGuard, node: &Node| home_of(bql, node).as_ref() == Some(&iothread);
        for number in 0..self.world.groups.len() {
            let file = self.world.groups[number].file.clone();
            if !at_home(bql, &file) {
                continue;
            }
            let refused = iothread.remove(bql);
            let expected = format!("object '{}' is in use, can not be deleted", iothread.name());
            step.promise(
                matches!(&refused, Err(error) if error.to_string() == expected),
                || format!("stopping a thread in use gave {refused:?}"),
            )?;
            let to = self.world.iothreads[number % 2].clone();
            let group = &self.world.groups[number];
            step.must(group.movable(bql, |bql| file.set_iothread(bql, Some(&to))))?;
            self.check_together(bql, number, Some(&to), &step)?;
        }
        self.stop_when_empty(bql, &iothread, &step)?;
        Ok(Kind::IoThreadChanged)
    }

    /// What was taken out of the graph is deleted when the main loop next
    /// runs, and until then at home where it was.
    fn stop_when_empty(
        &mut self,
        bql: &mut BqlGuard,
        iothread: &IoThread,
        step: &Step,
    ) -> Result<(), Failure> {
        for _ in 0..100 {
            match iothread.remove(bql) {
                Err(GraphError::IoThreadInUse(_)) => {
                    bql.run_for(std::time::Duration::from_micros(200));
                }
                other => return step.must(other),
            }
        }
        // Some filter that I/O code has taken out is still in its hands.
        self.world.extra_iothreads.push(iothread.clone());
        Ok(())
    }

    /// The two ends of every edge are in one context.
    fn check_together(
        &self,
        bql: &mut BqlGuard,
        number: usize,
        to: Option<&IoThread>,
        step: &Step,
    ) -> Result<(), Failure> {
        let group = &self.world.groups[number];
        let expected = to.map_or_else(|| bql.context().clone(), |thread| thread.context().clone());
        for node in group.nodes().iter().chain(&group.filters) {
            let context = node.io().context();
            step.promise(context == expected, || {
                format!("'{}' stayed behind in {}", node.name(), context.name())
            })?;
        }
        for disk in &group.disks {
            let context = disk.backend.root().context();
            step.promise(context == expected, || {
                format!(
                    "'{}' stayed behind in {}",
                    disk.backend.name(),
                    context.name()
                )
            })?;
        }
        Ok(())
    }

    /// `None` is the main loop, which shares a processor with this thread's
    /// steps, so it is chosen less often.
    fn some_thread(&mut self) -> Option<IoThread> {
        if self.rng.once_in(8) {
            return None;
        }
        let world = &self.world;
        let mut threads = world.iothreads.to_vec();
        threads.extend(world.extra_iothreads.iter().cloned());
        self.rng.pick(&threads).cloned()
    }
}
