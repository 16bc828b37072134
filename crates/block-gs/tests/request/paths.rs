//! Which node a request reaches, however the graph changes.

use block_drivers::{NullCo, Raw, Throttle, ThrottleGroup};
use block_gs::{Backend, BqlGuard, DetectZeroes, Node, NodeOptions, NodeView, Perm};
use block_io::{NodeFlags, Request};
use proptest::prelude::*;

use crate::support::{READ_WRITE, backend, in_layer, read};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A filter above a node; with `true` one that requests skip.
    Insert(usize, bool, bool),
    Drop(usize),
    /// The file of a node becomes another one.
    Replace(usize, usize),
    /// And with something else that is refused.
    RollBack(usize, usize),
    Detect(usize, bool),
    Watch(usize, bool),
    Track(usize),
    Perm(usize, bool),
    /// A backend goes to another node.
    Move(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = 0..1000usize;
    let two = || (0..1000usize, 0..1000usize);
    let step = prop_oneof![
        4 => (one.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(node, skipped, unmap)| Step::Insert(node, skipped, unmap)),
        2 => one.clone().prop_map(Step::Drop),
        2 => two().prop_map(|(node, to)| Step::Replace(node, to)),
        2 => two().prop_map(|(node, to)| Step::RollBack(node, to)),
        2 => (one.clone(), any::<bool>()).prop_map(|(node, on)| Step::Detect(node, on)),
        1 => (one.clone(), any::<bool>()).prop_map(|(node, on)| Step::Watch(node, on)),
        1 => one.clone().prop_map(Step::Track),
        1 => (one, any::<bool>()).prop_map(|(disk, on)| Step::Perm(disk, on)),
        1 => two().prop_map(|(disk, to)| Step::Move(disk, to)),
    ];
    prop::collection::vec(step, 1..40)
}

/// Where requests end that enter `node`, and whether they may give space
/// back, by walking.
fn walk(mut node: NodeView<'_>) -> (String, bool) {
    let mut unmap = true;
    loop {
        unmap &= node.io().flags().contains(NodeFlags::UNMAP);
        match node.child("file") {
            Some(edge) if node.io().is_transparent() => node = edge.child(),
            _ => return (node.name().to_owned(), unmap),
        }
    }
}

fn seen(request: Request<'_>) -> (String, bool) {
    (request.node().name().to_owned(), request.may_unmap())
}

