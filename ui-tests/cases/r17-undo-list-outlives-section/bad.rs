//! Rule R17: A list of things to complete does not outlive the section of one of them.
//! QEMU: None recorded. A transaction is a list of callbacks with void pointers.
//! Shape: trait-object.
//! Why: A boxed closure has the lifetime of the plan inside.

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
        section.end();
        //~^ E0505 "cannot move out of `section` because it is borrowed"
        steps.into_iter().try_for_each(|step| step())?;
        Ok(())
    });
}
