//! What is known about ranges: the rows of the table, chains, and the end.

use std::sync::Arc;

use block_drivers::{NullCo, Raw, Throttle, ThrottleGroup};
use block_gs::{Backend, BqlGuard, Node, NodeBuilder, Perm, Role};
use block_io::{BlockStatus, StatusFlags};

use crate::strict::{Call, Kind, Setup, Strict};
use crate::support::{backend, in_layer, pattern};

const DATA: StatusFlags = StatusFlags::DATA;
const ZERO: StatusFlags = StatusFlags::ZERO;
const ALLOCATED: StatusFlags = StatusFlags::ALLOCATED;
const EOF: StatusFlags = StatusFlags::EOF;
const RECURSE: StatusFlags = StatusFlags::RECURSE;
const NONE: StatusFlags = StatusFlags::empty();

/// Flags, bytes, and where.
type Answer = (StatusFlags, u64, Option<(String, u64)>);

fn plain(status: BlockStatus<'_>) -> Answer {
    let at = status.at.map(|(node, at)| (node.name().to_owned(), at));
    (status.flags, status.bytes, at)
}

fn of_layer(bql: &mut BqlGuard, disk: &Backend, range: (u64, u64), precise: bool) -> Answer {
    bql.block_on(async {
        let in_flight = disk.root().begin().await;
        let request = in_flight.request().expect("a node");
        let status = request.block_status(range.0, range.1, precise).await;
        plain(status.expect("known"))
    })
}

fn of_chain(
    bql: &mut BqlGuard,
    disk: &Backend,
    base: Option<&Node>,
    range: (u64, u64),
) -> (StatusFlags, u64, usize) {
    let base = base.map(|base| Arc::clone(base.io()));
    bql.block_on(async {
        let in_flight = disk.root().begin().await;
        let request = in_flight.request().expect("a node");
        let status = request.block_status_above(base.as_deref(), range.0, range.1, true);
        let (status, depth) = status.await.expect("known");
        (status.flags, status.bytes, depth)
    })
}

fn image(
    bql: &mut BqlGuard,
    name: &str,
    size: usize,
    setup: Setup,
    children: &[(&str, &Node, Role)],
) -> (Node, Arc<Strict>) {
    let driver = Arc::new(Strict::new(pattern(size, 1), setup));
    let mut builder = NodeBuilder::new(name);
    for (name, child, role) in children {
        builder = builder.child(name, child, *role);
    }
    (builder.open(bql, driver.clone()).expect("opened"), driver)
}

fn overlay_of(bql: &mut BqlGuard, name: &str, size: usize, below: &Node) -> (Node, Arc<Strict>) {
    let setup = Setup {
        backing: true,
        ..Setup::default()
    };
    image(bql, name, size, setup, &[("backing", below, Role::COW)])
}

fn reader(bql: &mut BqlGuard, node: &Node) -> Backend {
    backend(bql, node, Perm::CONSISTENT_READ)
}

#[test]
fn each_row_of_the_table() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", 4096, Setup::default(), &[]);
        let (top, driver) = overlay_of(bql, "top", 4096, &base);
        let disk = reader(bql, &top);
        let there = Some(("top".to_owned(), 100));
        for (said, mapped, expected) in [
            (DATA | ZERO, true, DATA | ZERO | ALLOCATED),
            (DATA, true, DATA | ALLOCATED),
            (ZERO, true, ZERO | ALLOCATED),
            (NONE, true, NONE),
            (DATA | ZERO, false, DATA | ZERO | ALLOCATED),
            (DATA, false, DATA | ALLOCATED),
            (ZERO, false, ZERO | ALLOCATED),
            (NONE, false, NONE),
        ] {
            driver.answer(said, 50, mapped);
            let got = of_layer(bql, &disk, (100, 200), true);
            let at = there.clone().filter(|_| mapped);
            assert_eq!(got, (expected, 50, at), "{said:?}");
        }
        // The end of the node is the end of the range.
        assert_eq!(
            of_layer(bql, &disk, (4000, 200), true),
            (DATA | ALLOCATED | EOF, 96, None)
        );
        assert_eq!(of_layer(bql, &disk, (4096, 200), true), (EOF, 0, None));
        assert_eq!(of_layer(bql, &disk, (9999, 0), true), (EOF, 0, None));
        driver.fail(Kind::Status, 0, 5);
        let failed = bql.block_on(async {
            let in_flight = disk.root().begin().await;
            let request = in_flight.request().expect("a node");
            request.block_status(0, 10, true).await.map(plain)
        });
        assert_eq!(failed.expect_err("reported").errno(), 5);
    });
}

