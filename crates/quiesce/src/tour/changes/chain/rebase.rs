//! Another base with the same contents: `blockdev-reopen` sets the link.

use block_gs::{BqlGuard, GraphError};
use serde_json::json;

use super::name_backing;
use crate::tour::chain::copy;
use crate::tour::chain::make::{Shape, options};
use crate::tour::changes::{Changer, Kind, Outcome};

impl Changer {
    /// Copies what is shown below some image into a new one, while requests
    /// read there, and puts that in its place: the header names the copy, and
    /// a reopen with another `backing` changes the graph.
    pub(super) fn rebase(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let shape = Shape::some(&mut self.rng);
        let mut layers = self.chain(number).layers.clone();
        let place = self.rng.within(1..layers.len() as u64) as usize;
        let (old, image) = (layers[place - 1].clone(), layers[place].clone());
        let step = self.begin(format!(
            "copy '{}' with all that is below, and rebase '{}' onto the copy",
            old.node.name(),
            image.node.name()
        ));
        let Some(chain) = self.world.groups[number].chain_mut() else {
            return Ok(Kind::Overtaken);
        };
        let length = chain.length;
        let base = step.opened(chain.image(bql, &shape, None))?;
        let copied = copy::all(bql, &old.node, &base.node, length);
        step.must(copied.map_err(GraphError::from))?;
        let read_only = image.node.view(bql).is_read_only();
        if read_only {
            // Its header is to be written.
            step.opened(block_open::set_read_only(bql, &image.node, false))?;
        }
        let mut section = image.node.drain(bql);
        self.check_quiet(&section, &image.node, &step)?;
        step.must(name_backing(&mut section, Some(&base)).map_err(GraphError::from))?;
        section.end();
        // Filters may be between the image and its file.
        let file = image.node.view(bql).child("file");
        let file = file.map(|edge| edge.child().name().to_owned());
        let described = options(&json!({
            "driver": "qcow2",
            "node-name": image.node.name(),
            "read-only": read_only,
            "file": file,
            "backing": base.node.name(),
        }));
        step.opened(described.and_then(|options| block_open::reopen(bql, vec![options])))?;
        layers.splice(..place, [base]);
        self.set_layers(bql, number, layers, &step)?;
        Ok(Kind::Rebased)
    }
}
