//! Filters: put anywhere, and taken out again.

use block_drivers::{CopyOnRead, Inject, Raw, Stats, Throttle};
use block_gs::{BqlGuard, GraphError, Node};

use super::{Changer, Outcome, words};
use crate::stress::disk::unmapping;

/// Nodes in one chain at most.
const MOST: usize = 8;

impl Changer {
    fn open_filter(
        &mut self,
        bql: &mut BqlGuard,
        number: usize,
        below: &Node,
    ) -> Result<Node, GraphError> {
        let kinds = ["stats", "throttle", "inject", "inject", "cor", "pass"];
        let kind = *self.rng.pick(&kinds).unwrap_or(&"stats");
        let name = self.fresh_name(kind);
        self.begin(format!("open '{name}' above '{}'", below.name()));
        let held = &self.disks[number];
        let options = unmapping();
        match kind {
            "throttle" => Throttle::over(below)
                .group(&held.throttle)
                .options(options)
                .open(bql, &name),
            "inject" => Inject::over(below)
                .injector(&held.injector)
                .options(options)
                .open(bql, &name),
            "cor" => CopyOnRead::over(below).options(options).open(bql, &name),
            "pass" => Raw::over(below).options(options).open(bql, &name),
            _ => Stats::over(below).options(options).open(bql, &name),
        }
    }

    /// Puts a filter above some node.
    pub(super) fn insert_filter(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        if self.disks[number].chain(bql).len() >= MOST {
            return self.drop_filter(bql, number);
        }
        let Some(below) = self.some_node(bql, number) else {
            return Ok("nothing to do");
        };
        let filter = self.open_filter(bql, number, &below).map_err(words)?;
        self.begin(format!(
            "insert '{}' above '{}'",
            filter.name(),
            below.name()
        ));
        let mut section = below.drain(bql);
        self.check_quiet(number)?;
        section.replace_with(&filter).map_err(words)?;
        self.check_quiet(number)?;
        section.end();
        if below.view(bql).parents().count() != 1 {
            return Err(format!("'{}' has other parents too", below.name()));
        }
        Ok("filters inserted")
    }

    /// Takes one of the filters out.
    pub(super) fn drop_filter(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let mut filters = self.disks[number].chain(bql);
        let raw = format!("{}-raw", self.disks[number].disk.name);
        let file = self.disks[number].file.clone();
        filters.retain(|node| *node != file && node.name() != raw);
        let Some(filter) = self.rng.pick(&filters).cloned() else {
            return Ok("nothing to do");
        };
        drop(filters);
        self.begin(format!("drop '{}'", filter.name()));
        let mut section = filter.drain(bql);
        self.check_quiet(number)?;
        section.drop_filter().map_err(words)?;
        section.end();
        let view = filter.view(bql);
        match view.parents().count() + view.children().count() {
            0 => Ok("filters dropped"),
            left => Err(format!("'{}' still has {left} edges", filter.name())),
        }
    }

    /// Gives the backend another node: a filter above the one it has.
    pub(super) fn replace_below_backend(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let held = &self.disks[number];
        let (backend, chain) = (held.backend.clone(), held.chain(bql));
        let Some(top) = chain.first().cloned() else {
            return Ok("nothing to do");
        };
        let raw = format!("{}-raw", held.disk.name);
        let new = match chain.get(1) {
            Some(next) if top.name() != raw && top != held.file && chain.len() > 4 => next.clone(),
            _ => self.open_filter(bql, number, &top).map_err(words)?,
        };
        drop(chain);
        self.begin(format!("put '{}' below '{}'", new.name(), backend.name()));
        backend.replace(bql, &new).map_err(words)?;
        match backend.node(bql) == Some(new) {
            true => Ok("backends given another node"),
            false => Err("the backend has another node than it was given".to_owned()),
        }
    }
}
