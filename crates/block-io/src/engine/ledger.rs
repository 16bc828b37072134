//! The arithmetic of drained sections over a graph.
//!
//! Pure functions over whatever can count its nodes and name what is above
//! them ([`Ledger`]): they change counters in one go, which nobody can
//! observe, and return what is [due](Due) as a consequence. The caller then
//! moves the gates and tells the drivers and parents, in that order.
//!
//! For every edge its flag is set exactly while its child is quiesced, and a
//! node's counter is the number of sections open over it plus the number of
//! edges below it whose flag is set.

use smallvec::SmallVec;

use super::Faults;

/// The parent side of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above<N, R, O> {
    /// A node.
    Node(N),
    /// A root.
    Root(R),
    /// A parent of another kind, such as a job.
    Other(O),
}

/// The parent side of an edge in the ledger `L`.
pub type AboveOf<L> = Above<<L as Ledger>::Node, <L as Ledger>::Root, <L as Ledger>::Other>;

/// Something to be done because counters have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due<N, R, O> {
    /// One more reason for the gate of a node.
    CloseNode(N),
    /// One less.
    OpenNode(N),
    /// One more reason for the gate of a root.
    CloseRoot(R),
    /// One less.
    OpenRoot(R),
    /// The driver hears that its node is quiesced.
    DriverBegin(N),
    /// And that it is not any more.
    DriverEnd(N),
    /// A parent of another kind is to stop.
    ParentBegin(O),
    /// And to go on.
    ParentEnd(O),
}

/// What is due in the ledger `L`, in order.
pub type Dues<L> =
    SmallVec<[Due<<L as Ledger>::Node, <L as Ledger>::Root, <L as Ledger>::Other>; 8]>;

/// A graph that counts reasons.
pub trait Ledger {
    /// Names a node.
    type Node: Copy;
    /// Names an edge.
    type Edge: Copy;
    /// Names a root.
    type Root: Copy;
    /// Names a parent of another kind.
    type Other: Copy;

    /// How many reasons there are for the parents of a node to send nothing
    /// (`bs->quiesce_counter`).
    fn reasons(&mut self, node: Self::Node) -> &mut u32;

    /// Walks over the edges to a node: whether the edge has quiesced its
    /// parent (`quiesced_parent`), and who that is.
    fn edges_above(&mut self, node: Self::Node, each: impl FnMut(&mut bool, AboveOf<Self>));

    /// The same for one edge.
    fn edge(&mut self, edge: Self::Edge) -> (&mut bool, AboveOf<Self>);

    /// How many sections over everything are open (`bdrv_drain_all_count`).
    fn sections_over_all(&mut self) -> &mut u32;

    /// All nodes.
    fn nodes(&self) -> Vec<Self::Node>;
}

/// One more reason for the parents of `start` to send nothing
/// (`bdrv_do_drained_begin` without polling). Goes up with the first one.
/// Parents are told before the node's own driver.
pub fn add_reason<F: Faults, L: Ledger>(ledger: &mut L, start: L::Node) -> Dues<L> {
    let mut dues: Dues<L> = SmallVec::new();
    let mut drivers: SmallVec<[L::Node; 4]> = SmallVec::new();
    let mut stack: SmallVec<[L::Node; 8]> = SmallVec::new();
    stack.push(start);
    while let Some(node) = stack.pop() {
        let reasons = ledger.reasons(node);
        *reasons += 1;
        let first = *reasons == 1;
        dues.push(Due::CloseNode(node));
        if !first && !F::EVERY_REASON_GOES_UP {
            continue;
        }
        if first {
            drivers.push(node);
        }
        ledger.edges_above(node, |quiesced_parent, above| {
            debug_assert!(!*quiesced_parent || F::EVERY_REASON_GOES_UP);
            *quiesced_parent = true;
            match above {
                Above::Node(parent) => stack.push(parent),
                Above::Root(root) => dues.push(Due::CloseRoot(root)),
                Above::Other(parent) => dues.push(Due::ParentBegin(parent)),
            }
        });
    }
    dues.extend(drivers.into_iter().rev().map(Due::DriverBegin));
    dues
}