fn check(bql: &mut BqlGuard, nodes: &[Node], disks: &[Backend], step: Step) {
    for disk in disks {
        let node = disk.node(bql).expect("inserted");
        let expected = walk(node.view(bql));
        let perm = disk.perms(bql).perm;
        bql.block_on(async {
            let in_flight = disk.root().begin().await;
            let request = in_flight.request().expect("a node");
            assert_eq!(seen(request), expected, "{step:?}");
            assert_eq!(request.perm(), perm, "{step:?}");
        });
    }
    for node in nodes {
        let Some(edge) = node.view(bql).child("file") else {
            continue;
        };
        let expected = walk(edge.child());
        let mut section = node.drain(bql);
        let got = section.io(async |request: Request<'_>| request.file().map(seen));
        assert_eq!(got.expect("a file"), expected, "{step:?}: {}", node.name());
    }
}

fn run(steps: &[Step]) {
    in_layer(|bql| {
        let group = ThrottleGroup::new("group", Default::default()).expect("no limits");
        let options = |unmap| NodeOptions {
            unmap,
            ..NodeOptions::default()
        };
        let mut nodes: Vec<_> = (0..3)
            .map(|number| {
                let null = NullCo::new(1 << 20).options(options(true));
                null.open(bql, &format!("null{number}")).expect("opened")
            })
            .collect();
        let disks: Vec<_> = (0..2)
            .map(|number| backend(bql, &nodes[number], READ_WRITE))
            .collect();
        for &step in steps {
            let at = |nodes: &[Node], number: usize| nodes[number % nodes.len()].clone();
            match step {
                Step::Insert(node, skipped, unmap) => {
                    let below = at(&nodes, node);
                    let top = if skipped {
                        Raw::over(&below).options(options(unmap)).open(bql, "")
                    } else {
                        let throttle = Throttle::over(&below).group(&group);
                        throttle.options(options(unmap)).open(bql, "")
                    };
                    let top = top.expect("opened");
                    let inserted = below.drain(bql).replace_with(&top);
                    inserted.expect("nobody objects");
                    nodes.push(top);
                }
                Step::Drop(node) => {
                    let number = node % nodes.len();
                    // Those at the bottom are no filters.
                    if nodes[number].drain(bql).drop_filter().is_ok() {
                        nodes.remove(number);
                    }
                }
                Step::Replace(node, to) => {
                    let (node, to) = (at(&nodes, node), at(&nodes, to));
                    let _ = node.drain(bql).replace_child("file", &to);
                }
                Step::RollBack(node, to) => {
                    let (node, to) = (at(&nodes, node), at(&nodes, to));
                    let other = nodes[0].clone();
                    let mut section = node.drain(bql);
                    let mut changes = section.transaction();
                    changes.replace_child("file", &to);
                    changes.replace_with(&to);
                    changes.at(&other).detach_child("nothing of this name");
                    let refused = changes.commit();
                    assert!(refused.is_err(), "there is no such child");
                }
                Step::Detect(node, on) => {
                    let detect = if on {
                        DetectZeroes::On
                    } else {
                        DetectZeroes::Off
                    };
                    at(&nodes, node).drain(bql).set_detect_zeroes(detect);
                }
                Step::Watch(node, on) => {
                    let mut section = at(&nodes, node).drain(bql);
                    section.set_write_threshold(u64::from(on) << 30, |_, _, _| {});
                }
                Step::Track(node) => at(&nodes, node).drain(bql).track_overlaps(),
                Step::Perm(disk, on) => {
                    let perm = if on {
                        READ_WRITE
                    } else {
                        Perm::CONSISTENT_READ
                    };
                    let disk = &disks[disk % disks.len()];
                    let _ = disk.set_perm(bql, perm, Perm::all());
                }
                Step::Move(disk, to) => {
                    let to = at(&nodes, to);
                    let _ = disks[disk % disks.len()].replace(bql, &to);
                }
            }
            check(bql, &nodes, &disks, step);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn requests_take_the_path_that_the_graph_says(steps in steps()) {
        run(&steps);
    }
}

/// How high a tower is, and the stack that it has to do with.
const LAYERS: usize = 2000;
const STACK: usize = 256 << 10;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK);
    let thread = thread.spawn(test).expect("a thread");
    thread.join().expect("no panic, and no overflow");
}

/// Building, requests, drains, changes at the bottom and the end of it all
/// take no more stack for many layers.
#[test]
fn many_layers_take_no_stack() {
    on_a_small_stack(|| {
        in_layer(|bql| {
            let null = NullCo::new(1 << 20).read_zeroes(true);
            let bottom = null.open(bql, "bottom").expect("opened");
            let mut top = bottom.clone();
            for _ in 0..LAYERS {
                top = Raw::over(&top).open(bql, "").expect("opened");
            }
            let disk = backend(bql, &top, READ_WRITE);
            let got = bql.block_on(read(disk.root(), 0, 512)).expect("read");
            assert!(got == [0; 512]);
            for node in [&bottom, &top] {
                drop(node.drain(bql));
            }
            bottom.drain(bql).track_overlaps();
            let other = NullCo::new(1 << 20).open(bql, "other").expect("opened");
            bottom
                .drain(bql)
                .replace_with(&other)
                .expect("nobody objects");
            let reached = bql.block_on(async {
                let in_flight = disk.root().begin().await;
                seen(in_flight.request().expect("a node")).0
            });
            assert_eq!(reached, "other");
            drop((disk, top));
            bql.run_for(std::time::Duration::ZERO);
        });
    });
}
