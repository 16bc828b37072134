//! Carrying out what a transaction has planned.
//!
//! What may wait comes first: drivers get ready, nodes are covered, contexts
//! brought together. Then changes are made and permissions asked for, and
//! nothing waits any more. What has been done is taken back if anything is
//! refused.

use block_common::error::errno;
use block_common::{GraphError, IoError};
use block_io::Request;
use block_io::aio::AioContext;
use smallvec::SmallVec;

use super::step::Applied;
use super::{Action, Change};
use crate::graph::section::Section;
use crate::graph::write;
use crate::reopen::{AfterReopen, Ready};
use crate::{BqlGuard, Node, buffers, context_change, limits, permissions};

/// How often the graph is looked at that others change at the same time.
const TRIES: u32 = 64;

/// Changes being made. Unless finished, dropping it takes them all back, also
/// when a callback of a driver panics; once they are decided, what is left to
/// do is done.
pub(super) struct Attempt<'t> {
    bql: &'t mut BqlGuard,
    section: &'t mut Section,
    applied: Applied,
    moved: Vec<(Node, AioContext)>,
    /// Nodes to be reopened, in order, that can be.
    ready: Vec<Ready>,
    /// What drivers have agreed to because of them.
    agreed: permissions::Agreed,
    /// Nodes that have been reopened, and what they still have to do.
    reopened: Vec<(Node, AfterReopen)>,
    /// Some node may have been reopened: there is no way back.
    decided: bool,
}

impl<'t> Attempt<'t> {
    pub fn new(bql: &'t mut BqlGuard, section: &'t mut Section) -> Self {
        Attempt {
            bql,
            section,
            applied: Applied::default(),
            moved: Vec::new(),
            ready: Vec::new(),
            agreed: permissions::Agreed::default(),
            reopened: Vec::new(),
            decided: false,
        }
    }

    /// Makes the changes, or leaves everything as it is.
    pub fn carry_out(mut self, changes: &[Change]) -> Result<(), GraphError> {
        self.prepare(changes)?;
        self.cover(changes)?;
        self.make(changes)?;
        self.finish();
        Ok(())
    }

    /// Lets the drivers of nodes that are reopened get ready. They may poll.
    fn prepare(&mut self, changes: &[Change]) -> Result<(), GraphError> {
        let reopened = changes.iter().filter_map(|change| match &change.action {
            Action::Reopen(options) => Some((&change.subject, options)),
            _ => None,
        });
        let reopened: SmallVec<[_; 2]> = reopened.collect();
        if reopened.is_empty() {
            return Ok(());
        }
        let needed = nodes_to_cover(self.bql, changes);
        self.section.cover(self.bql, needed);
        for &(node, _) in &reopened {
            flush(self.bql, node)?;
        }
        for (node, options) in reopened {
            let ready = Ready::prepare(self.bql, node, options)?;
            self.ready.push(ready);
        }
        Ok(())
    }

    /// Quiesces what the changes need quiesced, and brings together what they
    /// connect.
    ///
    /// # Errors
    /// `EBUSY` when what runs meanwhile changes what that is all the time.
    fn cover(&mut self, changes: &[Change]) -> Result<(), GraphError> {
        // Covering polls, and so does moving. What runs meanwhile may put
        // another node below a filter, so look again.
        for _ in 0..TRIES {
            let needed = nodes_to_cover(self.bql, changes);
            self.section.cover(self.bql, needed);
            merge_contexts(self.bql, changes, &mut self.moved)?;
            let needed = nodes_to_cover(self.bql, changes);
            let covers = |node: &Node| self.section.covers(node.key(self.bql));
            let covered = needed.iter().all(covers);
            if covered && self.section.is_current(self.bql.graph()) {
                return Ok(());
            }
        }
        Err(GraphError::Refused {
            message: "The nodes to be changed are changed by others all the time".to_owned(),
            errno: errno::EBUSY,
        })
    }

