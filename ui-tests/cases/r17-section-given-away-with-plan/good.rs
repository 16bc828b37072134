//! Twin of bad.rs: the plan is committed, and then the section given away.

use block_gs::{BqlGuard, Drained, GraphError, Transaction};
use ui_tests::{in_main_loop, null, overlay};

fn finish(section: Drained<'_>, changes: Result<(), GraphError>) -> Result<(), GraphError> {
    section.end();
    changes
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes: Transaction<'_> = section.transaction();
        changes.set_backing(None);
        let committed = changes.commit();
        finish(section, committed)?;
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
