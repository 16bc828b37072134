//! Who is asked when, and what is left when somebody refuses.

use block_gs::{
    Backend, BqlGuard, DetectZeroes, GraphError, IoThread, Node, NodeOptions, Perm, Role, nodes,
};

use crate::common::{Mem, backend, child_name, in_layer, node};
use crate::scribe::{
    Letter, Story, Trouble, letter, open, open_with, read_only, told, with_letter,
};

/// Everything that a reopen may change.
fn picture(bql: &BqlGuard) -> Vec<(String, NodeOptions, bool, Perm, Perm, u64)> {
    let seen = nodes(bql).map(|node| {
        let (perm, shared) = (node.cumulative_perm(), node.cumulative_shared());
        let name = node.name().to_owned();
        (
            name,
            node.options(),
            node.is_writable(),
            perm,
            shared,
            node.length(),
        )
    });
    seen.collect()
}

fn three(bql: &mut BqlGuard, story: &Story, last: Trouble) -> [Node; 3] {
    let one = open(bql, story, "one");
    let two = open(bql, story, "two");
    let three = open_with(bql, story, "three", last, NodeOptions::default(), None);
    [one, two, three]
}

fn reopen_all(bql: &mut BqlGuard, nodes: &[Node], to: u8) -> Result<(), GraphError> {
    let plans: Vec<_> = nodes
        .iter()
        .map(|node| with_letter(bql, node, to))
        .collect();
    let mut section = nodes[0].drain(bql);
    let mut changes = section.transaction();
    for (node, plan) in nodes.iter().zip(plans) {
        changes.at(node).reopen(plan);
    }
    changes.commit()
}

fn lines(text: &str) -> Vec<String> {
    text.split(", ").map(str::to_owned).collect()
}

#[test]
fn everybody_prepares_before_anybody_commits_and_the_last_commits_first() {
    in_layer(|bql| {
        let story = Story::default();
        let nodes = three(bql, &story, Trouble::None);
        reopen_all(bql, &nodes, b'b').expect("nobody minds");
        let mut story = told(&story);
        // Permissions are looked at in no order that matters here.
        story.retain(|line| !line.starts_with("check") && !line.starts_with("flush"));
        let (sets, rest): (Vec<_>, Vec<_>) = story.iter().partition(|line| line.starts_with("set"));
        assert_eq!(sets.len(), 3);
        let place = |line: &str| story.iter().position(|known| known == line).expect(line);
        assert!(place("commit one") < place(sets[0]) && place(sets[2]) < place("after three"));
        let rest: Vec<String> = rest.into_iter().cloned().collect();
        assert_eq!(
            rest,
            lines(
                "prepare one, prepare two, prepare three, commit three, commit two, commit one, \
                 after three, after two, after one"
            )
        );
        for node in &nodes {
            assert_eq!(letter(bql, node), b'b');
            assert_eq!(node.length(bql), 512 * u64::from(b'b'), "found out anew");
        }
    });
}

#[test]
fn all_are_flushed_before_the_first_prepares() {
    in_layer(|bql| {
        let story = Story::default();
        let nodes = three(bql, &story, Trouble::None);
        reopen_all(bql, &nodes, b'b').expect("nobody minds");
        let story = told(&story);
        let flushes = ["flush one", "flush two", "flush three"];
        assert_eq!(story[..4], [&flushes[..], &["prepare one"]].concat());
    });
}

#[test]
fn the_refusal_of_the_third_leaves_everything_as_it_was() {
    in_layer(|bql| {
        let story = Story::default();
        let nodes = three(bql, &story, Trouble::RefusesToPrepare);
        let _disks: Vec<Backend> = nodes.iter().map(|node| backend(bql, "", node)).collect();
        told(&story);
        let before = picture(bql);
        let refused = reopen_all(bql, &nodes, b'b').expect_err("three refuses");
        assert_eq!(refused.to_string(), "the test driver refuses");
        assert_eq!(
            told(&story)[3..],
            lines("prepare one, prepare two, prepare three, abort two, abort one")
        );
        assert_eq!(picture(bql), before);
        for node in &nodes {
            assert_eq!(letter(bql, node), b'a');
            assert_eq!(node.view(bql).quiesce_count(), 0);
        }
    });
}

