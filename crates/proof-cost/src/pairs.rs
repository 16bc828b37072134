//! The functions that are compared.
//!
//! None is inlined, so each has machine code of its own; and each calls
//! through a trait object where it calls at all, so that the compiler cannot
//! look into the other side and leave the argument out. The proof stands where
//! the block layer's functions have it, after what the function is about.

/// A call that hands on `&BqlGuard`.
pub mod callback {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use block_gs::BqlGuard;

    /// Something that the main loop calls.
    pub trait Callback {
        /// With the proof.
        fn proof(&self, bql: &BqlGuard, n: u64) -> u64;
        /// Without.
        fn nothing(&self, n: u64) -> u64;
        /// With a proof by value.
        fn value(&self, bql: Value<'_>, n: u64) -> u64;
    }

    /// A zero-sized proof that is passed by value. Where it is used twice it
    /// has to be [split](Value::again) by hand: the compiler does that for
    /// references only.
    #[derive(Debug)]
    pub struct Value<'b>(PhantomData<&'b mut Cell<()>>);

    impl Value<'static> {
        /// One; here it proves nothing.
        pub fn new() -> Self {
            Value(PhantomData)
        }
    }

    impl Default for Value<'static> {
        fn default() -> Self {
            Value::new()
        }
    }

    impl Value<'_> {
        /// The same proof, for a shorter time.
        pub fn again(&mut self) -> Value<'_> {
            Value(PhantomData)
        }
    }

    thread_local! {
        static IN_MAIN_THREAD: Cell<bool> = const { Cell::new(false) };
    }

    /// Says that this is the main thread.
    pub fn enter_main_thread() {
        IN_MAIN_THREAD.set(true);
    }

    /// As `GLOBAL_STATE_CODE()`.
    #[inline]
    pub fn assert_main_thread() {
        assert!(IN_MAIN_THREAD.get(), "not in the main thread");
    }

    /// With the proof.
    #[inline(never)]
    pub fn proof(callback: &dyn Callback, bql: &BqlGuard, n: u64) -> u64 {
        callback.proof(bql, n) + 1
    }

    /// Without.
    #[inline(never)]
    pub fn nothing(callback: &dyn Callback, n: u64) -> u64 {
        callback.nothing(n) + 1
    }

    /// With a proof by value.
    #[inline(never)]
    pub fn value(callback: &dyn Callback, bql: Value<'_>, n: u64) -> u64 {
        callback.value(bql, n) + 1
    }

    /// With a look at run time.
    #[inline(never)]
    pub fn checked(callback: &dyn Callback, n: u64) -> u64 {
        assert_main_thread();
        callback.nothing(n) + 1
    }
}

/// Two calls, one after the other, that each get `&mut BqlGuard`.
pub mod twice {
    use block_gs::BqlGuard;

    use super::callback::{Callback, Value, assert_main_thread};

    /// With the proof.
    #[inline(never)]
    pub fn proof(callback: &dyn Callback, bql: &mut BqlGuard, n: u64) -> u64 {
        let first = callback.proof(bql, n);
        callback.proof(bql, first)
    }

    /// Without.
    #[inline(never)]
    pub fn nothing(callback: &dyn Callback, n: u64) -> u64 {
        let first = callback.nothing(n);
        callback.nothing(first)
    }

    /// With a proof by value.
    #[inline(never)]
    pub fn value(callback: &dyn Callback, mut bql: Value<'_>, n: u64) -> u64 {
        let first = callback.value(bql.again(), n);
        callback.value(bql, first)
    }

    /// With a look at run time.
    #[inline(never)]
    pub fn checked(callback: &dyn Callback, n: u64) -> u64 {
        assert_main_thread();
        let first = callback.nothing(n);
        callback.nothing(first)
    }
}

/// A call that hands on a drained section.
pub mod section {
    use block_gs::Drained;

    use crate::plain::PlainSection;

    /// Something that is done in a drained section.
    pub trait Change {
        /// With the proof.
        fn proof(&self, section: &mut Drained<'_>) -> u64;
        /// Without.
        fn nothing(&self, section: &mut PlainSection) -> u64;
    }

    /// With the proof.
    #[inline(never)]
    pub fn proof(section: &mut Drained<'_>, change: &dyn Change) -> u64 {
        change.proof(section) + change.proof(section)
    }

    /// Without.
    #[inline(never)]
    pub fn nothing(section: &mut PlainSection, change: &dyn Change) -> u64 {
        change.nothing(section) + change.nothing(section)
    }
}

/// The call of a driver's function for reading.
pub mod driver {
    use block_io::{Destination, DriverIo, IoFuture, Request};

    use super::callback::assert_main_thread;
    use crate::plain::{PlainDriver, PlainRequest};

    /// With the proof.
    #[inline(never)]
    pub fn proof<'r>(
        request: Request<'r>,
        driver: &'r dyn DriverIo,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        driver.read(request, offset + 512, into)
    }

    /// Without.
    #[inline(never)]
    pub fn nothing<'r>(
        request: PlainRequest<'r>,
        driver: &'r dyn PlainDriver,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        driver.read(request, offset + 512, into)
    }

    /// With a look at run time.
    #[inline(never)]
    pub fn checked<'r>(
        request: PlainRequest<'r>,
        driver: &'r dyn PlainDriver,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        assert_main_thread();
        driver.read(request, offset + 512, into)
    }
}

/// Reading what only the main thread may read.
pub mod cell {
    use std::cell::Cell;

    use block_gs::{BqlCell, BqlGuard};

    use super::callback::assert_main_thread;

    /// With the proof.
    #[inline(never)]
    pub fn proof(bql: &BqlGuard, cell: &BqlCell<Cell<u64>>) -> u64 {
        cell.get(bql).get()
    }

    /// Without.
    #[inline(never)]
    pub fn nothing(cell: &Cell<u64>) -> u64 {
        cell.get()
    }

    /// With a look at run time.
    #[inline(never)]
    pub fn checked(cell: &Cell<u64>) -> u64 {
        assert_main_thread();
        cell.get()
    }
}

/// Looking a node up in the graph.
pub mod lookup {
    use block_gs::{BqlGuard, Node};
    use slotmap::DefaultKey;

    use crate::plain::PlainGraph;

    /// With the proof. The graph is found through the thread.
    #[inline(never)]
    pub fn proof(bql: &BqlGuard, node: &Node) -> u64 {
        u64::from(node.view(bql).quiesce_count())
    }

    /// Without. The graph is an argument.
    #[inline(never)]
    pub fn nothing(graph: &PlainGraph, node: DefaultKey) -> u64 {
        u64::from(graph.nodes[node].quiesce)
    }
}

/// A request that goes on to the child, as every filter has it.
pub mod descend {
    use block_io::{Destination, IoFuture, Request};

    use crate::plain::PlainRequest;

    /// With the proof.
    #[inline(never)]
    pub fn proof<'r>(request: Request<'r>, offset: u64, into: Destination<'r>) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.read(offset, into),
            Err(error) => IoFuture::failed(error),
        }
    }

    /// Without.
    #[inline(never)]
    pub fn nothing<'r>(
        request: PlainRequest<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.read(offset, into),
            Err(error) => IoFuture::failed(error),
        }
    }
}
