//! Drained sections for their own sake: nested, over many nodes, over all.

use std::time::Duration;

use block_drivers::NullCo;
use block_gs::{BqlGuard, Drained, Node, drain_all, drain_many};
use block_io::Request;
use block_io::aio::sleep;

use super::{Changer, Kind, Outcome, Step, check_fixed_part, judge};
use crate::tour::failure::Failure;

/// A section is held open no longer than this, in microseconds.
const LONGEST: u64 = 500;

impl Changer {
    /// Opens sections inside each other and checks that nothing moves in
    /// them, however long they last, except their owner's own request.
    pub(super) fn nest_sections(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        match self.rng.below(4) {
            0 => self.one_section(bql, number),
            1 => self.sections_inside(bql),
            2 => self.section_of_many(bql),
            _ => self.section_of_all(bql),
        }?;
        Ok(Kind::SectionsNested)
    }

    fn one_section(&mut self, bql: &mut BqlGuard, number: usize) -> Result<(), Failure> {
        let disk = &self.world.groups[number].disks[0];
        let step = self.begin(format!("drain '{}'", disk.format.name()));
        let mut section = disk.format.drain(bql);
        self.check_quiet(&section, &disk.format, &step)?;
        let contents = &disk.target.contents;
        let outcome =
            section.io(async |request: Request<'_>| check_fixed_part(request, contents).await);
        judge(step.number, disk, outcome)?;
        self.check_quiet(&section, &disk.format, &step)
    }

    fn sections_inside(&mut self, bql: &mut BqlGuard) -> Result<(), Failure> {
        let mut nodes = self.some_nodes();
        let step = self.begin(format!("nest sections over {}", names(&nodes)));
        let pause = Duration::from_micros(self.rng.below(LONGEST));
        let Some(first) = nodes.pop() else {
            return Ok(());
        };
        let mut section = first.drain(bql);
        self.inside(&mut section, &nodes, pause, &step)?;
        // The inner ones have ended, this one has not.
        self.check_quiet(&section, &first, &step)?;
        step.promise(first.view(&section).quiesce_count() >= 1, || {
            format!("'{}' is drained and its count is 0", first.name())
        })
    }

    fn inside(
        &self,
        section: &mut Drained<'_>,
        nodes: &[Node],
        pause: Duration,
        step: &Step,
    ) -> Result<(), Failure> {
        let Some((next, rest)) = nodes.split_first() else {
            section.block_on(sleep(pause));
            let node = section.node().clone();
            return self.check_quiet(section, &node, step);
        };
        let mut inner = section.also(next);
        self.check_quiet(&inner, next, step)?;
        self.inside(&mut inner, rest, pause, step)
    }

    fn section_of_many(&mut self, bql: &mut BqlGuard) -> Result<(), Failure> {
        let nodes = self.some_nodes();
        let step = self.begin(format!("drain {} at once", names(&nodes)));
        let pause = Duration::from_micros(self.rng.below(LONGEST));
        let mut section = drain_many(bql, nodes.iter().cloned());
        for node in &nodes {
            self.check_quiet(&section, node, &step)?;
        }
        if let Some(node) = nodes.first() {
            section.also(node).block_on(sleep(pause));
        }
        for node in &nodes {
            self.check_quiet(&section, node, &step)?;
        }
        Ok(())
    }

    /// Over the whole graph; a node that is made inside is born quiesced.
    fn section_of_all(&mut self, bql: &mut BqlGuard) -> Result<(), Failure> {
        let name = self.world.fresh_name("newborn");
        let step = self.begin(format!("drain all, make '{name}' inside"));
        let pause = Duration::from_micros(self.rng.below(LONGEST));
        let files: Vec<Node> = self
            .world
            .groups
            .iter()
            .map(|group| group.file.clone())
            .collect();
        let mut section = drain_all(bql);
        for file in &files {
            self.check_quiet(&section, file, &step)?;
        }
        let newborn = section.with(|bql| NullCo::new(4096).open(bql, &name));
        let newborn = step.must(newborn)?;
        step.promise(newborn.view(&section).quiesce_count() > 0, || {
            format!("'{name}' was born inside a section over everything, and awake")
        })?;
        section.with(|bql| bql.run_for(pause));
        for file in &files {
            self.check_quiet(&section, file, &step)?;
        }
        section.end();
        step.promise(newborn.view(bql).quiesce_count() == 0, || {
            format!("'{name}' sleeps on after the section over everything")
        })
    }

    /// Two to four nodes of any group, files, formats and images.
    fn some_nodes(&mut self) -> Vec<Node> {
        let mut all = Vec::new();
        for group in &self.world.groups {
            all.extend(group.nodes());
        }
        let count = self.rng.within(2..5);
        (0..count)
            .filter_map(|_| self.rng.pick(&all).cloned())
            .collect()
    }
}

fn names(nodes: &[Node]) -> String {
    let names: Vec<&str> = nodes.iter().map(Node::name).collect();
    names.join(", ")
}
