//! What is done to the chain of qcow2 images: it grows by a snapshot, and
//! becomes shorter by a commit, by moving data up, or by going over to another
//! base.
//!
//! The headers follow the graph, so that in the end the images can be opened
//! by what they say. An image that is taken out is spoilt at once: a request
//! that still went there would show.

mod commit;
mod extend;
mod options;
mod rebase;
mod shorten;

use std::fs::OpenOptions;
use std::io::Write as _;

use block_gs::{Backend, BqlGuard, Drained, GraphError, IoError, Node};
use block_io::{BackingName, Request};

use super::{Changer, Kind, Outcome, Step};
use crate::tour::chain::make::file_name;
use crate::tour::chain::{self, Chain, Layer};
use crate::tour::failure::Failure;
use crate::tour::image::STALE;

/// Images in a chain at most.
const MOST: usize = 5;

/// The changes of a chain, each of which is made once at least.
pub(super) const CHANGES: [Kind; 6] = [
    Kind::OverlayAdded,
    Kind::OverlayCommitted,
    Kind::ImagesPassed,
    Kind::Rebased,
    Kind::ImageReopened,
    Kind::ImageChecked,
];

impl Changer {
    /// Makes one of the changes: one that has not been made yet if that is
    /// possible, otherwise any that is.
    pub(super) fn change_chain(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let images = self.chain(number).layers.len();
        let possible = |kind: &Kind| match kind {
            Kind::OverlayAdded => images < MOST,
            Kind::OverlayCommitted | Kind::ImagesPassed | Kind::Rebased => images > 1,
            _ => true,
        };
        let possible: Vec<Kind> = CHANGES.into_iter().filter(possible).collect();
        let made = self.watch.run.counts();
        let new = possible.iter().find(|kind| !made.contains_key(kind));
        // So that there is something to be taken out, as a rule.
        let grow = images < MOST && self.rng.once_in(3);
        let kind = match new {
            Some(kind) => *kind,
            None if grow => Kind::OverlayAdded,
            None => self.rng.pick(&possible).copied().unwrap_or(CHANGES[0]),
        };
        match kind {
            Kind::OverlayAdded => self.add_overlay(bql, number),
            Kind::OverlayCommitted => self.commit_overlay(bql, number),
            Kind::ImagesPassed => self.pass_images(bql, number),
            Kind::Rebased => self.rebase(bql, number),
            Kind::ImageReopened => self.reopen_image(bql, number),
            _ => self.check_image(bql, number),
        }
    }

    /// Whether each change of a chain has been made.
    pub fn has_made_the_round(&self) -> bool {
        let made = self.watch.run.counts();
        CHANGES.iter().all(|kind| made.contains_key(kind))
    }

    fn chain(&self, number: usize) -> &Chain {
        let chain = self.world.groups[number].chain();
        chain.expect("the group was chosen for its chain")
    }

    fn backend(&self, number: usize) -> Backend {
        self.world.groups[number].disks[0].backend.clone()
    }

    /// Looks whether an image is consistent, in a drained section.
    fn check_image(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let place = self.rng.below(self.chain(number).layers.len() as u64) as usize;
        let image = self.chain(number).layers[place].node.clone();
        let step = self.begin(format!("check image '{}'", image.name()));
        let found = step.must(chain::check(bql, &image).map_err(GraphError::from))?;
        match found {
            None => Ok(Kind::ImageChecked),
            Some(findings) => Err(Failure::Inconsistent {
                image: format!("the image '{}'", image.name()),
                findings,
                step: step.number,
            }),
        }
    }

    /// The images of the group are these now, the base first. What is not
    /// among them any more is spoilt, and filters that were there are
    /// forgotten.
    fn set_layers(
        &mut self,
        bql: &mut BqlGuard,
        number: usize,
        layers: Vec<Layer>,
        step: &Step,
    ) -> Result<(), Failure> {
        let group = &mut self.world.groups[number];
        let active = &layers[layers.len() - 1];
        group.file = active.file.clone();
        group.disks[0].format = active.node.clone();
        let Some(chain) = group.chain_mut() else {
            return Ok(());
        };
        let before = std::mem::replace(&mut chain.layers, layers);
        let kept: Vec<&Node> = chain.layers.iter().map(|layer| &layer.node).collect();
        let gone = before.iter().filter(|layer| !kept.contains(&&layer.node));
        for layer in gone {
            step.must(spoil(layer).map_err(|error| IoError::from(error).into()))?;
        }
        if let Some(top) = group.disks[0].backend.node(bql) {
            group.filters.retain(|filter| top.contains(bql, filter));
        }
        self.check_links(bql, number, step)
    }

    /// Every image is in the place that it was given.
    fn check_links(&self, bql: &BqlGuard, number: usize, step: &Step) -> Result<(), Failure> {
        let layers = &self.chain(number).layers;
        let mut below = None;
        for layer in layers {
            let found = layer.node.view(bql).backing_chain_next();
            step.promise(found.map(|found| found.node(bql)).as_ref() == below, || {
                format!("'{}' has another backing image", layer.node.name())
            })?;
            below = Some(&layer.node);
        }
        let top = self.world.groups[number].disks[0].backend.node(bql);
        let shown = top.as_ref().map(|top| top.view(bql).skip_filters());
        step.promise(shown.map(|shown| shown.node(bql)).as_ref() == below, || {
            "the backend shows another image".to_owned()
        })
    }
}

/// Lets the header of a drained image say what is below it.
fn name_backing(section: &mut Drained<'_>, below: Option<&Layer>) -> Result<(), IoError> {
    let file = below.map(|below| file_name(&below.path));
    let name = file.as_deref().map(|file| BackingName {
        file,
        format: Some("qcow2"),
    });
    section.io(async |request: Request<'_>| request.change_backing_file(name).await)
}

/// Overwrites an image that nobody should look at any more, and removes it.
fn spoil(layer: &Layer) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(&layer.path)?;
    let length = file.metadata()?.len();
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(STALE), length),
        &mut file,
    )?;
    file.flush()?;
    std::fs::remove_file(&layer.path)
}
