//! Signposts: where a newcomer tries to write the graph without a section.
//!
//! Writing an edge through a node's handle does not compile, because writes
//! are methods of [`Drained`](crate::Drained). By itself the compiler would only say that the
//! handle has no such method. The methods here have the names that are tried,
//! and a bound that nothing meets; so the message says which proof is missing,
//! and who hands it out. None of them can be called, and so they stay out of
//! the documentation.
//!
//! They are written out: of a macro the compiler would show the inside.

use block_common::{GraphError, Role};
use block_io::signposts::DoesIo;
use block_io::{Destination, IoFuture, Source};

use crate::{BqlGuard, DrainedAll, DrainedSet, Node, ReopenOptions, Transaction};

/// What would let a handle write the graph. Nothing implements it:
/// [`Drained`](crate::Drained) has the functions themselves.
#[diagnostic::on_unimplemented(
    message = "writing the graph takes a `Drained` section, and `{Self}` is none",
    label = "nothing says here that no request is in flight",
    note = "`node.drain(bql)` opens a section over the node, with the `&mut BqlGuard` that the \
            main loop lends; the section has this method",
    note = "inside another section: `section.also(&node)`; in I/O code, which has no guard: \
            `node.drained_by(&main_loop, |section| ..).await`"
)]
pub trait WritesGraph<'d> {
    /// Shows that nothing implements it.
    fn never<T>(&self) -> T;
}

#[doc(hidden)]
impl Node {
    /// See [`Drained::attach_child`](crate::Drained::attach_child).
    pub fn attach_child<'r>(&self, _: &str, _: &Node, _: Role) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::detach_child`](crate::Drained::detach_child).
    pub fn detach_child<'r>(&self, _: &str) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::replace_child`](crate::Drained::replace_child).
    pub fn replace_child<'r>(&self, _: &str, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::set_backing`](crate::Drained::set_backing).
    pub fn set_backing<'r>(&self, _: Option<&Node>) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::replace_with`](crate::Drained::replace_with).
    pub fn replace_with<'r>(&self, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::append`](crate::Drained::append).
    pub fn append<'r>(&self, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::drop_filter`](crate::Drained::drop_filter).
    pub fn drop_filter<'r>(&self) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::reopen`](crate::Drained::reopen).
    pub fn reopen<'r>(&self, _: ReopenOptions) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::transaction`](crate::Drained::transaction).
    pub fn transaction<'r>(&self) -> Transaction<'r>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }
}

#[doc(hidden)]
impl BqlGuard {
    /// See [`Drained::transaction`](crate::Drained::transaction).
    pub fn transaction<'r>(&self) -> Transaction<'r>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }
}

#[doc(hidden)]
impl DrainedSet<'_> {
    /// See [`Drained::attach_child`](crate::Drained::attach_child).
    pub fn attach_child<'r>(&self, _: &str, _: &Node, _: Role) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::detach_child`](crate::Drained::detach_child).
    pub fn detach_child<'r>(&self, _: &str) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::replace_child`](crate::Drained::replace_child).
    pub fn replace_child<'r>(&self, _: &str, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::set_backing`](crate::Drained::set_backing).
    pub fn set_backing<'r>(&self, _: Option<&Node>) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::replace_with`](crate::Drained::replace_with).
    pub fn replace_with<'r>(&self, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::append`](crate::Drained::append).
    pub fn append<'r>(&self, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::drop_filter`](crate::Drained::drop_filter).
    pub fn drop_filter<'r>(&self) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::reopen`](crate::Drained::reopen).
    pub fn reopen<'r>(&self, _: ReopenOptions) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::transaction`](crate::Drained::transaction).
    pub fn transaction<'r>(&self) -> Transaction<'r>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }
}

#[doc(hidden)]
impl DrainedAll<'_> {
    /// See [`Drained::attach_child`](crate::Drained::attach_child).
    pub fn attach_child<'r>(&self, _: &str, _: &Node, _: Role) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::detach_child`](crate::Drained::detach_child).
    pub fn detach_child<'r>(&self, _: &str) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::replace_child`](crate::Drained::replace_child).
    pub fn replace_child<'r>(&self, _: &str, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::set_backing`](crate::Drained::set_backing).
    pub fn set_backing<'r>(&self, _: Option<&Node>) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::replace_with`](crate::Drained::replace_with).
    pub fn replace_with<'r>(&self, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::append`](crate::Drained::append).
    pub fn append<'r>(&self, _: &Node) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::drop_filter`](crate::Drained::drop_filter).
    pub fn drop_filter<'r>(&self) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::reopen`](crate::Drained::reopen).
    pub fn reopen<'r>(&self, _: ReopenOptions) -> Result<(), GraphError>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }

    /// See [`Drained::transaction`](crate::Drained::transaction).
    pub fn transaction<'r>(&self) -> Transaction<'r>
    where
        Self: WritesGraph<'r>,
    {
        self.never()
    }
}

#[doc(hidden)]
impl Node {
    /// See [`Request::read`](block_io::Request::read).
    pub fn read<'r>(&self, _: u64, _: Destination<'r>) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::write`](block_io::Request::write).
    pub fn write<'r>(&self, _: u64, _: Source<'r>) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::flush`](block_io::Request::flush).
    pub fn flush<'r>(&self) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }
}
