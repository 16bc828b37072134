//! Accept A1: Helpers without state are called from statics, tasks, closures and generic code.
//! QEMU: V015-V021, V025, V086, functions sorted as global state that touch none.
//! Why: What asks for no proof can be a constant, a function pointer or an iterator's closure.

use block_common::names::check_node_name;
use block_gs::{BqlGuard, Perm, Role};
use std::collections::BTreeSet;
use ui_tests::{in_main_loop, iothread};

static READ_WRITE: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE);
static CHECKS: &[fn(Role) -> bool] = &[Role::is_valid];

fn all_valid<I: IntoIterator<Item: AsRef<str>>>(names: I) -> bool {
    names
        .into_iter()
        .all(|name| check_node_name(name.as_ref()).is_ok())
}

fn main() {
    assert!(READ_WRITE.contains(Perm::WRITE));
    assert!(CHECKS.iter().all(|check| check(Role::COW)));
    in_main_loop(|bql: &mut BqlGuard| {
        let names = BTreeSet::from(["disk", "overlay"]);
        let checked = iothread(bql, "io0")
            .context()
            .spawn(async move { all_valid(&names) });
        assert!(bql.block_on(checked));
        assert!(!all_valid(["no/slashes"]));
        Ok(())
    });
}
