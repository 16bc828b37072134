//! Throttling: the scenarios of `test-throttle.c`. Those about the arithmetic
//! are beside it, in `block-drivers`.

use std::time::{Duration, Instant};

use block_drivers::{Limit, Throttle, ThrottleConfig, ThrottleError, ThrottleGroup};
use block_gs::{Backend, BqlGuard, IoError, IoThread, Node};
use block_io::Buffer;
use block_io::aio::{AioContext, JoinHandle, Wait};
use scenarios::{Manner, SIZE, backend, in_layer, node};

/// A byte takes a second: whoever comes second waits for an hour.
const SLOW: Limit = Limit::average(1);

fn group(name: &str, config: ThrottleConfig) -> ThrottleGroup {
    ThrottleGroup::new(name, config).expect("makes sense")
}

fn member(bql: &mut BqlGuard, name: &str, group: &ThrottleGroup) -> (Node, Backend) {
    let (disk, _) = node(bql, &format!("{name}-disk"), Manner::of(SIZE));
    let member = Throttle::over(&disk).group(group).open(bql, name);
    let member = member.expect("opened");
    let front = backend(bql, &format!("{name}-blk"), &member);
    (member, front)
}

fn group_of(bql: &BqlGuard, node: &Node) -> ThrottleGroup {
    let throttle = node.driver::<Throttle>().expect("a throttle node");
    throttle.group(bql)
}

fn read(bql: &mut BqlGuard, front: &Backend) {
    let mut buffer = Buffer::zeroed(4096);
    let reading = front.root().read(0, buffer.destination());
    bql.block_on(reading).expect("read");
}

fn write(bql: &mut BqlGuard, front: &Backend) {
    let buffer = Buffer::zeroed(4096);
    let writing = front.root().write(0, buffer.source());
    bql.block_on(writing).expect("written");
}

type Reading = JoinHandle<Result<(), IoError>>;

/// A read that waits when this returns.
fn waiting_read(
    bql: &mut BqlGuard,
    context: &AioContext,
    front: &Backend,
    group: &ThrottleGroup,
) -> Reading {
    let (before, root) = (group.waiting(), front.root().clone());
    let reading = context.spawn(async move {
        let mut buffer = Buffer::zeroed(512);
        root.read(0, buffer.destination()).await
    });
    while group.waiting() == before {
        assert!(!reading.is_finished());
        bql.poll(Wait::No);
        std::thread::yield_now();
    }
    reading
}

/// `/throttle/init_readonly`
#[test]
fn init_readonly() {
    in_layer(|bql| {
        let config = ThrottleConfig {
            bps_read: SLOW,
            ..ThrottleConfig::default()
        };
        let group = group("g", config);
        let (_, front) = member(bql, "member", &group);
        read(bql, &front);
        let context = bql.context().clone();
        let waiting = waiting_read(bql, &context, &front, &group);
        for _ in 0..3 {
            write(bql, &front);
        }
        assert_eq!(group.waiting(), 1);
        assert!(bql.block_on(waiting.cancel()).is_none());
    });
}

/// `/throttle/init_writeonly`
#[test]
fn init_writeonly() {
    in_layer(|bql| {
        let config = ThrottleConfig {
            bps_write: SLOW,
            ..ThrottleConfig::default()
        };
        let group = group("g", config);
        let (_, front) = member(bql, "member", &group);
        write(bql, &front);
        let root = front.root().clone();
        let waiting = bql.context().spawn(async move {
            let buffer = Buffer::zeroed(512);
            root.write(0, buffer.source()).await
        });
        while group.waiting() == 0 {
            bql.poll(Wait::No);
        }
        for _ in 0..3 {
            read(bql, &front);
        }
        assert_eq!(group.waiting(), 1);
        assert!(bql.block_on(waiting.cancel()).is_none());
    });
}

/// `/throttle/have_timer`
#[test]
fn have_timer() {
    in_layer(|bql| {
        let config = ThrottleConfig {
            iops_total: Limit::average(5),
            ..ThrottleConfig::default()
        };
        let group = group("g", config);
        let (_, front) = member(bql, "member", &group);
        assert_eq!(group.waiting(), 0);
        let begin = Instant::now();
        read(bql, &front);
        // Half an operation too many, and nothing but the time to wait for.
        read(bql, &front);
        assert!(begin.elapsed() >= Duration::from_millis(100));
        assert_eq!(group.waiting(), 0);
    });
}

