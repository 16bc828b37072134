//! Filters: put anywhere, and taken out again.

use block_drivers::Stats;
use block_gs::{BqlGuard, Node};

use super::{Changer, Kind, Outcome, Spoil};
use crate::tour::spoiler;

/// Filters in one group at most.
const MOST: usize = 5;

impl Changer {
    /// Puts a counting filter above some node of the group.
    pub(super) fn insert_filter(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        if self.world.groups[number].filters.len() >= MOST {
            return self.drop_filter(bql, number);
        }
        let name = self.world.fresh_name("stats");
        let Some(below) = self.some_node(bql, number) else {
            return Ok(Kind::Overtaken);
        };
        let step = self.begin(format!("insert filter '{name}' above '{}'", below.name()));
        let changed_before = self.changed_by_io();
        let read_only = below.view(bql).is_read_only();
        let filter = Stats::over(&below).read_only(read_only).open(bql, &name);
        let filter = step.must(filter)?;
        let mut section = below.drain(bql);
        self.check_quiet(&section, &below, &step)?;
        step.must(section.replace_with(&filter))?;
        section.end();
        let only_parent = below.view(bql).parents().count() == 1;
        if !only_parent && self.changed_by_io() != changed_before {
            // I/O code has taken out the very node that we were to be above.
            return Ok(Kind::Overtaken);
        }
        step.promise(only_parent, || {
            format!("'{}' should be the only parent of '{}'", name, below.name())
        })?;
        self.world.groups[number].filters.push(filter);
        Ok(Kind::FilterInserted)
    }

    /// Takes one of the filters out. Dropping the last handle deletes it.
    pub(super) fn drop_filter(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let filters = &mut self.world.groups[number].filters;
        if filters.is_empty() {
            return self.insert_filter(bql, number);
        }
        let index = self.rng.below(filters.len() as u64) as usize;
        let filter = filters.swap_remove(index);
        let step = self.begin(format!("drop filter '{}'", filter.name()));
        let mut section = filter.drain(bql);
        self.check_quiet(&section, &filter, &step)?;
        step.must(section.drop_filter())?;
        section.end();
        let view = filter.view(bql);
        step.promise(
            view.parents().count() + view.children().count() == 0,
            || format!("'{}' was dropped and is still connected", filter.name()),
        )?;
        let failed = filter.driver::<Stats>().map_or(0, |stats| {
            let counters = stats.counters();
            counters.reads.errors + counters.writes.errors
        });
        step.promise(failed == 0, || {
            format!("filter '{}' saw {failed} requests fail", filter.name())
        })?;
        Ok(Kind::FilterDropped)
    }

    /// Puts the filter that spoils one byte above the first file. When it is
    /// overtaken the next step tries again.
    pub(super) fn insert_spoiler(&mut self, bql: &mut BqlGuard) -> Outcome {
        let name = self.world.fresh_name("spoiler");
        let file = self.world.groups[0].file.clone();
        let step = self.begin(format!("insert '{name}' above '{}'", file.name()));
        let filter = step.must(spoiler::open(bql, &name, &file))?;
        step.must(file.drain(bql).replace_with(&filter))?;
        self.spoil = Spoil::By(filter);
        Ok(Kind::FilterInserted)
    }

    /// The node below a backend, a format node or image, a filter or a file.
    fn some_node(&mut self, bql: &mut BqlGuard, number: usize) -> Option<Node> {
        let disks = self.world.groups[number].disks.len() as u64;
        let disk = self.rng.below(disks) as usize;
        let group = &self.world.groups[number];
        match self.rng.below(5) {
            0 => group.disks[disk].backend.node(bql),
            1 if group.chain().is_some() => self.rng.pick(&group.nodes()).cloned(),
            1 => Some(group.disks[disk].format.clone()),
            2 => self.rng.pick(&group.filters).cloned(),
            _ => Some(group.file.clone()),
        }
        .or_else(|| Some(group.file.clone()))
    }
}