#[test]
fn the_refusal_of_the_permission_system_leaves_everything_as_it_was() {
    in_layer(|bql| {
        let story = Story::default();
        let nodes = three(bql, &story, Trouble::None);
        let disk = backend(bql, "disk", &nodes[2]);
        told(&story);
        let before = picture(bql);
        let plans: Vec<_> = nodes
            .iter()
            .map(|node| read_only(bql, node, true))
            .collect();
        let mut section = nodes[0].drain(bql);
        let mut changes = section.transaction();
        for (node, plan) in nodes.iter().zip(plans) {
            changes.at(node).reopen(plan);
        }
        let refused = changes.commit().expect_err("three has a writer");
        section.end();
        let text = "Read-only block node 'three' cannot support read-write users";
        assert_eq!(refused.to_string(), text);
        let mut story = told(&story);
        story.retain(|line| line.starts_with("abort") || line.starts_with("commit"));
        assert_eq!(story, lines("abort three, abort two, abort one"));
        assert_eq!(picture(bql), before);
        let buffer = block_io::Buffer::zeroed(512);
        bql.block_on(disk.root().write(0, buffer.source()))
            .expect("still writable");
    });
}

#[test]
fn children_change_with_it_or_not_at_all() {
    in_layer(|bql| {
        let story = Story::default();
        let (base, _) = node(bql, "base", Mem::of(512));
        let (other, _) = node(bql, "other", Mem::of(512));
        let role = ("backing", &base, Role::COW);
        let top = open_with(
            bql,
            &story,
            "top",
            Trouble::None,
            NodeOptions::default(),
            Some(role),
        );
        let lower = open(bql, &story, "lower");
        let _disk = backend(bql, "disk", &lower);

        // The other one has a writer, so it cannot become read-only.
        let (up, down) = (with_letter(bql, &top, b'b'), read_only(bql, &lower, true));
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(up).set_backing(Some(&other));
        changes.at(&lower).reopen(down);
        let refused = changes.commit().expect_err("lower has a writer");
        assert!(
            matches!(refused, GraphError::ReadOnlyWithWriters(_)),
            "{refused}"
        );
        section.end();
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("base"));
        assert_eq!(letter(bql, &top), b'a');

        let up = with_letter(bql, &top, b'b');
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(up).set_backing(Some(&other));
        changes.commit().expect("nobody minds");
        section.end();
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("other"));
        assert_eq!(letter(bql, &top), b'b');
    });
}

#[test]
fn a_link_that_is_frozen_refuses_the_whole_reopen() {
    in_layer(|bql| {
        let story = Story::default();
        let (base, _) = node(bql, "base", Mem::of(512));
        let (other, _) = node(bql, "other", Mem::of(512));
        let role = ("backing", &base, Role::COW);
        let top = open_with(
            bql,
            &story,
            "top",
            Trouble::None,
            NodeOptions::default(),
            Some(role),
        );
        let frozen = top.freeze_chain(bql, &base).expect("not frozen");
        let plan = with_letter(bql, &top, b'b');
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(plan).set_backing(Some(&other));
        let refused = changes.commit().expect_err("a job relies on it");
        section.end();
        let text = "Cannot change frozen 'backing' link from 'top' to 'base'";
        assert_eq!(refused.to_string(), text);
        assert_eq!(letter(bql, &top), b'a');
        frozen.thaw(bql);
    });
}

#[test]
fn what_no_driver_can_change_is_refused_for_all() {
    in_layer(|bql| {
        let story = Story::default();
        let (mem, _) = node(bql, "mem", Mem::of(512));
        let scribe = open(bql, &story, "scribe");
        let text = |outcome: Result<(), GraphError>| outcome.expect_err("refused").to_string();
        let plan = read_only(bql, &mem, true);
        assert_eq!(
            text(mem.drain(bql).reopen(plan)),
            "Block format 'mem' used by node 'mem' does not support reopening files"
        );
        let now = scribe.view(bql).options();
        for (options, option) in [
            (
                NodeOptions {
                    force_share: true,
                    ..now
                },
                "force-share",
            ),
            (
                NodeOptions {
                    inactive: true,
                    ..now
                },
                "active",
            ),
        ] {
            let plan = block_gs::ReopenOptions::new(options);
            assert_eq!(
                text(scribe.drain(bql).reopen(plan)),
                format!("Cannot change the option '{option}'")
            );
        }
        let plan = block_gs::ReopenOptions::new(now).settings("not a letter");
        assert_eq!(
            text(scribe.drain(bql).reopen(plan)),
            "The settings are those of another driver"
        );
        assert_eq!(letter(bql, &scribe), b'a');
    });
}

