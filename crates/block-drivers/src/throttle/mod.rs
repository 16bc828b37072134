//! `throttle`: a filter that makes requests wait.
//!
//! | file | what |
//! |---|---|
//! | `config` | limits, and which go together |
//! | `bucket` | the arithmetic |
//! | `turns` | whose turn it is |
//! | `group` | sharing between members and threads |
//! | `timer` | who asks for the next turn |
//! | `of_backend` | the limits of one backend |

mod bucket;
mod config;
mod group;
mod of_backend;
mod registry;
mod timer;
mod turns;

use std::cell::RefCell;
use std::sync::Arc;

use block_gs::{
    AfterReopen, BlockDriver, BqlCell, BqlGuard, Drained, GraphError, Node, NodeBuilder,
    NodeOptions, PreparedReopen, ReopenCommit, ReopenTo, Role,
};
use block_io::{
    Capabilities, Destination, DriverIo, GraphCell, IoFuture, Request, Source, WriteFlags,
};

pub use config::{Limit, ThrottleConfig, ThrottleError};
pub use group::ThrottleGroup;
pub use of_backend::{
    disable_io_limits, enable_io_limits, io_limits, set_io_limits, update_io_limits_group,
};

use crate::forward::{AS_THE_CHILD, at_file, forward};
use crate::options::node_options;
use group::Member;

/// Which limits of its own a request has to keep to (`ThrottleDirection`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// It takes bytes from the node.
    Read,
    /// It changes the node's bytes.
    Write,
}

impl Direction {
    /// One and the other.
    pub const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

    /// The other one.
    pub const fn other(self) -> Direction {
        match self {
            Direction::Read => Direction::Write,
            Direction::Write => Direction::Read,
        }
    }
}

/// Hands every request on to the child `file`, as fast as a [`ThrottleGroup`]
/// allows (`throttle.c`).
///
/// All nodes of one group share its limits, request by request in turn, on
/// whatever threads they run. Flushes are free. While the node is drained its
/// requests do not wait, those that did run at once; they count all the same,
/// so it is the later ones that wait longer.
///
/// Without limits a request costs one load of an atomic; with limits that it
/// keeps to, a short lock. Only one that waits costs an allocation.
#[derive(Debug)]
pub struct Throttle {
    member: GraphCell<Arc<Member>>,
    /// The same, for global-state code.
    current: BqlCell<RefCell<Arc<Member>>>,
}

impl Throttle {
    /// A filter over `node`; it needs a group.
    pub fn over(node: &Node) -> ThrottleOver {
        ThrottleOver { file: node.clone() }
    }

    /// Whose limits it keeps to. A [`ThrottleGroup`] given to a
    /// [reopen](block_gs::ReopenOptions::settings) takes its place.
    pub fn group(&self, bql: &BqlGuard) -> ThrottleGroup {
        self.current(bql).group().clone()
    }

    fn current(&self, bql: &BqlGuard) -> Arc<Member> {
        Arc::clone(&self.current.get(bql).borrow())
    }

    /// Does `run` at the child when the limits allow it.
    fn admitted<'r, T: Send + Unpin + 'r>(
        &'r self,
        request: Request<'r>,
        direction: Direction,
        bytes: u64,
        run: impl FnOnce(Request<'r>) -> IoFuture<'r, T> + Send + 'r,
    ) -> IoFuture<'r, T> {
        let member = self.member.get(request);
        if member.pass(direction, bytes) {
            return at_file(request, run);
        }
        IoFuture::new(async move {
            member.admit(request, direction, bytes).await;
            at_file(request, run).await
        })
    }
}

/// A [`Throttle`] that has no group yet.
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`, once it has a group"]
pub struct ThrottleOver {
    file: Node,
}

impl ThrottleOver {
    /// The group it becomes a member of (`throttle-group`).
    pub fn group(self, group: &ThrottleGroup) -> ThrottleOptions {
        ThrottleOptions {
            file: self.file,
            group: group.clone(),
            options: NodeOptions::default(),
            implicit: false,
        }
    }
}

/// How to open a [`Throttle`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct ThrottleOptions {
    file: Node,
    group: ThrottleGroup,
    options: NodeOptions,
    implicit: bool,
}

impl ThrottleOptions {
    node_options!(options, read_only);

    /// Nobody has put the node there by name.
    fn implicit(mut self) -> Self {
        self.implicit = true;
        self
    }

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// Those of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let builder = NodeBuilder::new(name)
            .options(self.options)
            .implicit(self.implicit)
            .child("file", &self.file, Role::FILTERED | Role::PRIMARY);
        let member = Arc::new(Member::of(self.group));
        let throttle = Throttle {
            member: GraphCell::new(builder.uid(), Arc::clone(&member)),
            current: BqlCell::new(bql, RefCell::new(member)),
        };
        builder.open(bql, Arc::new(throttle))
    }
}

impl DriverIo for Throttle {
    fn capabilities(&self) -> Capabilities {
        AS_THE_CHILD
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        let bytes = into.len() as u64;
        self.admitted(request, Direction::Read, bytes, move |file| {
            file.read(offset, into)
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let bytes = from.len() as u64;
        self.admitted(request, Direction::Write, bytes, move |file| {
            file.write_with(offset, from, flags)
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.admitted(request, Direction::Write, bytes, move |file| {
            file.write_zeroes(offset, bytes, flags)
        })
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        self.admitted(request, Direction::Write, bytes, move |file| {
            file.discard(offset, bytes)
        })
    }

    forward!(the_rest);
}

impl BlockDriver for Throttle {
    fn format_name(&self) -> &'static str {
        "throttle"
    }

    fn is_filter(&self) -> bool {
        true
    }

    fn drain_begin(&self, bql: &BqlGuard) {
        self.current(bql).drain();
    }

    fn drain_end(&self, bql: &BqlGuard) {
        self.current(bql).undrain();
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        match to.settings::<ThrottleGroup>()? {
            Some(group) if *group != self.group(section) => {
                Ok(Box::new(Joined(Member::of(group.clone()))))
            }
            _ => Ok(Box::new(())),
        }
    }
}

/// A place in another group.
struct Joined(Member);

impl PreparedReopen for Joined {
    /// Nobody waits in the old group: the node is drained. The end of the
    /// section is told to the new one.
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        let node = reopen.node().clone();
        let throttle = node.driver::<Throttle>()?;
        let member = Arc::new(self.0);
        member.drain();
        throttle.current.get(reopen).replace(Arc::clone(&member));
        reopen.set(&throttle.member, member);
        None
    }
}