    fn make(&mut self, changes: &[Change]) -> Result<(), GraphError> {
        for change in changes {
            change.apply(self.bql, self.section, &mut self.applied)?;
        }
        let reshaped = self.applied.reshaped.clone();
        limits::refresh(self.bql, self.section, reshaped, &mut self.applied.limits)?;
        buffers::tell_new(self.bql)?;
        let touched = self.applied.touched.clone();
        if self.ready.is_empty() {
            return permissions::refresh(self.bql, touched);
        }
        self.agreed = permissions::check(self.bql, touched)?;
        Ok(())
    }

    fn finish(mut self) {
        self.decided = true;
        self.settle();
        for (node, after) in std::mem::take(&mut self.reopened) {
            let mut section = node.drain(self.bql);
            // Whether it has another length its driver knows. If it cannot
            // tell, what was known is still the best that is known.
            let _ = section.io(async |request: Request<'_>| request.refresh_length().await);
            if let Some(after) = after {
                after(&mut section);
            }
        }
        // What `applied` has kept is let go now; nodes that have lost their
        // last parent are closed when the main loop next runs.
    }

    /// Does what is left to do of changes that are decided. Can be called
    /// again when a driver has panicked.
    fn settle(&mut self) {
        self.applied.decide();
        self.moved.clear();
        while let Some(ready) = self.ready.pop() {
            self.applied.reshaped.push(ready.key(self.bql));
            let reopened = ready.commit(self.bql, self.section);
            self.reopened.push(reopened);
        }
        self.agreed.grant(self.bql);
        for edge in std::mem::take(&mut self.applied.removed) {
            write::free(self.bql, edge);
        }
        self.applied.limits.clear();
        if !self.reopened.is_empty() {
            let reshaped = std::mem::take(&mut self.applied.reshaped);
            // A reopened node that cannot say what it needs keeps what it had.
            let before = &mut Vec::new();
            let _ = limits::refresh(self.bql, self.section, reshaped, before);
        }
    }

    /// Takes back what has been done. Can be called again when a driver has
    /// panicked.
    fn roll_back(&mut self) {
        self.agreed.take_back(self.bql);
        let before = std::mem::take(&mut self.applied.limits);
        limits::put_back(self.bql, self.section, before);
        self.applied.roll_back(self.bql, self.section);
        while let Some(ready) = self.ready.pop() {
            ready.abort(self.bql);
        }
        let moved = std::mem::take(&mut self.moved);
        if !std::thread::panicking() {
            context_change::move_back(self.bql, moved);
        }
    }

    fn end(&mut self) {
        match self.decided {
            true => self.settle(),
            false => self.roll_back(),
        }
        buffers::schedule(self.bql);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        Ending(self).0.end();
    }
}

/// An attempt that ends. A driver that panics meanwhile does not keep the rest
/// from being done.
struct Ending<'e, 't>(&'e mut Attempt<'t>);

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What was written to the node is written out before it is reopened.
fn flush(bql: &mut BqlGuard, node: &Node) -> Result<(), GraphError> {
    if node.view(bql).is_inactive() {
        return Ok(());
    }
    let mut section = node.drain(bql);
    let flushed = section.io(async |request: Request<'_>| request.flush().await);
    flushed.map_err(|error| {
        let text = format!("Error flushing drive: {error}");
        IoError::refused(error.errno(), text).into()
    })
}

/// What all of the changes need covered, as the graph is now.
fn nodes_to_cover(bql: &BqlGuard, changes: &[Change]) -> SmallVec<[Node; 4]> {
    let each = changes.iter();
    each.flat_map(|change| change.nodes_to_cover(bql)).collect()
}

/// Puts what will be connected into one context; this may poll, so it comes
/// before the first change.
fn merge_contexts(
    bql: &mut BqlGuard,
    changes: &[Change],
    moved: &mut Vec<(Node, AioContext)>,
) -> Result<(), GraphError> {
    for change in changes {
        if let Some(other) = change.joins() {
            context_change::merge(bql, &change.subject, other, moved)?;
        }
    }
    // One pair may have pulled apart what another had brought together.
    let mut joined = changes
        .iter()
        .filter_map(|change| Some((&change.subject, change.joins()?)));
    let apart = joined.any(|(one, other)| one.io().context() != other.io().context());
    if apart {
        return Err(GraphError::ContextOfActiveBackend);
    }
    Ok(())
}
