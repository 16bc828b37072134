//! Replacing the file at the bottom, contents included: a mirror that is
//! completed in one drained section.

use std::ops::Range;

use block_gs::{BqlGuard, Drained, GraphError, Node};
use block_io::{Buffer, IoError, Request};

use super::{Changer, Kind, Outcome, Step};
use crate::draw::Snapshot;
use crate::tour::graph::Below;
use crate::tour::image::STALE;

/// How much is copied by one request, in bytes.
const CHUNK: u64 = 1 << 20;

impl Changer {
    /// Opens another file, copies what has been written since the beginning
    /// over to it, and puts it in the place of the old one. All of it inside
    /// one section: no write can come between the copy and the switch. Then
    /// the old file is spoilt, so a request that still went there would show.
    pub(super) fn replace_file(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let name = self.world.fresh_name("file");
        let by_edge = self.rng.once_in(2);
        let group = &self.world.groups[number];
        let Some(files) = group.files() else {
            return Ok(Kind::Overtaken);
        };
        let next = (files.current + 1) % files.paths.len();
        let written = files.written.clone();
        let step = self.begin(format!(
            "replace file '{}' of '{}' by '{name}', {} bytes copied",
            group.file.name(),
            group.name,
            written
                .iter()
                .map(|range| range.end - range.start)
                .sum::<u64>()
        ));
        let old = group.file.clone();
        let new = step.must(group.open_file(bql, &files.paths[next], &name))?;
        let single = single_parent(bql, &old).filter(|_| by_edge);
        let mut section = old.drain(bql);
        self.check_quiet(&section, &old, &step)?;
        step.must(copy(&mut section, &new, &written).map_err(GraphError::from))?;
        self.check_quiet(&section, &old, &step)?;
        if self.during.is_none() && !self.world.groups[number].filters.is_empty() {
            self.during = Some(Snapshot::take(&section));
        }
        match single {
            // One parent: its edge is set. Several: all of them are redirected.
            Some((parent, edge)) => {
                step.must(section.also(&parent).replace_child(&edge, &new))?;
            }
            None => step.must(section.replace_with(&new))?,
        }
        section.end();
        self.check_replaced(bql, &step, &old, &new)?;
        let group = &mut self.world.groups[number];
        group.file = new;
        if let Below::Files(files) = &mut group.below {
            files.current = next;
        }
        step.must(spoil(&mut old.drain(bql), &written).map_err(GraphError::from))?;
        Ok(Kind::FileReplaced)
    }

    fn check_replaced(
        &self,
        bql: &BqlGuard,
        step: &Step,
        old: &Node,
        new: &Node,
    ) -> Result<(), crate::tour::failure::Failure> {
        step.promise(old.view(bql).parents().count() == 0, || {
            format!("'{}' was replaced and still has parents", old.name())
        })?;
        step.promise(new.view(bql).parents().count() > 0, || {
            format!("'{}' took a place and has no parents", new.name())
        })
    }
}

/// The parent of a node and the name of its edge, if there is one parent and
/// that is a node.
fn single_parent(bql: &mut BqlGuard, node: &Node) -> Option<(Node, String)> {
    let mut parents = node.view(bql).parents();
    let edge = parents.next()?;
    if parents.next().is_some() {
        return None;
    }
    let (parent, name) = (
        edge.parent_node()?.name().to_owned(),
        edge.name().to_owned(),
    );
    Some((Node::find(bql, &parent)?, name))
}

/// Reads the ranges from the drained node and writes them to another one:
/// I/O of the section's owner, which passes the gates that it keeps closed.
fn copy(section: &mut Drained<'_>, to: &Node, ranges: &[Range<u64>]) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(CHUNK as usize);
    for (at, bytes) in chunked(ranges) {
        section.io(async |request: Request<'_>| {
            let (into, _) = buffer.destination().split_at(bytes);
            request.read(at, into).await
        })?;
        section.also(to).io(async |request: Request<'_>| {
            let (from, _) = buffer.source().split_at(bytes);
            request.write(at, from).await
        })?;
    }
    Ok(())
}

fn spoil(section: &mut Drained<'_>, ranges: &[Range<u64>]) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(CHUNK as usize);
    buffer.as_mut_slice().fill(STALE);
    for (at, bytes) in chunked(ranges) {
        section.io(async |request: Request<'_>| {
            let (stale, _) = buffer.source().split_at(bytes);
            request.write(at, stale).await
        })?;
    }
    Ok(())
}

fn chunked(ranges: &[Range<u64>]) -> impl Iterator<Item = (u64, usize)> {
    ranges.iter().flat_map(|range| {
        let starts = range.clone().step_by(CHUNK as usize);
        starts.map(|at| (at, CHUNK.min(range.end - at) as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_ranges() {
        let ranges = [0..10, CHUNK..3 * CHUNK + 5];
        let chunks: Vec<_> = chunked(&ranges).collect();
        assert_eq!(
            chunks,
            [
                (0, 10),
                (CHUNK, CHUNK as usize),
                (2 * CHUNK, CHUNK as usize),
                (3 * CHUNK, 5)
            ]
        );
    }
}
