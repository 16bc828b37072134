//! Twin of bad.rs: the caller says which of the two it has.

use block_gs::{Backend, BqlGuard, MainOrHome};
use ui_tests::{SIZE, disk, in_main_loop, null};

trait Caller {
    type Proof: MainOrHome;
    fn proof(&mut self) -> &mut Self::Proof;
    fn disk(&self) -> &Backend;
}

impl Caller for (&mut BqlGuard, Backend) {
    type Proof = BqlGuard;
    fn proof(&mut self) -> &mut BqlGuard {
        self.0
    }
    fn disk(&self) -> &Backend {
        &self.1
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let mut caller = (bql, disk);
        let disk = caller.disk().clone();
        assert_eq!(disk.length_blocking(caller.proof())?, SIZE);
        Ok(())
    });
}
