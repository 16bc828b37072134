//! Whose turn it is: the queues of a group, without clock, lock and wake-ups.
//!
//! Each member has a queue per direction, first in, first out. Members take
//! turns in a direction, and the directions take turns where a total limits
//! both. A request that runs is counted at once, so the next one sees what it
//! took.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use super::Direction;
use super::bucket::Buckets;
use super::config::ThrottleConfig;

/// Names a member. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct MemberId(u64);

/// Names a waiting request. Never used twice; later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket(u64);

/// The queues and buckets of a group. `W` is what is known of a waiting
/// request; it comes back when the request may run.
#[derive(Debug)]
pub(super) struct Turns<W> {
    buckets: Buckets,
    members: BTreeMap<MemberId, Member<W>>,
    lanes: [Lane; 2],
    /// The direction of the last request that had a turn.
    last: Direction,
    names: u64,
}

#[derive(Debug)]
struct Member<W> {
    drained: bool,
    queues: [BTreeMap<Ticket, Waiting<W>>; 2],
}

#[derive(Debug)]
struct Waiting<W> {
    bytes: u64,
    who: W,
}

/// One direction.
#[derive(Default, Debug)]
struct Lane {
    /// The members that have requests waiting.
    busy: BTreeSet<MemberId>,
    /// The member that had the last turn.
    last: Option<MemberId>,
}

impl Lane {
    /// The busy member after the one that had the last turn.
    fn next(&self) -> Option<MemberId> {
        let after = self.last.and_then(|last| {
            let after = (Bound::Excluded(last), Bound::Unbounded);
            self.busy.range(after).next()
        });
        after.or_else(|| self.busy.first()).copied()
    }
}

impl<W> Turns<W> {
    pub(super) fn new(config: ThrottleConfig, now: Duration) -> Self {
        Turns {
            buckets: Buckets::new(config, now),
            members: BTreeMap::new(),
            lanes: Default::default(),
            last: Direction::Write,
            names: 0,
        }
    }

    pub(super) fn config(&self) -> &ThrottleConfig {
        self.buckets.config()
    }

    /// New limits, with empty buckets. [`grant`](Turns::grant) afterwards.
    pub(super) fn set_config(&mut self, config: ThrottleConfig, now: Duration) {
        self.buckets = Buckets::new(config, now);
    }

    pub(super) fn join(&mut self) -> MemberId {
        let id = MemberId(self.name());
        let member = Member {
            drained: false,
            queues: Default::default(),
        };
        self.members.insert(id, member);
        id
    }

    /// What still waited comes back in `released`, for nothing.
    pub(super) fn leave(&mut self, id: MemberId, released: &mut Vec<W>) {
        for lane in &mut self.lanes {
            lane.busy.remove(&id);
        }
        if let Some(member) = self.members.remove(&id) {
            let queues = member.queues.into_iter();
            released.extend(queues.flat_map(BTreeMap::into_values).map(|w| w.who));
        }
    }

    /// Lets a new request run at once, if nobody waits before it and the
    /// buckets have room, or if its member is drained.
    pub(super) fn pass(
        &mut self,
        id: MemberId,
        direction: Direction,
        bytes: u64,
        now: Duration,
        released: &mut Vec<W>,
    ) -> bool {
        self.buckets.leak(now);
        let drained = self.members.get(&id).is_none_or(|member| member.drained);
        if !drained {
            // Those who wait and may run by now come first.
            self.grant(now, released);
            let lane = &mut self.lanes[direction as usize];
            if !lane.busy.is_empty() || !self.buckets.wait(direction).is_zero() {
                return false;
            }
            lane.last = Some(id);
            self.last = direction;
        }
        self.buckets.pour(direction, bytes);
        true
    }

    /// Puts a request at the end of its member's queue.
    pub(super) fn queue(
        &mut self,
        id: MemberId,
        direction: Direction,
        bytes: u64,
        who: W,
    ) -> Ticket {
        let ticket = Ticket(self.name());
        if let Some(member) = self.members.get_mut(&id) {
            member.queues[direction as usize].insert(ticket, Waiting { bytes, who });
            self.lanes[direction as usize].busy.insert(id);
        }
        ticket
    }

    /// The request, if it waits still; `None` when it may run.
    pub(super) fn waiting(
        &mut self,
        id: MemberId,
        direction: Direction,
        ticket: Ticket,
    ) -> Option<&mut W> {
        let member = self.members.get_mut(&id)?;
        let waiting = member.queues[direction as usize].get_mut(&ticket)?;
        Some(&mut waiting.who)
    }

    /// Takes a request out of its queue that will not run. `None` when it
    /// may run already; then it has been counted.
    pub(super) fn withdraw(
        &mut self,
        id: MemberId,
        direction: Direction,
        ticket: Ticket,
    ) -> Option<W> {
        let queue = &mut self.members.get_mut(&id)?.queues[direction as usize];
        let waiting = queue.remove(&ticket)?;
        if queue.is_empty() {
            self.lanes[direction as usize].busy.remove(&id);
        }
        Some(waiting.who)
    }

    /// From now on requests of the member do not wait; those that did may
    /// run. They count nevertheless.
    pub(super) fn drain(&mut self, id: MemberId, now: Duration, released: &mut Vec<W>) {
        self.buckets.leak(now);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.drained = true;
        for direction in Direction::BOTH {
            self.lanes[direction as usize].busy.remove(&id);
            let queue = std::mem::take(&mut member.queues[direction as usize]);
            for waiting in queue.into_values() {
                self.buckets.pour(direction, waiting.bytes);
                released.push(waiting.who);
            }
        }
    }

    /// Undoes [`drain`](Turns::drain).
    pub(super) fn undrain(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.drained = false;
        }
    }

    /// Everybody whose turn has come may run. Returns when to ask again, and
    /// for whom, unless nobody waits.
    pub(super) fn grant(&mut self, now: Duration, released: &mut Vec<W>) -> Option<(Duration, &W)> {
        self.buckets.leak(now);
        let (wait, direction) = loop {
            let ready = |direction: Direction| {
                let busy = !self.lanes[direction as usize].busy.is_empty();
                busy.then(|| (self.buckets.wait(direction), direction))
            };
            // Of two that may run, the one whose direction did not have the
            // last turn.
            let others = ready(self.last.other());
            let (wait, direction) = match (others, ready(self.last)) {
                (Some(others), Some(same)) if same.0 < others.0 => same,
                (Some(others), _) => others,
                (None, same) => same?,
            };
            if !wait.is_zero() {
                break (wait, direction);
            }
            released.push(self.take_turn(direction)?);
        };
        let next = self.lanes[direction as usize].next()?;
        let (_, first) = self.members.get(&next)?.queues[direction as usize].first_key_value()?;
        Some((now.saturating_add(wait), &first.who))
    }

    /// The next request of `direction` runs.
    fn take_turn(&mut self, direction: Direction) -> Option<W> {
        let lane = &mut self.lanes[direction as usize];
        let id = lane.next()?;
        let queue = &mut self.members.get_mut(&id)?.queues[direction as usize];
        let (_, waiting) = queue.pop_first()?;
        if queue.is_empty() {
            lane.busy.remove(&id);
        }
        lane.last = Some(id);
        self.last = direction;
        self.buckets.pour(direction, waiting.bytes);
        Some(waiting.who)
    }

    /// All that wait, in no particular order.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut W> {
        let queues = self.members.values_mut().flat_map(|m| &mut m.queues);
        queues.flat_map(|queue| queue.values_mut().map(|waiting| &mut waiting.who))
    }

    fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