/// Takes one reason away (`bdrv_do_drained_end`). Goes up with the last one.
/// The node's own driver is told before its parents.
///
/// # Panics
/// When there was none.
pub fn take_reason<F: Faults, L: Ledger>(ledger: &mut L, start: L::Node) -> Dues<L> {
    let mut dues: Dues<L> = SmallVec::new();
    let mut openings: Dues<L> = SmallVec::new();
    let mut stack: SmallVec<[L::Node; 8]> = SmallVec::new();
    stack.push(start);
    while let Some(node) = stack.pop() {
        let reasons = ledger.reasons(node);
        assert!(*reasons > 0, "a drained section ends once");
        *reasons -= 1;
        let last = *reasons == 0;
        openings.push(Due::OpenNode(node));
        if !last {
            continue;
        }
        dues.push(Due::DriverEnd(node));
        ledger.edges_above(node, |quiesced_parent, above| {
            debug_assert!(*quiesced_parent);
            *quiesced_parent = false;
            match above {
                Above::Node(parent) => stack.push(parent),
                Above::Root(root) => openings.push(Due::OpenRoot(root)),
                Above::Other(parent) => openings.push(Due::ParentEnd(parent)),
            }
        });
    }
    dues.extend(openings);
    dues
}

/// Hands a parent's quiesced state from one child of an edge to the next: the
/// parent is quiesced for the edge while its child is. Roots are not handled
/// here: their gate changes together with what lies behind it.
pub fn hand_over<F: Faults, L: Ledger>(
    ledger: &mut L,
    edge: L::Edge,
    child_is_quiesced: bool,
) -> Dues<L> {
    let (quiesced_parent, above) = ledger.edge(edge);
    let was = std::mem::replace(quiesced_parent, child_is_quiesced);
    if was == child_is_quiesced && !F::HAND_OVER_AGAIN {
        return Dues::<L>::new();
    }
    match above {
        Above::Node(_) if child_is_quiesced && F::ATTACH_HANDS_NOTHING_OVER => Dues::<L>::new(),
        Above::Node(parent) if child_is_quiesced => {
            let mut dues = add_reason::<F, L>(ledger, parent);
            if F::ATTACH_COUNTS_TWICE {
                dues.extend(add_reason::<F, L>(ledger, parent));
            }
            dues
        }
        Above::Node(parent) => take_reason::<F, L>(ledger, parent),
        Above::Root(_) => Dues::<L>::new(),
        Above::Other(parent) => SmallVec::from_iter([match child_is_quiesced {
            true => Due::ParentBegin(parent),
            false => Due::ParentEnd(parent),
        }]),
    }
}

/// The order in which an edge leaves a child that may be the only one to keep
/// its parent quiesced: first `show` requests where the edge leads now, then
/// [hand over](hand_over()). So the parent never sees the change while it is
/// not quiesced.
pub fn move_edge<F: Faults, C: ?Sized>(
    context: &mut C,
    show: impl FnOnce(&mut C),
    hand_over: impl FnOnce(&mut C),
) {
    if F::PARENT_FREED_BEFORE_THE_MOVE {
        hand_over(context);
        show(context);
    } else {
        show(context);
        hand_over(context);
    }
}

/// Waits inside a section whose gates are closed, by `sleep`ing until nothing
/// `is_busy` any more. Sleeping may end early, for any reason or none.
pub fn wait_while<F: Faults, C: ?Sized>(
    context: &mut C,
    mut is_busy: impl FnMut(&mut C) -> bool,
    mut sleep: impl FnMut(&mut C),
) {
    if F::WRITE_WITHOUT_WAITING {
        return;
    }
    while is_busy(context) {
        sleep(context);
        if F::WAIT_ONCE {
            return;
        }
    }
}

/// Quiesces every node there is, and every one that will be
/// [born](be_born) before [`end_all`] (`bdrv_drain_all_begin_nopoll`).
pub fn begin_all<F: Faults, L: Ledger>(ledger: &mut L) -> Dues<L> {
    *ledger.sections_over_all() += 1;
    let mut dues = Dues::<L>::new();
    for node in ledger.nodes() {
        dues.extend(add_reason::<F, L>(ledger, node));
    }
    dues
}

/// Ends what [`begin_all`] began.
pub fn end_all<F: Faults, L: Ledger>(ledger: &mut L) -> Dues<L> {
    *ledger.sections_over_all() -= 1;
    let mut dues = Dues::<L>::new();
    for node in ledger.nodes() {
        dues.extend(take_reason::<F, L>(ledger, node));
    }
    dues
}

