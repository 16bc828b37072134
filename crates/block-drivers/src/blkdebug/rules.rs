//! The rules, and what follows from them: without requests, clocks and locks.

use super::event::{Event, IoType};

/// Lets requests fail (`inject-error`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InjectError {
    /// When the rule becomes active: from then on, until the next event that
    /// activates rules.
    pub event: Event,
    /// Only in this state; 0 for any.
    pub state: u32,
    /// Which requests; `None` for all but questions about block status.
    pub iotype: Option<IoType>,
    /// With which error.
    pub errno: i32,
    /// Only those that touch the sector (of 512 bytes) with this number.
    pub sector: Option<u64>,
    /// Only the first of them.
    pub once: bool,
    /// At once, and not in a later turn of the event loop.
    pub immediately: bool,
}

impl InjectError {
    /// All requests fail after `event`, with `EIO`.
    pub fn at(event: Event) -> Self {
        InjectError {
            event,
            state: 0,
            iotype: None,
            errno: block_common::error::errno::EIO,
            sector: None,
            once: false,
            immediately: false,
        }
    }
}

/// Changes the state (`set-state`), which is 1 at first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetState {
    /// When.
    pub event: Event,
    /// Only in this state; 0 for any.
    pub state: u32,
    /// What the state is from then on. Where several rules of one event change
    /// it, the first that was given counts.
    pub new_state: u32,
}

/// What a request has to expect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub errno: i32,
    pub immediately: bool,
}

#[derive(Clone, Debug)]
enum Action {
    Inject(InjectError),
    SetState(SetState),
    /// Holds the next request that reports the event.
    Suspend(String),
}

#[derive(Clone, Debug)]
struct Rule {
    id: u64,
    event: Event,
    state: u32,
    action: Action,
}

/// All rules, the state, and which rules are active.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    next: u64,
    state: u32,
    /// Those that let requests fail now.
    active: Vec<u64>,
}

impl Rules {
    pub fn new(errors: &[InjectError], states: &[SetState]) -> Self {
        let mut rules = Rules {
            rules: Vec::new(),
            next: 0,
            state: 1,
            active: Vec::new(),
        };
        for rule in errors {
            rules.add(rule.event, rule.state, Action::Inject(rule.clone()));
        }
        for rule in states {
            rules.add(rule.event, rule.state, Action::SetState(rule.clone()));
        }
        rules
    }

    fn add(&mut self, event: Event, state: u32, action: Action) {
        let id = self.next;
        self.next += 1;
        self.rules.push(Rule {
            id,
            event,
            state,
            action,
        });
    }

    /// Whether neither events nor requests can have an effect.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Holds the next request that reports `event`, under the name `tag`.
    pub fn suspend_at(&mut self, event: Event, tag: &str) {
        self.add(event, 0, Action::Suspend(tag.to_owned()));
    }