#[test]
fn whole_blocks_are_asked_about_and_the_answer_is_cut() {
    in_layer(|bql| {
        let setup = Setup::aligned(512);
        let (node, driver) = image(bql, "disk", 4000, setup, &[]);
        let disk = reader(bql, &node);
        driver.answer(DATA, 1024, true);
        let at = Some(("disk".to_owned(), 700));
        assert_eq!(
            of_layer(bql, &disk, (700, 2000), true),
            (DATA | ALLOCATED, 1536 - 700, at)
        );
        driver.answer(ZERO, 4096, false);
        assert_eq!(
            of_layer(bql, &disk, (3900, 50), true),
            (ZERO | ALLOCATED, 50, None)
        );
        assert_eq!(
            of_layer(bql, &disk, (3900, 5000), true),
            (DATA | ALLOCATED | EOF, 100, None)
        );
        assert_eq!(
            driver.calls(),
            [
                Call::Status(512, 2560),
                Call::Status(3584, 512),
                Call::Status(3584, 512)
            ]
        );
        // An answer about nothing would make every caller loop for ever.
        driver.answer(DATA, 100, false);
        let silent = bql.block_on(async {
            let in_flight = disk.root().begin().await;
            let request = in_flight.request().expect("a node");
            request.block_status(2700, 10, true).await.map(plain)
        });
        assert_eq!(silent.expect_err("useless").errno(), 5);
    });
}

#[test]
fn what_nobody_has_reads_as_zeroes() {
    in_layer(|bql| {
        let setup = Setup {
            backing: true,
            ..Setup::default()
        };
        let (alone, driver) = image(bql, "alone", 4096, setup, &[]);
        let disk = reader(bql, &alone);
        for precise in [false, true] {
            driver.answer(NONE, 100, false);
            assert_eq!(of_layer(bql, &disk, (0, 200), precise), (ZERO, 100, None));
        }
        let (short, below) = image(bql, "short", 1000, Setup::default(), &[]);
        let (top, driver) = overlay_of(bql, "top", 4096, &short);
        let disk = reader(bql, &top);
        for (offset, precise, expected) in
            [(999, true, NONE), (1000, true, ZERO), (1000, false, NONE)]
        {
            driver.answer(NONE, 100, false);
            let got = of_layer(bql, &disk, (offset, 100), precise);
            assert_eq!(got, (expected, 100, None), "{offset}");
        }
        let _ = below;
    });
}

#[test]
fn holes_of_the_file_are_zeroes_of_the_format() {
    in_layer(|bql| {
        let (file, below) = image(bql, "file", 2048, Setup::default(), &[]);
        let child = ("file", &file, Role::DATA | Role::PRIMARY);
        let (format, driver) = image(bql, "format", 4096, Setup::default(), &[child]);
        let disk = reader(bql, &format);
        let mut ask = |offset, said, below_said: Option<(StatusFlags, u64)>, precise| {
            driver.answer(said | RECURSE, 4096, true);
            if let Some((flags, bytes)) = below_said {
                below.answer(flags, bytes, false);
            }
            let (flags, bytes, _) = of_layer(bql, &disk, (offset, 500), precise);
            assert!(!flags.contains(RECURSE));
            below.calls();
            (flags, bytes)
        };
        let data = DATA | ALLOCATED;
        assert_eq!(ask(0, DATA, Some((ZERO, 100)), true), (data | ZERO, 100));
        assert_eq!(ask(0, DATA, Some((DATA, 100)), true), (data, 100));
        assert_eq!(ask(0, DATA, None, false), (data, 500));
        // Zeroes up to the end of the file, and nothing behind it.
        let end = ask(1900, DATA, Some((ZERO, 4096)), true);
        assert_eq!(end, (data | ZERO, 500));
        assert_eq!(ask(2048, DATA, None, true), (data | ZERO, 500));
        // Mapped, but what is read comes from elsewhere.
        let said = ask(0, NONE, None, true);
        assert_eq!(said, (ZERO, 500), "there is no backing image");
        // The format knows itself; what the file says is a bonus.
        below.fail(Kind::Status, 0, 5);
        assert_eq!(ask(0, DATA, None, true), (data, 500));
    });
}

