//! A commit: what the active image has is written into one below.

use block_drivers::Commit;
use block_gs::{BqlGuard, DrainedBackend};

use super::name_backing;
use crate::tour::chain::Layer;
use crate::tour::changes::{Changer, Kind, Outcome, Step};
use crate::tour::failure::Failure;

impl Changer {
    /// Commits the active image in a drained section of its backend, so that
    /// nothing is written between that and what follows: the image goes on
    /// empty, or the ones between it and where its contents went are passed by,
    /// or the image itself is.
    pub(super) fn commit_overlay(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let mut layers = self.chain(number).layers.clone();
        let place = self.rng.below(layers.len() as u64 - 1) as usize;
        let (base, active) = (layers[place].clone(), self.chain(number).active().clone());
        let goes = self.rng.once_in(2);
        let backend = self.backend(number);
        let step = self.begin(format!(
            "commit '{}' into '{}'{}",
            active.node.name(),
            base.node.name(),
            if goes { ", and go on there" } else { "" }
        ));
        if goes {
            // It will be written.
            step.opened(block_open::set_read_only(bql, &base.node, false))?;
        }
        let mut section = backend.drain(bql);
        self.check_quiet(&section, &active.node, &step)?;
        let commit = Commit::of(&active.node).into_base(&base.node);
        // Emptied, it would show what the images between have.
        let commit = commit.keep(goes || place + 2 < layers.len());
        step.must(section.with(|bql| commit.run(bql)))?;
        self.check_quiet(&section, &active.node, &step)?;
        layers.truncate(place + 1);
        if goes {
            step.must(section.also(&active.node).replace_with(&base.node))?;
        } else {
            pass(&mut section, &active, &base, &step)?;
            layers.push(active);
        }
        section.end();
        self.set_layers(bql, number, layers, &step)?;
        Ok(Kind::OverlayCommitted)
    }
}

/// What was between the two is passed by.
fn pass(
    section: &mut DrainedBackend<'_>,
    active: &Layer,
    base: &Layer,
    step: &Step,
) -> Result<(), Failure> {
    let mut section = section.also(&active.node);
    step.must(name_backing(&mut section, Some(base)).map_err(Into::into))?;
    step.must(section.set_backing(Some(&base.node)))
}
