//! Chains: backing images, filters, and everybody above a node at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_gs::{
    Backend, BqlGuard, DetectZeroes, EdgeParent, GraphError, Node, NodeBuilder, NodeOptions,
    Parent, Perm, PermPair, Role, sections_opened,
};
use block_io::Request;

use crate::common::{Mem, above, backend, child_name, filter, in_layer, node, picture};

fn refused(result: Result<(), GraphError>) -> String {
    result.expect_err("should be refused").to_string()
}

fn overlay(bql: &mut BqlGuard, name: &str, below: &Node) -> Node {
    let (overlay, _) =
        above(bql, name, Mem::overlay(512), "backing", below, Role::COW).expect("an overlay");
    overlay
}

/// Stays at its node, as a job does.
struct Stays;

impl EdgeParent for Stays {
    fn describe(&self) -> String {
        "test job 'j'".into()
    }

    fn stays_at_node(&self) -> bool {
        true
    }
}

fn job(bql: &mut BqlGuard, node: &Node) -> Parent {
    let job = Parent::new(bql, Arc::new(Stays));
    job.attach(bql, "main node", node, Perm::empty(), Perm::all())
        .expect("attached");
    job
}

#[test]
fn a_backing_image_is_set_in_a_section_of_its_own_and_in_one_that_is_open() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, second) = node(bql, "two", Mem::of(512));
        let (top, _) = node(bql, "top", Mem::overlay(512));
        let _front = backend(bql, "front", &top);
        let mut drained = top.drain(bql);
        drained.set_backing(Some(&one)).expect("set");
        let below = drained.io(async |request: Request<'_>| {
            let backing = request.backing().expect("set");
            backing.node().name().to_owned()
        });
        assert_eq!(below, "one");
        drop(drained);
        // Of a backing image is read, and it must not change below its overlay.
        let edge = top.view(bql).cow_child().expect("set");
        assert_eq!(edge.perm(), Perm::CONSISTENT_READ);
        assert_eq!(edge.role(), Role::COW);

        // The caller has drained both: nothing more is quiesced.
        let mut outer = two.drain(bql);
        let begins = second.drain_begins.load(Ordering::Relaxed);
        let mut drained = outer.also(&top);
        let opened = sections_opened(&drained);
        drained.set_backing(Some(&two)).expect("replaced");
        assert_eq!(sections_opened(&drained), opened);
        assert_eq!(two.view(&drained).parents().count(), 1);
        drained.set_backing(None).expect("removed");
        drained.set_backing(Some(&two)).expect("set again");
        drop(drained);
        assert_eq!(second.drain_begins.load(Ordering::Relaxed), begins);
        assert_eq!(second.drained.load(Ordering::Relaxed), 1);
        drop(outer);
        assert_eq!(second.drained.load(Ordering::Relaxed), 0);
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("two"));
        assert_eq!(one.view(bql).parents().count(), 0);
        assert_eq!(top.view(bql).quiesce_count(), 0);
    });
}

#[test]
fn a_backing_image_that_somebody_writes_is_refused() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (other, _) = node(bql, "other", Mem::of(512));
        let top = overlay(bql, "top", &other);
        let front = Backend::new(bql, "front", Perm::WRITE, Perm::CONSISTENT_READ);
        let front = front.expect("a backend");
        front.insert(bql, &top).expect("inserted");
        let writer = backend(bql, "writer", &base);
        let before = picture(bql);
        let mut drained = top.drain(bql);
        let text = refused(drained.set_backing(Some(&base)));
        assert!(
            text.starts_with("Permission conflict on node 'base': permissions 'write'"),
            "{text}"
        );
        drop(drained);
        assert_eq!(picture(bql), before);
        writer.remove(bql);
        let mut drained = top.drain(bql);
        drained.set_backing(Some(&base)).expect("nobody writes");
        drop(drained);
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("base"));
    });
}

#[test]
fn what_is_appended_stands_between_a_node_and_everybody_who_may_leave() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::overlay(512));
        let front = backend(bql, "front", &disk);
        let over = overlay(bql, "over", &disk);
        let _job = job(bql, &disk);
        let (pass, _) = node(bql, "pass", Mem::filter());
        let mut drained = disk.drain(bql);
        drained.append(&pass).expect("appended");
        drop(drained);
        // A filter has it as its file, a format as its backing image.
        assert_eq!(child_name(bql, &pass, "file").as_deref(), Some("disk"));
        assert_eq!(front.node(bql), Some(pass.clone()));
        assert_eq!(child_name(bql, &over, "backing").as_deref(), Some("pass"));
        let (snapshot, _) = node(bql, "snapshot", Mem::overlay(512));
        let mut drained = pass.drain(bql);
        drained.append(&snapshot).expect("appended");
        drop(drained);
        assert_eq!(
            child_name(bql, &snapshot, "backing").as_deref(),
            Some("pass")
        );
        assert_eq!(front.node(bql), Some(snapshot));
        let parents: Vec<_> = disk
            .view(bql)
            .parents()
            .map(|edge| edge.parent().to_string())
            .collect();
        assert_eq!(parents.len(), 2, "{parents:?}");
        assert!(parents.iter().any(|parent| parent.contains("test job 'j'")));
    });
}