    /// Forgets what was to be held under that name; whether there was any.
    pub fn forget_suspend(&mut self, wanted: &str) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| match &rule.action {
            Action::Suspend(tag) => tag != wanted,
            _ => true,
        });
        self.rules.len() < before
    }

    /// `event` happens. Returns under which names who reports it is held.
    pub fn happen(&mut self, event: Event) -> Vec<String> {
        let state = self.state;
        let fits = |rule: &Rule| rule.event == event && (rule.state == 0 || rule.state == state);
        let mut active = Vec::new();
        let mut new_state = None;
        let mut held = Vec::new();
        for rule in self.rules.iter().filter(|rule| fits(rule)) {
            match &rule.action {
                Action::Inject(_) => active.push(rule.id),
                Action::SetState(rule) => {
                    new_state.get_or_insert(rule.new_state);
                }
                // The one that was set last holds first.
                Action::Suspend(tag) => held.insert(0, tag.clone()),
            }
        }
        if !active.is_empty() {
            self.active = active;
        }
        self.state = new_state.unwrap_or(state);
        if !held.is_empty() {
            self.rules
                .retain(|rule| !matches!(rule.action, Action::Suspend(_)) || !fits(rule));
        }
        held
    }

    /// A request begins. Flushes have no bytes; a rule with a sector is not
    /// for them.
    pub fn fail(&mut self, kind: IoType, offset: u64, bytes: u64) -> Option<Failure> {
        let touches = |sector: u64| {
            let wanted = sector.saturating_mul(512);
            wanted >= offset && wanted - offset < bytes
        };
        let applies = |rule: &InjectError| {
            let is_kind = match rule.iotype {
                Some(wanted) => wanted == kind,
                None => kind != IoType::BlockStatus,
            };
            is_kind && rule.sector.is_none_or(touches)
        };
        let find = |id: &u64| self.rules.iter().find(|rule| rule.id == *id);
        let (id, inject) = self.active.iter().find_map(|id| match &find(id)?.action {
            Action::Inject(inject) if applies(inject) => Some((*id, inject)),
            _ => None,
        })?;
        let failure = Failure {
            errno: inject.errno,
            immediately: inject.immediately,
        };
        if inject.errno == 0 {
            return None;
        }
        if inject.once {
            self.active.retain(|known| *known != id);
            self.rules.retain(|rule| rule.id != id);
        }
        Some(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> Event {
        name.parse().expect("an event")
    }

    fn inject(name: &str) -> InjectError {
        InjectError::at(event(name))
    }

    fn errno(rules: &mut Rules, kind: IoType, offset: u64, bytes: u64) -> Option<i32> {
        rules.fail(kind, offset, bytes).map(|failure| failure.errno)
    }

    #[test]
    fn a_rule_is_active_from_its_event_to_that_of_another() {
        let mut other = inject("l2_update");
        other.errno = 28;
        let mut rules = Rules::new(&[inject("l2_load"), other], &[]);
        assert_eq!(errno(&mut rules, IoType::Read, 0, 512), None);
        rules.happen(event("l2_load"));
        assert_eq!(errno(&mut rules, IoType::Read, 0, 512), Some(5));
        rules.happen(event("write_aio"));
        assert_eq!(errno(&mut rules, IoType::Flush, 0, 0), Some(5), "still");
        rules.happen(event("l2_update"));
        assert_eq!(errno(&mut rules, IoType::Write, 0, 512), Some(28));
    }

    #[test]
    fn kinds_and_sectors_are_told_apart() {
        let mut rule = inject("none");
        rule.sector = Some(2);
        let mut status = inject("none");
        status.iotype = Some(IoType::BlockStatus);
        status.errno = 1;
        let mut rules = Rules::new(&[rule, status], &[]);
        rules.happen(Event::NONE);
        assert_eq!(errno(&mut rules, IoType::Read, 0, 1024), None);
        assert_eq!(errno(&mut rules, IoType::Read, 1023, 2), Some(5));
        assert_eq!(errno(&mut rules, IoType::Read, 1025, 512), None);
        assert_eq!(errno(&mut rules, IoType::Flush, 0, 0), None);
        assert_eq!(errno(&mut rules, IoType::BlockStatus, 0, 512), Some(1));
    }

    #[test]
    fn once_is_once_and_the_next_rule_follows() {
        let mut first = inject("none");
        first.once = true;
        let mut second = inject("none");
        (second.once, second.errno) = (true, 28);
        let mut rules = Rules::new(&[first, second], &[]);
        rules.happen(Event::NONE);
        assert_eq!(errno(&mut rules, IoType::Read, 0, 1), Some(5));
        assert_eq!(errno(&mut rules, IoType::Read, 0, 1), Some(28));
        assert_eq!(errno(&mut rules, IoType::Read, 0, 1), None);
        rules.happen(Event::NONE);
        assert_eq!(errno(&mut rules, IoType::Read, 0, 1), None, "gone");
        assert!(rules.is_empty());
    }

    #[test]
    fn states_order_what_happens() {
        let mut third = inject("read_aio");
        third.state = 3;
        let step = |state, new_state| SetState {
            event: event("read_aio"),
            state,
            new_state,
        };
        let mut rules = Rules::new(&[third], &[step(1, 2), step(2, 3), step(2, 7)]);
        for expected in [None, None, Some(5)] {
            rules.happen(event("read_aio"));
            assert_eq!(errno(&mut rules, IoType::Read, 0, 512), expected);
        }
    }

    #[test]
    fn a_breakpoint_holds_one_request() {
        let mut rules = Rules::new(&[], &[]);
        rules.suspend_at(event("write_aio"), "a");
        rules.suspend_at(event("write_aio"), "b");
        rules.suspend_at(event("read_aio"), "a");
        assert_eq!(rules.happen(event("write_aio")), ["b", "a"]);
        assert!(rules.happen(event("write_aio")).is_empty());
        assert!(rules.forget_suspend("a"));
        assert!(!rules.forget_suspend("a"));
        assert!(rules.happen(event("read_aio")).is_empty());
    }
}
