//! Accept A1: Helpers without state need no proof, on any thread.
//! QEMU: V015-V021, V025, V086, functions sorted as global state that touch none.
//! Why: `block-common` knows no proof, so nothing in it can ask for one.

use block_common::{names, role};
use block_gs::{ParentState, Perm, PermPair, Role};

fn main() {
    let helpers = std::thread::spawn(|| {
        let (reader, shared) = (Perm::CONSISTENT_READ, Perm::all());
        let asked = PermPair {
            perm: reader,
            shared,
        };
        let backing = role::default_child_perms(Role::COW, ParentState::active(true), asked);
        (
            backing.perm,
            names::check_node_name("node").is_ok(),
            Role::IMAGE.is_valid(),
        )
    });
    assert_eq!(
        helpers.join().expect("no panic"),
        (Perm::CONSISTENT_READ, true, true)
    );
}