#[test]
fn a_filter_that_is_dropped_gives_its_parents_to_what_it_shows() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::overlay(512));
        let (pass, _) = filter(bql, "pass", &disk);
        let front = backend(bql, "front", &pass);
        let over = overlay(bql, "over", &pass);
        let _job = job(bql, &pass);
        let mut drained = pass.drain(bql);
        drained.drop_filter().expect("dropped");
        drop(drained);
        assert_eq!(front.node(bql), Some(disk.clone()));
        assert_eq!(child_name(bql, &over, "backing").as_deref(), Some("disk"));
        // Who stays with the filter stays with nothing below it.
        assert_eq!(pass.view(bql).parents().count(), 1);
        assert_eq!(pass.view(bql).children().count(), 0);
        let writes = Perm::CONSISTENT_READ | Perm::WRITE;
        assert!(disk.view(bql).cumulative_perm().contains(writes));
        let mut drained = disk.drain(bql);
        assert_eq!(
            refused(drained.drop_filter()),
            "Node 'disk' is not a filter"
        );
    });
}

#[test]
fn everybody_who_may_goes_to_the_other_node_or_nobody_does() {
    in_layer(|bql| {
        let (old, _) = node(bql, "old", Mem::overlay(512));
        let (new, _) = node(bql, "new", Mem::overlay(512));
        let front = backend(bql, "front", &old);
        let over = overlay(bql, "over", &old);
        let _job = job(bql, &old);
        let exclusive = PermPair {
            perm: Perm::empty(),
            shared: Perm::all() - Perm::WRITE,
        };
        let alone = Backend::new(bql, "alone", exclusive.perm, exclusive.shared);
        let alone = alone.expect("a backend");
        alone.insert(bql, &new).expect("inserted");
        let before = picture(bql);
        let mut drained = old.drain(bql);
        let text = refused(drained.replace_with(&new));
        assert!(
            text.starts_with("Permission conflict on node 'new'"),
            "{text}"
        );
        drop(drained);
        assert_eq!(picture(bql), before);
        assert_eq!(front.root().quiesce_count(), 0);
        alone.remove(bql);
        let mut drained = old.drain(bql);
        drained.replace_with(&new).expect("replaced");
        // What was drained stays so, wherever it has gone.
        assert_eq!(front.root().quiesce_count(), 1);
        drop(drained);
        assert_eq!(front.root().quiesce_count(), 0);
        assert_eq!(front.node(bql), Some(new.clone()));
        assert_eq!(child_name(bql, &over, "backing").as_deref(), Some("new"));
        assert_eq!(old.view(bql).parents().count(), 1, "the job stays");
    });
}

#[test]
fn what_lies_between_is_taken_out_for_every_parent() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::overlay(512));
        let mid = overlay(bql, "mid", &base);
        let (pass, _) = filter(bql, "pass", &mid);
        let front = backend(bql, "front", &pass);
        let before = picture(bql);
        let mut drained = base.drain(bql);
        assert_eq!(
            refused(drained.drop_intermediate(&pass, None)),
            "'pass' is not in the backing chain of 'base'"
        );
        drop(drained);
        // A job that stays keeps all where they are.
        let stays = job(bql, &pass);
        let mut drained = pass.drain(bql);
        let stuck = refused(drained.drop_intermediate(&base, None));
        assert_eq!(stuck, "Should not change 'main node' link to 'pass'");
        drop(drained);
        drop(stays);
        while bql.poll(block_io::aio::Wait::No) {}
        assert_eq!(picture(bql), before);

        let mut drained = pass.drain(bql);
        drained.drop_intermediate(&base, None).expect("dropped");
        assert_eq!(front.root().quiesce_count(), 1);
        drop(drained);
        assert_eq!(front.node(bql), Some(base.clone()));
        assert_eq!(front.root().quiesce_count(), 0);
        assert_eq!(pass.view(bql).parents().count(), 0);
        // What was taken out holds together still.
        assert_eq!(child_name(bql, &pass, "file").as_deref(), Some("mid"));
        assert_eq!(child_name(bql, &mid, "backing").as_deref(), Some("base"));
    });
}

/// An overlay that is open for reading cannot name another backing image.
#[test]
fn a_header_that_is_not_to_be_written_keeps_the_chain_together() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::overlay(512));
        let mid = overlay(bql, "mid", &base);
        let options = NodeOptions {
            read_only: true,
            detect_zeroes: DetectZeroes::Off,
            ..NodeOptions::default()
        };
        let top = NodeBuilder::new("top")
            .options(options)
            .child("backing", &mid, Role::COW)
            .open(bql, Arc::new(Mem::overlay(512)))
            .expect("opened");
        let before = picture(bql);
        let mut drained = mid.drain(bql);
        let text = refused(drained.drop_intermediate(&base, Some("base")));
        assert!(
            text.starts_with("Could not update backing file link"),
            "{text}"
        );
        drop(drained);
        assert_eq!(picture(bql), before);
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("mid"));
    });
}
