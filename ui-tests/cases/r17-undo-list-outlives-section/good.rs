//! Twin of bad.rs: the list is worked off before the section ends.

use block_gs::{BqlGuard, GraphError};
use ui_tests::{in_main_loop, null, overlay};

type Step<'t> = Box<dyn FnOnce() -> Result<(), GraphError> + 't>;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let changes = section.transaction();
        let steps: Vec<Step<'_>> = vec![Box::new(|| changes.commit())];
        steps.into_iter().try_for_each(|step| step())?;
        section.end();
        Ok(())
    });
}
