//! Backing images, implicit nodes, and callers that are not the monitor. The
//! rest is in `tests/reopen`.

use block_drivers::{File, Raw, Throttle, ThrottleConfig, ThrottleGroup};
use block_gs::{
    Backend, BlockLayer, BqlGuard, ChildPermQuery, DetectZeroes, GraphError, Node, NodeBuilder,
    NodeOptions, NodeView, Perm, PermPair, Role,
};
use block_io::{Destination, DriverIo, IoFuture, Request};

use crate::{OpenError, Options, add, reopen, set_read_only};

fn in_layer(test: impl FnOnce(&mut BqlGuard)) {
    BlockLayer::new().expect("a block layer").enter(test);
}

fn make(bql: &mut BqlGuard, json: &str) -> Node {
    add(bql, Options::from_json(json).expect(json)).expect(json)
}

/// Reopens, and lets the main loop free what nobody uses any more.
fn again(bql: &mut BqlGuard, json: &str) -> Result<(), OpenError> {
    let outcome = reopen(bql, Options::list_from_json(json).expect(json));
    bql.poll(block_io::aio::Wait::No);
    outcome
}

fn refused(bql: &mut BqlGuard, json: &str) -> String {
    again(bql, json).expect_err(json).to_string()
}

fn backing(bql: &BqlGuard, node: &Node) -> Option<String> {
    let below = node.view(bql).cow_node();
    below.map(|below| below.name().to_owned())
}