/// `/throttle/detach_attach`
#[test]
fn detach_attach() {
    in_layer(|bql| {
        let config = ThrottleConfig {
            bps_total: SLOW,
            ..ThrottleConfig::default()
        };
        let group = group("g", config);
        let (node, front) = member(bql, "member", &group);
        let homes = ["io0", "io1"].map(|name| IoThread::create(bql, name).expect("a thread"));
        front.set_iothread(bql, Some(&homes[0])).expect("moved");
        read(bql, &front);
        let first = waiting_read(bql, homes[0].context(), &front, &group);

        front.set_iothread(bql, Some(&homes[1])).expect("moved");
        assert_eq!(node.io().context(), *homes[1].context());
        assert_eq!(group.waiting(), 0);
        bql.block_on(first).expect("read");

        let second = waiting_read(bql, homes[1].context(), &front, &group);
        group
            .set_config(ThrottleConfig::default())
            .expect("no limits");
        bql.block_on(second).expect("read");
        assert_eq!(group.waiting(), 0);
    });
}

/// Which of the six limits, and how they are set.
fn limits(config: &mut ThrottleConfig) -> [&mut Limit; 6] {
    [
        &mut config.bps_total,
        &mut config.bps_read,
        &mut config.bps_write,
        &mut config.iops_total,
        &mut config.iops_read,
        &mut config.iops_write,
    ]
}

fn with(set: &[usize], limit: Limit) -> Result<(), ThrottleError> {
    let mut config = ThrottleConfig::default();
    for &index in set {
        *limits(&mut config)[index] = limit;
    }
    config.validate()
}

/// `/throttle/config/conflicting`
#[test]
fn config_conflicting() {
    for limit in [Limit::average(1), Limit::average(1).burst(1, 1)] {
        for total in [0, 3] {
            let (read, write) = (total + 1, total + 2);
            for others in [&[read][..], &[write], &[read, write]] {
                let refused = with(&[&[total], others].concat(), limit);
                assert_eq!(refused, Err(ThrottleError::TotalAndOther));
                assert_eq!(with(others, limit), Ok(()));
            }
            assert_eq!(with(&[total], limit), Ok(()));
        }
    }
}

/// `/throttle/config/is_valid`
#[test]
fn config_is_valid() {
    let values = [
        (u64::MAX, false),
        (ThrottleConfig::MAX_VALUE + 1, false),
        (0, true),
        (1, true),
    ];
    for (value, is_valid) in values {
        for index in 0..6 {
            let avg = with(&[index], Limit::average(value));
            let max = with(&[index], Limit::average(1).burst(value, 1));
            assert_eq!((avg.is_ok(), max.is_ok()), (is_valid, is_valid), "{value}");
        }
    }
}

/// `/throttle/config/max`
#[test]
fn config_max() {
    let pairs = [
        (100, 0, false),
        (0, 0, true),
        (0, 100, true),
        (30, 100, false),
        (100, 100, true),
    ];
    for (max, avg, is_valid) in pairs {
        for index in 0..6 {
            let limit = Limit::average(avg).burst(max, 1);
            assert_eq!(with(&[index], limit).is_ok(), is_valid, "{limit:?}");
        }
    }
}

/// `/throttle/config/iops_size`
#[test]
fn config_iops_size() {
    let mut config = ThrottleConfig {
        bps_read: Limit::average(1),
        iops_size: 2000,
        ..ThrottleConfig::default()
    };
    assert_eq!(config.validate(), Err(ThrottleError::SizeWithoutIops));
    config.iops_read = Limit::average(1);
    assert_eq!(config.validate(), Ok(()));
}

/// `/throttle/groups`
#[test]
fn groups() {
    in_layer(|bql| {
        for name in ["bar", "foo"] {
            assert!(ThrottleGroup::find(bql, name).is_err());
            let group = group(name, ThrottleConfig::default());
            group.register(bql).expect("not taken");
        }
        let members = [("one", "bar"), ("two", "foo"), ("three", "bar")].map(|(name, of)| {
            let group = ThrottleGroup::find(bql, of).expect("registered");
            member(bql, name, &group).0
        });
        let [one, two, three] = members.each_ref().map(|node| group_of(bql, node));
        assert_eq!(one, three);
        assert_ne!(one, two);
        assert_eq!([one.name(), two.name()], ["bar", "foo"]);

        let config = ThrottleConfig {
            bps_total: Limit::average(500),
            iops_read: Limit::average(20).burst(30, 2),
            ..ThrottleConfig::default()
        };
        one.set_config(config).expect("makes sense");
        assert_eq!(three.config(), config);
        assert_eq!(two.config(), ThrottleConfig::default());
        let other = ThrottleConfig {
            bps_write: Limit::average(700),
            ..ThrottleConfig::default()
        };
        three.set_config(other).expect("makes sense");
        assert_eq!(one.config(), other);

        for group in [one.clone(), two.clone()] {
            assert!(group.unregister(bql));
            assert!(ThrottleGroup::find(bql, group.name()).is_err());
        }
    });
}
