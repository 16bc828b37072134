//! Other options for an image that is in use.

use block_gs::BqlGuard;
use serde_json::json;

use crate::tour::chain::make::options;
use crate::tour::changes::{Changer, Kind, Outcome};

impl Changer {
    /// Reopens some image with other options; one that is not the active image
    /// for reading only, or for writing too.
    pub(super) fn reopen_image(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let count = self.chain(number).layers.len();
        let place = self.rng.below(count as u64) as usize;
        let image = self.chain(number).layers[place].node.clone();
        let is_active = place + 1 == count;
        let checks = ["none", "constant", "cached", "all"];
        let said = json!({
            "overlap-check": self.rng.pick(&checks),
            "discard": if self.rng.once_in(2) { "unmap" } else { "ignore" },
            "read-only": !is_active && self.rng.once_in(2),
        });
        let step = self.begin(format!("reopen image '{}' with {said}", image.name()));
        let changed = options(&said);
        step.opened(changed.and_then(|changed| block_open::change_options(bql, &image, changed)))?;
        Ok(Kind::ImageReopened)
    }
}