fn chain(bql: &mut BqlGuard) -> (Node, Node, Node) {
    let base = make(bql, r#"{"driver":"null-co","node-name":"base"}"#);
    let other = make(bql, r#"{"driver":"null-co","node-name":"other"}"#);
    let top = make(
        bql,
        r#"{"driver":"overlay","node-name":"top","backing":"base"}"#,
    );
    (base, other, top)
}

#[test]
fn a_backing_image_is_named_replaced_and_taken_away() {
    in_layer(|bql| {
        let (_base, _other, top) = chain(bql);
        let missing = refused(bql, r#"{"driver":"overlay","node-name":"top"}"#);
        assert_eq!(missing, "backing is missing for 'top'");
        for (value, expected) in [
            (r#""base""#, Some("base")),
            (r#""other""#, Some("other")),
            ("null", None),
            ("null", None),
            (r#""base""#, Some("base")),
        ] {
            let json = format!(r#"{{"driver":"overlay","node-name":"top","backing":{value}}}"#);
            again(bql, &json).expect(&json);
            assert_eq!(backing(bql, &top).as_deref(), expected);
        }
        // Without one, and none in the header, it need not be said.
        again(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":null}"#,
        )
        .expect("detached");
        again(bql, r#"{"driver":"overlay","node-name":"top"}"#).expect("there is none");
        make(
            bql,
            r#"{"driver":"overlay","node-name":"named","header":"x","backing":null}"#,
        );
        let missing = refused(
            bql,
            r#"{"driver":"overlay","node-name":"named","header":"x"}"#,
        );
        assert_eq!(missing, "backing is missing for 'named'");
    });
}

#[test]
fn a_described_backing_image_is_reopened_with_it_and_goes_when_it_is_replaced() {
    in_layer(|bql| {
        make(bql, r#"{"driver":"null-co","node-name":"other"}"#);
        let json = |rest: &str| {
            format!(
                r#"{{"driver":"overlay","node-name":"top",
                    "backing":{{"driver":"null-co","node-name":"base"{rest}}}}}"#
            )
        };
        let top = make(bql, &json(""));
        let base_is_read_only = |bql: &BqlGuard| {
            let base = Node::find(bql, "base").expect("there");
            base.view(bql).options().read_only
        };
        assert!(
            base_is_read_only(bql),
            "backing images are, unless it is said"
        );
        again(bql, &json(r#","read-only":false"#)).expect("nobody minds");
        assert!(!base_is_read_only(bql));
        again(bql, &json("")).expect("nobody minds");
        assert!(base_is_read_only(bql));
        assert_eq!(
            refused(bql, &json(r#","size":5"#)),
            "Cannot change the option 'size'"
        );
        again(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":"other"}"#,
        )
        .expect("replaced");
        assert_eq!(backing(bql, &top).as_deref(), Some("other"));
        assert!(Node::find(bql, "base").is_none(), "nobody uses it");
        let text = refused(bql, &json(""));
        assert_eq!(text, "Cannot change the option 'backing.driver'");
    });
}

#[test]
fn what_a_job_relies_on_is_not_replaced() {
    in_layer(|bql| {
        let (base, _other, top) = chain(bql);
        let frozen = top.freeze_chain(bql, &base).expect("not frozen");
        for (value, name) in [(r#""other""#, "replaced"), ("null", "taken away")] {
            let json = format!(r#"{{"driver":"overlay","node-name":"top","backing":{value}}}"#);
            let text = "Cannot change frozen 'backing' link from 'top' to 'base'";
            assert_eq!(refused(bql, &json), text, "{name}");
        }
        again(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":"base"}"#,
        )
        .expect("the same");
        frozen.thaw(bql);
        again(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":"other"}"#,
        )
        .expect("thawed");
    });
}

/// As a job puts it above the backing image.
struct Implicit;

impl DriverIo for Implicit {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.read(offset, into),
            Err(error) => IoFuture::failed(error),
        }
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        match request.file() {
            Ok(file) => file.length(),
            Err(error) => IoFuture::failed(error),
        }
    }
}

impl block_gs::BlockDriver for Implicit {
    fn format_name(&self) -> &'static str {
        "implicit"
    }

    fn is_filter(&self) -> bool {
        true
    }

    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        query.default_perms()
    }
}

#[test]
fn an_implicit_node_is_not_seen_and_not_replaced() {
    in_layer(|bql| {
        let (base, _other, top) = chain(bql);
        let filter = NodeBuilder::new("filter")
            .implicit(true)
            .child("file", &base, Role::FILTERED | Role::PRIMARY)
            .open(bql, std::sync::Arc::new(Implicit))
            .expect("opened");
        top.drain(bql)
            .set_backing(Some(&filter))
            .expect("put between");
        again(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":"base"}"#,
        )
        .expect("the same");
        assert_eq!(backing(bql, &top).as_deref(), Some("filter"));
        let refusal = again(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":"other"}"#,
        );
        let refusal = refusal.expect_err("a job is at it");
        assert_eq!(
            refusal.to_string(),
            "Cannot replace implicit backing child of top"
        );
        assert_eq!(refusal.errno(), 1);
        // A node of no driver that has options cannot be described.
        let node = r#"{"driver":"null-co","node-name":"filter"}"#;
        assert_eq!(refused(bql, node), "Unknown driver 'implicit'");
    });
}

#[test]
fn no_node_comes_below_itself() {
    in_layer(|bql| {
        chain(bql);
        make(
            bql,
            r#"{"driver":"overlay","node-name":"above","backing":"top"}"#,
        );
        let text = refused(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":"above"}"#,
        );
        assert_eq!(
            text,
            "Making 'above' a backing child of 'top' would create a cycle"
        );
        let text = refused(
            bql,
            r#"{"driver":"overlay","node-name":"top","backing":"nobody"}"#,
        );
        assert_eq!(text, "Cannot find device='' nor node-name='nobody'");
    });
}

#[test]
fn two_nodes_change_their_places_at_once() {
    in_layer(|bql| {
        let (_, _, top) = chain(bql);
        let lower = make(
            bql,
            r#"{"driver":"overlay","node-name":"lower","backing":"other"}"#,
        );
        again(
            bql,
            r#"[{"driver":"overlay","node-name":"top","backing":"other"},
                {"driver":"overlay","node-name":"lower","backing":"base"}]"#,
        )
        .expect("nobody minds");
        assert_eq!(backing(bql, &top).as_deref(), Some("other"));
        assert_eq!(backing(bql, &lower).as_deref(), Some("base"));
        // The second is refused, so the first stays too.
        let json = r#"[{"driver":"overlay","node-name":"top","backing":"base"},
                       {"driver":"overlay","node-name":"lower","backing":"lower"}]"#;
        let text = refused(bql, json);
        assert_eq!(
            text,
            "Making 'lower' a backing child of 'lower' would create a cycle"
        );
        assert_eq!(backing(bql, &top).as_deref(), Some("other"));
    });
}

/// The names and states of everything below.
fn states(node: NodeView<'_>) -> Vec<(String, bool)> {
    let mut all = vec![(node.name().to_owned(), node.options().read_only)];
    all.extend(node.children().flat_map(|edge| states(edge.child())));
    all
}

#[test]
fn tools_change_one_thing_and_leave_the_rest() {
    in_layer(|bql| {
        let json = r#"{"driver":"raw","node-name":"top","offset":512,
            "file":{"driver":"raw","node-name":"middle","discard":"ignore",
                    "file":{"driver":"null-co","node-name":"bottom","size":4096}}}"#;
        let top = make(bql, json);
        let of = |read_only: [bool; 3]| {
            let names = ["top", "middle", "bottom"].map(str::to_owned);
            names.into_iter().zip(read_only).collect::<Vec<_>>()
        };
        set_read_only(bql, &top, true).expect("nobody writes");
        assert_eq!(states(top.view(bql)), of([true; 3]));
        assert_eq!(top.length(bql), 4096 - 512, "the window is where it was");
        let middle = Node::find(bql, "middle").expect("there");
        assert!(!middle.view(bql).options().unmap, "what was said counts");
        set_read_only(bql, &top, false).expect("nobody minds");
        assert_eq!(states(top.view(bql)), of([false; 3]));

        // From now on it is said of the middle one.
        set_read_only(bql, &middle, true).expect("nobody writes");
        assert_eq!(states(top.view(bql)), of([false, true, true]));
        set_read_only(bql, &top, true).expect("nobody writes");
        set_read_only(bql, &top, false).expect("nobody minds");
        assert_eq!(states(top.view(bql)), of([false, true, true]));
        // The graph's own function goes by the same.
        top.set_read_only(bql, true).expect("nobody writes");
        top.set_read_only(bql, false).expect("nobody minds");
        assert_eq!(states(top.view(bql)), of([false, true, true]));
    });
}

#[test]
fn what_the_permission_system_refuses_leaves_options_and_all() {
    in_layer(|bql| {
        let (_, _, top) = chain(bql);
        let perm = Perm::CONSISTENT_READ | Perm::WRITE;
        let disk = Backend::new(bql, "disk", perm, Perm::all()).expect("a backend");
        disk.insert(bql, &top).expect("inserted");
        let json = r#"{"driver":"overlay","node-name":"top","backing":"other","read-only":true}"#;
        let refusal = again(bql, json).expect_err("there is a writer");
        let OpenError::Graph(GraphError::ReadOnlyWithWriters(name)) = &refusal else {
            panic!("{refusal}");
        };
        assert_eq!(name, "top");
        assert_eq!(backing(bql, &top).as_deref(), Some("base"));
        assert!(!top.view(bql).options().read_only);
        disk.remove(bql);
        again(bql, json).expect("nobody writes");
        assert!(top.view(bql).options().read_only);
    });
}

#[test]
fn nodes_that_were_not_made_from_options_can_be_reopened() {
    in_layer(|bql| {
        let null = block_drivers::NullCo::new(1 << 30)
            .open(bql, "n")
            .expect("opened");
        let plain = r#"{"driver":"null-co","node-name":"n","read-only":true}"#;
        again(bql, plain).expect("nobody minds");
        assert!(null.view(bql).options().read_only);
        set_read_only(bql, &null, false).expect("nobody minds");
        assert!(!null.view(bql).options().read_only);
    });
}

/// A node says more of itself than its options do when it was made without
/// any, or moved without them.
#[test]
fn tools_leave_what_no_option_describes() {
    let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let path = directory.path().join("image");
    std::fs::write(&path, vec![1; 1 << 16]).expect("written");
    in_layer(|bql| {
        let options = NodeOptions {
            read_only: true,
            unmap: true,
            no_flush: true,
            detect_zeroes: DetectZeroes::Unmap,
            ..NodeOptions::default()
        };
        let file = File::new(&path).options(options);
        // Not every file system has direct I/O.
        let file = match file.clone().direct(true).open(bql, "file") {
            Ok(file) => file,
            Err(_) => file.open(bql, "file").expect("opened"),
        };
        let alignment = file.view(bql).limits().request_alignment;
        let raw = Raw::over(&file)
            .offset(512)
            .size(Some(1024))
            .options(options)
            .open(bql, "raw")
            .expect("opened");
        let group = ThrottleGroup::new("group", ThrottleConfig::default()).expect("new");
        let throttle = Throttle::over(&raw)
            .group(&group)
            .options(options)
            .open(bql, "throttle")
            .expect("opened");
        for read_only in [false, true, false] {
            for node in [&file, &raw, &throttle] {
                set_read_only(bql, node, read_only).expect("nobody minds");
                let now = node.view(bql).options();
                assert_eq!(
                    now,
                    NodeOptions {
                        read_only,
                        ..options
                    }
                );
            }
            assert_eq!(file.view(bql).limits().request_alignment, alignment);
            assert_eq!(raw.length(bql), 1024, "the window is where it was");
        }
        let driver = throttle.driver::<Throttle>().expect("a throttle");
        assert_eq!(driver.group(bql), group);
    });
}

#[test]
fn tools_leave_a_window_where_it_was_moved() {
    in_layer(|bql| {
        let json = r#"{"driver":"raw","node-name":"top","offset":512,"size":1024,
            "file":{"driver":"null-co","node-name":"bottom","size":4096}}"#;
        let top = make(bql, json);
        Raw::set_window(&mut top.drain(bql), 1024, Some(2048)).expect("it fits");
        set_read_only(bql, &top, true).expect("nobody writes");
        assert_eq!(top.length(bql), 2048, "where the window is was not said");
        let shown = top.view(bql).driver().strong_options(bql);
        assert_eq!(shown, [("offset", 1024.into()), ("size", 2048.into())]);
        again(bql, json).expect("it fits");
        assert_eq!(top.length(bql), 1024, "and now it was");
    });
}

/// Naming a node as a child keeps its options, except those that are said in
/// the same breath.
#[test]
fn a_child_that_is_named_and_reopened_gets_what_is_said() {
    in_layer(|bql| {
        let top = make(
            bql,
            r#"{"driver":"raw","node-name":"top","file":{"driver":"raw","node-name":"middle",
                "offset":512,"size":1024,
                "file":{"driver":"null-co","node-name":"bottom","size":4096}}}"#,
        );
        let middle = Node::find(bql, "middle").expect("there");
        Raw::set_window(&mut middle.drain(bql), 1024, Some(2048)).expect("it fits");
        let named = r#"{"driver":"raw","node-name":"top","file":"middle"}"#;
        again(bql, named).expect("as it is");
        assert_eq!(top.length(bql), 2048, "nothing was said of it");
        let both = format!(
            r#"[{{"driver":"raw","node-name":"middle","offset":512,"size":1024,
                 "discard":"ignore","file":"bottom"}},{named}]"#
        );
        again(bql, &both).expect("it fits");
        assert_eq!(top.length(bql), 1024, "as it was made, which was said now");
        assert!(!middle.view(bql).options().unmap);
    });
}