#[test]
fn requests_see_the_new_options_and_limits() {
    in_layer(|bql| {
        let story = Story::default();
        let scribe = open(bql, &story, "scribe");
        let options = NodeOptions {
            unmap: true,
            no_flush: true,
            detect_zeroes: DetectZeroes::Unmap,
            ..NodeOptions::default()
        };
        let plan = block_gs::ReopenOptions::new(options).settings(Letter(b'Z'));
        let mut drained = scribe.drain(bql);
        drained.reopen(plan).expect("nobody minds");
        drained.end();
        assert_eq!(scribe.view(bql).options(), options);
        assert_eq!(scribe.view(bql).limits().request_alignment, 512);
        let plan = block_gs::ReopenOptions::new(NodeOptions::default());
        scribe.drain(bql).reopen(plan).expect("nobody minds");
        assert_eq!(scribe.view(bql).options(), NodeOptions::default());
        assert_eq!(letter(bql, &scribe), b'Z', "what it was not told stays");
    });
}

#[test]
fn of_a_node_that_is_asked_twice_the_later_counts() {
    in_layer(|bql| {
        let story = Story::default();
        let node = open(bql, &story, "node");
        let (first, second) = (with_letter(bql, &node, b'b'), with_letter(bql, &node, b'c'));
        let mut section = node.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(first).reopen(second);
        changes.commit().expect("nobody minds");
        section.end();
        assert_eq!(letter(bql, &node), b'c');
        let prepared = told(&story);
        let prepared = prepared.iter().filter(|line| *line == "prepare node");
        assert_eq!(prepared.count(), 1);
    });
}

#[test]
fn a_plan_that_is_dropped_asks_nobody() {
    in_layer(|bql| {
        let story = Story::default();
        let node = open(bql, &story, "node");
        let plan = with_letter(bql, &node, b'b');
        let mut section = node.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(plan);
        drop(changes);
        section.end();
        assert!(told(&story).is_empty());
        assert_eq!(letter(bql, &node), b'a');
    });
}

#[test]
fn a_new_child_comes_into_the_context_of_the_node_or_all_stays() {
    in_layer(|bql| {
        let story = Story::default();
        let io = IoThread::create(bql, "io").expect("a thread");
        let elsewhere = IoThread::create(bql, "elsewhere").expect("a thread");
        let (free, _) = node(bql, "free", Mem::of(512));
        let (bound, _) = node(bql, "bound", Mem::of(512));
        let user = backend(bql, "user", &bound);
        user.set_iothread(bql, Some(&elsewhere)).expect("moved");
        let top = open(bql, &story, "top");
        let disk = backend(bql, "disk", &top);
        disk.set_iothread(bql, Some(&io)).expect("moved");
        let contexts = |names: [&Node; 3]| names.map(|node| node.io().context().name().to_owned());

        let mut attempt = |to: &Node, letter: u8| {
            let plan = with_letter(bql, &top, letter);
            let mut section = top.drain(bql);
            let mut changes = section.transaction();
            changes.reopen(plan).set_backing(Some(to));
            changes.commit()
        };
        let refused = attempt(&bound, b'b').expect_err("both have a user in its thread");
        assert!(
            matches!(refused, GraphError::ContextOfActiveBackend),
            "{refused}"
        );
        attempt(&free, b'c').expect("nobody is bound to where it is");
        assert_eq!(contexts([&top, &free, &bound]), ["io", "io", "elsewhere"]);
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("free"));
        let story = told(&story);
        let aborted = story.iter().filter(|line| *line == "abort top").count();
        assert_eq!(aborted, 1, "{story:?}");
        assert_eq!(letter(bql, &top), b'c');
        top.drain(bql).set_backing(None).expect("detached");
        disk.set_iothread(bql, None).expect("moved back");
        user.set_iothread(bql, None).expect("moved back");
    });
}
