//! A group in simulated time.

use super::super::config::Limit;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A client keeps one request going all the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Client {
    member: MemberId,
    direction: Direction,
    bytes: u64,
}

struct Simulation {
    turns: Turns<Client>,
    now: Duration,
    /// How many requests each kind of client has had done.
    done: BTreeMap<Client, u64>,
}

impl Simulation {
    fn new(config: ThrottleConfig) -> Self {
        config.validate().expect("makes sense");
        Simulation {
            turns: Turns::new(config, Duration::ZERO),
            now: Duration::ZERO,
            done: BTreeMap::new(),
        }
    }

    /// `depth` clients of a new member, which all start now.
    fn clients(&mut self, direction: Direction, bytes: u64, depth: usize) -> Client {
        let member = self.turns.join();
        self.more_clients(member, direction, bytes, depth)
    }

    fn more_clients(
        &mut self,
        member: MemberId,
        direction: Direction,
        bytes: u64,
        depth: usize,
    ) -> Client {
        let client = Client {
            member,
            direction,
            bytes,
        };
        let mut starting = vec![client; depth];
        self.submit(&mut starting);
        client
    }

    /// Submits a request of each, and the next one of each that is done.
    fn submit(&mut self, clients: &mut Vec<Client>) {
        while let Some(client) = clients.pop() {
            let Client {
                member,
                direction,
                bytes,
            } = client;
            let mut released = Vec::new();
            if self
                .turns
                .pass(member, direction, bytes, self.now, &mut released)
            {
                released.push(client);
            } else {
                self.turns.queue(member, direction, bytes, client);
            }
            for client in released {
                *self.done.entry(client).or_default() += 1;
                clients.push(client);
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let mut released = Vec::new();
            let next = self.turns.grant(self.now, &mut released);
            let next = next.map_or(end, |(next, _)| next);
            for client in &released {
                *self.done.entry(*client).or_default() += 1;
            }
            if !released.is_empty() {
                self.submit(&mut released);
                continue;
            }
            if next >= end {
                self.now = end;
                return;
            }
            assert!(next > self.now, "time stands still");
            self.now = next;
        }
    }

    /// How many requests a second of `client` were done during `seconds`.
    fn rate(&mut self, clients: &[Client], seconds: u32) -> Vec<u64> {
        let before = self.done.clone();
        self.run_for(Duration::from_secs(seconds.into()));
        let count = |done: &BTreeMap<_, _>, client| done.get(client).copied().unwrap_or(0);
        clients
            .iter()
            .map(|client| (count(&self.done, client) - count(&before, client)) / u64::from(seconds))
            .collect()
    }
}

#[track_caller]
fn assert_near(is: &[u64], should: &[u64]) {
    let near = |(is, should): (&u64, &u64)| is.abs_diff(*should) * 20 <= *should;
    assert_eq!(is.len(), should.len());
    assert!(is.iter().zip(should).all(near), "{is:?} is not {should:?}");
}

fn limited(change: impl FnOnce(&mut ThrottleConfig)) -> ThrottleConfig {
    let mut config = ThrottleConfig::default();
    change(&mut config);
    config
}

use Direction::{Read, Write};

#[test]
fn members_share_alike_however_much_they_ask_for() {
    let config = limited(|c| c.iops_read = Limit::average(300));
    let mut group = Simulation::new(config);
    let clients = [1, 8, 64].map(|depth| group.clients(Read, 4096, depth));
    // The room of an empty bucket goes to whoever is first.
    group.run_for(1000 * MS);
    assert_near(&[group.done.values().sum()], &[330]);
    assert_near(&group.rate(&clients, 9), &[100, 100, 100]);
}

#[test]
fn bytes_are_shared_by_requests() {
    let config = limited(|c| c.bps_write = Limit::average(40 << 20));
    let mut group = Simulation::new(config);
    let large = group.clients(Write, 3 << 16, 16);
    let small = group.clients(Write, 1 << 16, 16);
    group.run_for(1000 * MS);
    // Each has as many requests as the other: three parts to one.
    assert_near(&group.rate(&[large, small], 20), &[160, 160]);
}

#[test]
fn a_member_alone_has_it_all_and_shares_when_others_come() {
    let config = limited(|c| c.iops_total = Limit::average(200));
    let mut group = Simulation::new(config);
    let first = group.clients(Read, 512, 4);
    group.turns.join();
    group.run_for(1000 * MS);
    assert_near(&group.rate(&[first], 5), &[200]);
    let second = group.clients(Read, 512, 1);
    assert_near(&group.rate(&[first, second], 5), &[100, 100]);
}

#[test]
fn a_total_is_shared_by_the_directions() {
    for config in [
        limited(|c| c.iops_total = Limit::average(200)),
        limited(|c| c.bps_total = Limit::average(200 * 4096)),
    ] {
        let mut group = Simulation::new(config);
        let reads = group.clients(Read, 4096, 8);
        let writes = group.clients(Write, 4096, 8);
        let member = group.turns.join();
        let own_reads = group.more_clients(member, Read, 4096, 1);
        let own_writes = group.more_clients(member, Write, 4096, 1);
        group.run_for(1000 * MS);
        let clients = [reads, writes, own_reads, own_writes];
        assert_near(&group.rate(&clients, 10), &[50, 50, 50, 50]);
    }
}

#[test]
fn each_direction_has_its_own_limit() {
    let config = limited(|c| {
        c.bps_read = Limit::average(1 << 20);
        c.bps_write = Limit::average(3 << 20);
    });
    let mut group = Simulation::new(config);
    let reads = group.clients(Read, 8192, 4);
    let writes = group.clients(Write, 8192, 4);
    group.run_for(1000 * MS);
    assert_near(&group.rate(&[reads, writes], 10), &[128, 384]);
}

#[test]
fn an_own_limit_below_a_total_of_the_other_kind() {
    let config = limited(|c| {
        c.iops_total = Limit::average(300);
        c.bps_read = Limit::average(50 * 4096);
    });
    let mut group = Simulation::new(config);
    let reads = group.clients(Read, 4096, 4);
    let writes = group.clients(Write, 4096, 4);
    group.run_for(1000 * MS);
    assert_near(&group.rate(&[reads, writes], 10), &[50, 250]);
}

#[test]
fn a_burst_is_shared_too() {
    let config = limited(|c| c.iops_read = Limit::average(100).burst(1000, 4));
    let mut group = Simulation::new(config);
    let clients = [2, 32].map(|depth| group.clients(Read, 512, depth));
    group.run_for(500 * MS);
    assert_near(&group.rate(&clients, 3), &[500, 500]);
    group.run_for(2000 * MS);
    assert_near(&group.rate(&clients, 5), &[50, 50]);
}

#[test]
fn large_requests_are_several_operations() {
    let config = limited(|c| {
        c.iops_total = Limit::average(400);
        c.iops_size = 4096;
    });
    let mut group = Simulation::new(config);
    let small = group.clients(Read, 4096, 4);
    let large = group.clients(Read, 3 * 4096, 4);
    group.run_for(1000 * MS);
    assert_near(&group.rate(&[small, large], 10), &[100, 100]);
}

/// A group in which everybody has to wait.
fn full() -> (Turns<u32>, MemberId) {
    let config = limited(|c| c.iops_total = Limit::average(10));
    let mut turns = Turns::new(config, Duration::ZERO);
    let member = turns.join();
    let mut released = Vec::new();
    assert!(turns.pass(member, Read, 1, Duration::ZERO, &mut released));
    assert!(turns.pass(member, Write, 1, Duration::ZERO, &mut released));
    assert!(!turns.pass(member, Read, 1, Duration::ZERO, &mut released));
    assert!(released.is_empty());
    (turns, member)
}

fn granted(turns: &mut Turns<u32>, now: Duration) -> (Vec<u32>, Option<Duration>) {
    let mut released = Vec::new();
    let next = turns.grant(now, &mut released).map(|(at, _)| at);
    (released, next)
}

#[test]
fn requests_of_a_member_stay_in_order() {
    let (mut turns, member) = full();
    for who in 0..3 {
        turns.queue(member, Read, 1, who);
    }
    assert_eq!(granted(&mut turns, 99 * MS), (vec![], Some(100 * MS)));
    assert_eq!(granted(&mut turns, 100 * MS), (vec![0], Some(200 * MS)));
    // Late is not lost: what has leaked meanwhile is there for all.
    assert_eq!(granted(&mut turns, 400 * MS), (vec![1, 2], None));
}

#[test]
fn nobody_overtakes_those_who_wait_and_may_run() {
    let (mut turns, member) = full();
    let other = turns.join();
    turns.queue(member, Read, 1, 1);
    let mut released = Vec::new();
    assert!(!turns.pass(other, Write, 1, 100 * MS, &mut released));
    assert_eq!(released, [1]);
}

#[test]
fn the_turn_goes_on_when_its_request_is_withdrawn() {
    let (mut turns, member) = full();
    let other = turns.join();
    let first = turns.queue(member, Read, 1, 1);
    let second = turns.queue(other, Read, 1, 2);
    assert_eq!(turns.withdraw(member, Read, first), Some(1));
    assert_eq!(turns.withdraw(member, Read, first), None);
    assert_eq!(granted(&mut turns, 100 * MS), (vec![2], None));
    assert_eq!(turns.withdraw(other, Read, second), None, "it may run");
    assert!(turns.waiting(other, Read, second).is_none());
}

#[test]
fn a_drained_member_does_not_wait_but_counts() {
    let (mut turns, member) = full();
    let other = turns.join();
    turns.queue(member, Read, 1, 1);
    turns.queue(member, Write, 1, 2);
    turns.queue(other, Read, 1, 3);
    let mut released = Vec::new();
    turns.drain(member, Duration::ZERO, &mut released);
    assert_eq!(released, [1, 2]);
    assert!(turns.pass(member, Read, 1, Duration::ZERO, &mut released));
    assert_eq!(released, [1, 2], "the other one waits");
    // Five have run; a tenth of ten fits.
    assert_eq!(
        granted(&mut turns, Duration::ZERO),
        (vec![], Some(400 * MS))
    );
    turns.undrain(member);
    assert!(!turns.pass(member, Read, 1, Duration::ZERO, &mut released));
}

#[test]
fn new_limits_hold_for_those_who_wait() {
    let (mut turns, member) = full();
    for who in 0..4 {
        turns.queue(member, Read, 1, who);
    }
    let slow = limited(|c| c.iops_read = Limit::average(1));
    turns.set_config(slow, Duration::ZERO);
    // The buckets are empty again, so one may run.
    let (first, next) = granted(&mut turns, Duration::ZERO);
    assert_eq!((first, next), (vec![0], Some(900 * MS)));
    turns.set_config(ThrottleConfig::default(), Duration::ZERO);
    assert_eq!(granted(&mut turns, Duration::ZERO), (vec![1, 2, 3], None));
}

#[test]
fn a_member_that_leaves_takes_its_requests_along() {
    let (mut turns, member) = full();
    turns.queue(member, Read, 1, 1);
    let mut released = Vec::new();
    turns.leave(member, &mut released);
    assert_eq!(released, [1]);
    assert_eq!(granted(&mut turns, 100 * MS), (vec![], None));
    let other = turns.join();
    assert!(turns.pass(other, Read, 1, 100 * MS, &mut released));
}
