//! Another backing image for the active one, further down: what those between
//! have is moved up first.

use block_gs::{BqlGuard, GraphError};
use block_io::{Activity, Request};

use super::name_backing;
use crate::draw::Snapshot;
use crate::tour::chain::copy::pull;
use crate::tour::changes::{Changer, Kind, Outcome};

impl Changer {
    /// Moves into the active image what it needs of the images that will go,
    /// and gives it another one below, or none. The data moves in the section
    /// in which the link is set, or before, while requests run: then reads and
    /// writes of the load meet those of the copy.
    pub(super) fn pass_images(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let mut layers = self.chain(number).layers.clone();
        let (length, active) = (
            self.chain(number).length,
            self.chain(number).active().clone(),
        );
        let kept = self.rng.below(layers.len() as u64 - 1) as usize;
        let base = kept.checked_sub(1).map(|place| layers[place].clone());
        let quietly = self.rng.once_in(2);
        let step = self.begin(format!(
            "go from '{}' to '{}' directly, what is between moved {}",
            active.node.name(),
            base.as_ref().map_or("nothing", |base| base.node.name()),
            if quietly {
                "in a section"
            } else {
                "under load"
            }
        ));
        let below = base.as_ref().map(|base| base.node.io().clone());
        active.node.drain(bql).track_overlaps();
        if !quietly {
            let image = active.node.io().clone();
            let moved = bql.block_on(async {
                let activity = Activity::begin(image).await;
                pull(activity.request(), below.as_deref(), length).await
            });
            step.must(moved.map_err(GraphError::from))?;
        }
        let mut section = active.node.drain(bql);
        self.check_quiet(&section, &active.node, &step)?;
        if quietly {
            let moved = section
                .io(async |request: Request<'_>| pull(request, below.as_deref(), length).await);
            step.must(moved.map_err(GraphError::from))?;
        }
        let before = self.chain_picture.as_ref().map_or(0, |(images, _)| *images);
        if layers.len() > before {
            self.chain_picture = Some((layers.len(), Snapshot::take(&section)));
        }
        step.must(name_backing(&mut section, base.as_ref()).map_err(GraphError::from))?;
        step.must(section.set_backing(base.as_ref().map(|base| &base.node)))?;
        self.check_quiet(&section, &active.node, &step)?;
        section.end();
        layers.truncate(kept);
        layers.push(active);
        self.set_layers(bql, number, layers, &step)?;
        Ok(Kind::ImagesPassed)
    }
}
