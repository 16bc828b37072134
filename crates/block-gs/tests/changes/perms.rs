//! The permissions that drivers ask for when they have no rules of their own.

use block_common::role::ParentState;
use block_gs::{ChildPermQuery, Perm, PermPair, Role};

use crate::common::{Mem, above, backend, in_layer, node};

const READ: Perm = Perm::CONSISTENT_READ;
const WRITE: Perm = Perm::WRITE;
const UNCHANGED: Perm = Perm::WRITE_UNCHANGED;
const RESIZE: Perm = Perm::RESIZE;

fn pair(perm: Perm, shared: Perm) -> PermPair {
    PermPair { perm, shared }
}

#[test]
fn the_default_rules_depend_on_role_state_and_users() {
    let query = |role, parent, cumulative| {
        ChildPermQuery {
            name: "child",
            role,
            parent,
            cumulative,
        }
        .default_perms()
    };
    let (open, locked) = (ParentState::active(true), ParentState::active(false));
    let guest = pair(READ | WRITE, Perm::all() - WRITE);
    // A filter is not there.
    let filter = Role::FILTERED | Role::PRIMARY;
    assert_eq!(query(filter, open, guest), guest);
    // A backing image is read, and changes only if those above can bear it.
    let still = pair(READ, READ | UNCHANGED);
    assert_eq!(query(Role::COW, open, guest), still);
    let tolerant = pair(WRITE, Perm::all());
    let moving = pair(Perm::empty(), READ | UNCHANGED | WRITE | RESIZE);
    assert_eq!(query(Role::COW, open, tolerant), moving);
    // A format writes its file whoever uses it, unless it must not.
    let format = pair(READ | WRITE | RESIZE, READ | UNCHANGED);
    assert_eq!(query(Role::IMAGE, open, guest), format);
    let reader = pair(READ, Perm::all());
    assert_eq!(query(Role::IMAGE, open, reader), format);
    let looks = pair(READ, READ | UNCHANGED);
    assert_eq!(query(Role::IMAGE, locked, reader), looks);
    // Data alone is written as the node is, and may grow with it.
    let data = pair(READ | WRITE | RESIZE, Perm::all() - WRITE - RESIZE);
    assert_eq!(query(Role::DATA, open, guest), data);
    let reads = pair(READ, Perm::all() - RESIZE);
    assert_eq!(query(Role::DATA, open, reader), reads);
    // Without I/O of its own a format need not see its file.
    let closed = ParentState {
        no_io: true,
        ..locked
    };
    let nobody = pair(Perm::empty(), Perm::all());
    let metadata = pair(Perm::empty(), READ | UNCHANGED);
    assert_eq!(query(Role::METADATA, closed, nobody), metadata);
}

#[test]
fn a_driver_without_rules_of_its_own_follows_them() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let (image, _) =
            above(bql, "image", Mem::of(512), "file", &disk, Role::IMAGE).expect("opened");
        let _front = backend(bql, "front", &image);
        let view = image.view(bql);
        let edge = view.primary_child().expect("a file");
        let query = ChildPermQuery {
            name: edge.name(),
            role: edge.role(),
            parent: ParentState::active(true),
            cumulative: pair(view.cumulative_perm(), view.cumulative_shared()),
        };
        assert_eq!(query.default_perms(), pair(edge.perm(), edge.shared()));
    });
}
