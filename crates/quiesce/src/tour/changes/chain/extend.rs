//! A snapshot: a new image on top, and what was written so far stays below.

use block_gs::BqlGuard;

use crate::tour::chain::make::Shape;
use crate::tour::changes::{Changer, Kind, Outcome};

impl Changer {
    /// Puts a new image above the active one, under running requests. Now and
    /// then what is below becomes read-only, as nobody writes there any more.
    pub(super) fn add_overlay(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let shape = Shape::some(&mut self.rng);
        let seal = self.rng.once_in(2);
        let mut layers = self.chain(number).layers.clone();
        let active = self.chain(number).active().clone();
        let step = self.begin(format!("put an overlay on '{}'", active.node.name()));
        let Some(chain) = self.world.groups[number].chain_mut() else {
            return Ok(Kind::Overtaken);
        };
        let overlay = step.opened(chain.image(bql, &shape, Some(&active)))?;
        let mut section = active.node.drain(bql);
        self.check_quiet(&section, &active.node, &step)?;
        step.must(section.append(&overlay.node))?;
        self.check_quiet(&section, &active.node, &step)?;
        section.end();
        layers.push(overlay);
        self.set_layers(bql, number, layers, &step)?;
        if seal {
            step.opened(block_open::set_read_only(bql, &active.node, true))?;
        }
        Ok(Kind::OverlayAdded)
    }
}