#[test]
fn a_chain_is_asked_down_to_its_base() {
    in_layer(|bql| {
        let (base, lowest) = image(bql, "base", 1000, Setup::default(), &[]);
        let (middle, between) = overlay_of(bql, "middle", 2000, &base);
        let (top, highest) = overlay_of(bql, "top", 4096, &middle);
        let disk = reader(bql, &top);
        let whole = (0, 4096);
        // The base has data.
        highest.answer(NONE, 600, false);
        between.answer(NONE, 500, false);
        lowest.answer(DATA, 400, false);
        assert_eq!(
            of_chain(bql, &disk, None, whole),
            (DATA | ALLOCATED, 400, 3)
        );
        highest.answer(NONE, 600, false);
        between.answer(NONE, 500, false);
        assert_eq!(of_chain(bql, &disk, Some(&base), whole), (NONE, 500, 2));
        highest.answer(NONE, 600, false);
        assert_eq!(of_chain(bql, &disk, Some(&middle), whole), (NONE, 600, 1));
        assert_eq!(of_chain(bql, &disk, Some(&top), whole), (NONE, 4096, 0));
        // The middle one ends: what is beyond reads as zeroes, and is its.
        highest.answer(NONE, 9999, false);
        assert_eq!(
            of_chain(bql, &disk, None, (2000, 9999)),
            (ZERO | ALLOCATED | EOF, 2096, 2)
        );
        highest.answer(NONE, 9999, false);
        between.answer(NONE, 9999, false);
        // The base has 1 byte left; the end of the base is not the end.
        assert_eq!(
            of_chain(bql, &disk, None, (999, 9999)),
            (DATA | ALLOCATED, 1, 3)
        );
        // Beyond the end there is nothing.
        assert_eq!(of_chain(bql, &disk, None, (4096, 10)), (EOF, 0, 1));
        lowest.content();
    });
}

/// Filters belong to the chain, whether requests skip them or not.
#[test]
fn a_chain_goes_through_filters_and_ends_at_them() {
    in_layer(|bql| {
        let (bottom, lowest) = image(bql, "bottom", 4096, Setup::default(), &[]);
        let skipped = Raw::over(&bottom).read_only(true).open(bql, "skipped");
        let skipped = skipped.expect("opened");
        let (middle, between) = overlay_of(bql, "middle", 4096, &skipped);
        let group = ThrottleGroup::new("group", Default::default());
        let group = group.expect("created");
        let throttle = Throttle::over(&middle).group(&group).read_only(true);
        let throttle = throttle.open(bql, "throttle").expect("opened");
        let disk = reader(bql, &throttle);
        // It is asked twice: by the filter, and by itself.
        let nothing_in_the_middle = || {
            between.answer(NONE, 500, false);
            between.answer(NONE, 500, false);
        };
        nothing_in_the_middle();
        lowest.answer(DATA, 100, false);
        let got = of_chain(bql, &disk, None, (0, 4096));
        assert_eq!(got, (DATA | ALLOCATED, 100, 3));
        // The base is a node that requests skip.
        for base in [&skipped, &bottom] {
            nothing_in_the_middle();
            let got = of_chain(bql, &disk, Some(base), (0, 4096));
            assert_eq!(got, (NONE, 500, 2), "{}", base.name());
        }
        let null = NullCo::new(100).open(bql, "null").expect("opened");
        let disk = reader(bql, &null);
        let got = of_chain(bql, &disk, None, (0, 10));
        assert_eq!(got, (DATA | ALLOCATED, 10, 1));
    });
}