/// A new node, which nobody has seen yet, takes part in the sections over
/// everything.
pub fn be_born<F: Faults, L: Ledger>(ledger: &mut L, node: L::Node) -> Dues<L> {
    let sections = match *ledger.sections_over_all() {
        _ if F::BORN_OPEN => 0,
        open if F::BORN_QUIESCED_ONCE => open.min(1),
        open => open,
    };
    let mut dues = Dues::<L>::new();
    for _ in 0..sections {
        dues.extend(add_reason::<F, L>(ledger, node));
    }
    dues
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::super::NoFaults;
    use super::*;

    /// Node 1 is above node 0, and root 7 above node 1. Beside it parent 9 is
    /// above node 0.
    struct Chain {
        reasons: [u32; 2],
        flags: [bool; 3],
        all: u32,
    }

    const EDGES: [(usize, Above<usize, u8, u8>); 3] = [
        (0, Above::Node(1)),
        (1, Above::Root(7)),
        (0, Above::Other(9)),
    ];

    impl Ledger for Chain {
        type Node = usize;
        type Edge = usize;
        type Root = u8;
        type Other = u8;

        fn reasons(&mut self, node: usize) -> &mut u32 {
            &mut self.reasons[node]
        }

        fn edges_above(&mut self, node: usize, mut each: impl FnMut(&mut bool, AboveOf<Self>)) {
            for (flag, (child, above)) in self.flags.iter_mut().zip(EDGES) {
                if child == node {
                    each(flag, above);
                }
            }
        }

        fn edge(&mut self, edge: usize) -> (&mut bool, AboveOf<Self>) {
            (&mut self.flags[edge], EDGES[edge].1)
        }

        fn sections_over_all(&mut self) -> &mut u32 {
            &mut self.all
        }

        fn nodes(&self) -> Vec<usize> {
            vec![0, 1]
        }
    }

    fn chain() -> Chain {
        Chain {
            reasons: [0; 2],
            flags: [false; 3],
            all: 0,
        }
    }

    #[test]
    fn sections_go_up_with_the_first_and_the_last() {
        use Due::*;
        let mut chain = chain();
        let begun = add_reason::<NoFaults, _>(&mut chain, 0);
        let expected = [
            CloseNode(0),
            ParentBegin(9),
            CloseNode(1),
            CloseRoot(7),
            DriverBegin(1),
            DriverBegin(0),
        ];
        assert_eq!(begun[..], expected, "parents before drivers");
        assert_eq!(add_reason::<NoFaults, _>(&mut chain, 0)[..], [CloseNode(0)]);
        assert_eq!((chain.reasons, chain.flags), ([2, 1], [true; 3]));
        assert_eq!(take_reason::<NoFaults, _>(&mut chain, 0)[..], [OpenNode(0)]);
        let ended = take_reason::<NoFaults, _>(&mut chain, 0);
        let expected = [
            DriverEnd(0),
            DriverEnd(1),
            OpenNode(0),
            ParentEnd(9),
            OpenNode(1),
            OpenRoot(7),
        ];
        assert_eq!(ended[..], expected, "drivers before parents");
        assert_eq!((chain.reasons, chain.flags), ([0, 0], [false; 3]));
    }

    #[test]
    fn a_parent_is_told_once_by_each_edge() {
        let mut chain = chain();
        let told = hand_over::<NoFaults, _>(&mut chain, 2, true);
        assert_eq!(told[..], [Due::ParentBegin(9)]);
        assert!(hand_over::<NoFaults, _>(&mut chain, 2, true).is_empty());
        let told = hand_over::<NoFaults, _>(&mut chain, 2, false);
        assert_eq!(told[..], [Due::ParentEnd(9)]);
        assert!(hand_over::<NoFaults, _>(&mut chain, 1, true).is_empty());
    }

    #[test]
    fn what_is_born_takes_part_in_every_section_over_everything() {
        let mut chain = chain();
        let _ = begin_all::<NoFaults, _>(&mut chain);
        let _ = begin_all::<NoFaults, _>(&mut chain);
        assert_eq!(chain.reasons, [2, 3], "its own two, and the edge below");
        chain.reasons[1] = 1;
        assert_eq!(be_born::<NoFaults, _>(&mut chain, 1).len(), 2);
        let _ = end_all::<NoFaults, _>(&mut chain);
        let _ = end_all::<NoFaults, _>(&mut chain);
        assert_eq!(chain.reasons, [0, 0]);
        assert!(be_born::<NoFaults, _>(&mut chain, 1).is_empty());
    }
}
