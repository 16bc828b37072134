//! Drained sections for their own sake.

use std::time::Duration;

use block_gs::{BqlGuard, Node, drain_all, drain_many};
use block_io::Request;
use block_io::aio::sleep;

use super::{Changer, Outcome};

impl Changer {
    /// Drains a node, several, or all, and checks that nothing moves.
    pub(super) fn drain_some(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let pause = Duration::from_micros(self.rng.below(500));
        match self.rng.below(3) {
            0 => {
                let file = self.disks[number].file.clone();
                self.begin(format!("drain '{}'", file.name()));
                let mut section = file.drain(bql);
                self.check_quiet(number)?;
                section.block_on(sleep(pause));
                self.check_quiet(number)?;
                // Nothing was dropped that still goes on: this settles.
                self.disks[number].disk.check_unused()?;
                let flushed = section.io(async |request: Request<'_>| request.flush().await);
                flushed.map_err(|error| format!("the flush failed: {error}"))?;
            }
            1 => {
                let files = self.files();
                self.begin(format!("drain {} files at once", files.len()));
                let section = drain_many(bql, files);
                for number in 0..self.disks.len() {
                    self.check_quiet(number)?;
                }
                section.end();
            }
            _ => {
                self.begin("drain all".to_owned());
                let mut section = drain_all(bql);
                section.with(|bql| bql.run_for(pause));
                for number in 0..self.disks.len() {
                    self.check_quiet(number)?;
                    self.disks[number].disk.check_unused()?;
                }
                section.end();
            }
        }
        Ok("sections, no change")
    }

    fn files(&self) -> Vec<Node> {
        self.disks.iter().map(|held| held.file.clone()).collect()
    }
}