/// QEMU 10.0.2 refuses to reopen a node of which `active` was ever said,
/// whatever is said then.
#[test]
fn who_owns_the_image_is_for_other_commands() {
    in_layer(|bql| {
        let node = make(
            bql,
            r#"{"driver":"null-co","node-name":"n","active":false}"#,
        );
        let json = |rest: &str| format!(r#"{{"driver":"null-co","node-name":"n"{rest}}}"#);
        let text = refused(bql, &json(""));
        assert_eq!(text, "Option 'active' cannot be reset to its default value");
        let text = refused(bql, &json(r#","active":true"#));
        assert_eq!(text, "Cannot change the option 'active'");
        again(bql, &json(r#","active":false,"read-only":true"#)).expect("as it is");
        set_read_only(bql, &node, false).expect("as it is");
        assert!(node.view(bql).is_inactive());
        node.activate(bql).expect("nobody minds");
        again(bql, &json("")).expect("it is active");
        again(bql, &json(r#","active":true"#)).expect("as it is");
        again(bql, &json("")).expect("as it is");
        let text = refused(bql, &json(r#","active":false"#));
        assert_eq!(text, "Cannot change the option 'active'");
    });
}

/// What happens while the main loop waits: the device lets go of a node whose
/// end takes a while, and hands the main loop a job for that time.
struct Meanwhile(std::sync::Mutex<Option<(Node, Job)>>);

type Job = Box<dyn FnOnce(&mut BqlGuard) + Send>;

impl block_io::DeviceIo for Meanwhile {}

impl block_gs::DeviceOps for Meanwhile {
    fn drained_begin(&self, bql: &BqlGuard) {
        if let Some((node, job)) = self.0.lock().expect("no panic").take() {
            drop(node);
            bql.main_loop().schedule(job);
        }
    }
}

/// A backend above `top`; when it is first drained, `job` is what happens
/// meanwhile.
fn meanwhile(
    bql: &mut BqlGuard,
    top: &Node,
    job: impl FnOnce(&mut BqlGuard) + Send + 'static,
) -> (Backend, block_gs::Attachment) {
    let slow = block_drivers::NullCo::new(512).latency(std::time::Duration::from_millis(5));
    let slow = slow.open(bql, "slow").expect("opened");
    let backend = Backend::new(bql, "disk", Perm::CONSISTENT_READ, Perm::all());
    let backend = backend.expect("a backend");
    backend.insert(bql, top).expect("nobody objects");
    let device = Meanwhile(Some((slow, Box::new(job) as Job)).into());
    let identity = block_io::DeviceIdentity::default();
    let attached = backend.attach_device(bql, identity, std::sync::Arc::new(device));
    (backend, attached.expect("it has none"))
}

/// A reopen looks what is there, and waits before it changes anything.
#[test]
fn a_backing_image_that_comes_meanwhile_is_not_left_there() {
    in_layer(|bql| {
        let (_base, other, top) = chain(bql);
        let changed = top.clone();
        let _device = meanwhile(bql, &top, move |bql| {
            let set = changed.drain(bql).set_backing(Some(&other));
            set.expect("nobody objects");
        });
        let json = r#"{"driver":"overlay","node-name":"top","backing":"base"}"#;
        again(bql, json).expect("reopened");
        assert_eq!(backing(bql, &top).as_deref(), Some("base"), "as was said");
    });
}

#[test]
fn a_child_that_went_meanwhile_is_not_reopened() {
    in_layer(|bql| {
        let top = make(
            bql,
            r#"{"driver":"raw","node-name":"top","file":{"driver":"null-co","node-name":"old"}}"#,
        );
        let old = Node::find(bql, "old").expect("there");
        let new = make(bql, r#"{"driver":"null-co","node-name":"new"}"#);
        let (changed, to) = (top.clone(), new.clone());
        let _device = meanwhile(bql, &top, move |bql| {
            let set = changed.drain(bql).replace_child("file", &to);
            set.expect("nobody objects");
        });
        set_read_only(bql, &top, true).expect("nobody objects");
        let read_only = [&top, &old, &new].map(|node| node.view(bql).is_read_only());
        assert_eq!(read_only, [true, false, false]);
    });
}

/// As [`Meanwhile`], whenever the device is drained, as often as there are nodes
/// to let go of.
struct Restless {
    slow: std::sync::Mutex<Vec<Node>>,
    top: Node,
    backing: [Node; 2],
}

impl block_io::DeviceIo for Restless {}

impl block_gs::DeviceOps for Restless {
    fn drained_begin(&self, bql: &BqlGuard) {
        let mut slow = self.slow.lock().expect("no panic");
        let next = self.backing[slow.len() % 2].clone();
        if slow.pop().is_some() {
            let top = self.top.clone();
            bql.main_loop().schedule(move |bql| {
                let set = top.drain(bql).set_backing(Some(&next));
                set.expect("nobody objects");
            });
        }
    }
}

#[test]
fn a_graph_that_never_rests_is_given_up() {
    in_layer(|bql| {
        let (base, other, top) = chain(bql);
        let slow = (0..200).map(|number| {
            let slow = block_drivers::NullCo::new(512);
            let slow = slow.latency(std::time::Duration::from_millis(2));
            slow.open(bql, &format!("slow{number}")).expect("opened")
        });
        let slow = slow.collect::<Vec<_>>().into();
        let backend = Backend::new(bql, "disk", Perm::CONSISTENT_READ, Perm::all());
        let backend = backend.expect("a backend");
        backend.insert(bql, &top).expect("nobody objects");
        let device = Restless {
            slow,
            top: top.clone(),
            backing: [other, base],
        };
        let device = std::sync::Arc::new(device);
        let identity = block_io::DeviceIdentity::default();
        let attached = backend.attach_device(bql, identity, device.clone());
        let attached = attached.expect("it has none");
        let json = r#"{"driver":"overlay","node-name":"top","backing":"base"}"#;
        let given_up = again(bql, json).expect_err("it changes all the time");
        assert!(
            matches!(
                given_up,
                OpenError::Graph(block_gs::GraphError::ChildChanged { .. })
            ),
            "{given_up}"
        );
        assert_eq!(given_up.errno(), block_common::error::errno::EBUSY);
        let left = std::mem::take(&mut *device.slow.lock().expect("no panic"));
        assert!(!left.is_empty());
        drop((left, attached));
        again(bql, json).expect("it rests");
    });
}
