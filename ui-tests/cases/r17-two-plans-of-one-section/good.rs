//! Twin of bad.rs: both changes are noted in one plan.

use block_gs::{BqlGuard, GraphError, Transaction};
use ui_tests::{in_main_loop, null, overlay};

fn commit_all<'t>(all: impl IntoIterator<Item = Transaction<'t>>) -> Result<(), GraphError> {
    all.into_iter().try_for_each(Transaction::commit)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(None).set_backing(Some(&base));
        commit_all([changes])?;
        assert_eq!(top.view(&section).children().count(), 1);
        Ok(())
    });
}
