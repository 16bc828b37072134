//! The proof that this thread holds the BQL, and what only it opens.
//!
//! **Fenced module.** Everything rests on one fact: at any time at most one
//! [`BqlGuard`] exists for a block layer, on the thread that created the
//! layer, and only between the entry and the exit of [`BlockLayer::enter`].
//! So a shared borrow of it excludes every exclusive borrow of the same
//! layer's state, and the pointer in [`ENTERED`] is valid while one exists.
//!
//! [`BlockLayer::enter`]: crate::BlockLayer::enter

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use block_io::GsAccess;

use crate::graph::Graph;
use crate::layer::{EnterError, LayerId, LayerState};

thread_local! {
    /// The layer whose BQL this thread holds.
    static ENTERED: Cell<Option<NonNull<LayerState>>> = const { Cell::new(None) };
}

/// Proof that this thread holds the BQL (big QEMU lock): that it is the main
/// thread of a block layer, and inside its main loop.
///
/// * `&BqlGuard` reads the global state.
/// * `&mut BqlGuard` may also run the main loop, and with it any other
///   main-loop code; and it opens the drained sections that change the graph.
///
/// What is borrowed from the graph borrows the guard. So it cannot be kept
/// across anything that takes `&mut BqlGuard`, because that may have changed
/// or freed it. Owned handles ([`Node`](crate::Node),
/// [`Backend`](crate::Backend), [`EdgeId`](crate::EdgeId)) can.
///
/// The main loop makes the guard and lends it to its callbacks; see
/// [`BlockLayer::enter`](crate::BlockLayer::enter) and
/// [`MainLoop::schedule`](crate::MainLoop::schedule). Nobody else can: it has
/// no constructor, it is zero-sized, neither `Send` nor `Sync`, and nobody is
/// ever given one by value. In C: `GLOBAL_STATE_CODE()`, at run time.
///
/// ```compile_fail,E0277
/// # use block_gs::BqlGuard;
/// fn in_an_iothread(bql: &mut BqlGuard) {
///     std::thread::scope(|scope| {
///         scope.spawn(|| { let _inside = &bql; });
///     });
/// }
/// ```
pub struct BqlGuard {
    lent_by_the_main_loop: PhantomData<*mut LentByTheMainLoop>,
}

/// Never a value. A pointer to it is neither `Send` nor `Sync`, and so the
/// compiler says where a guard comes from when it refuses to take one to
/// another thread.
enum LentByTheMainLoop {}

impl fmt::Debug for BqlGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BqlGuard")
    }
}

/// Ends the stay in the layer, also when a panic passes by.
struct Exit;

impl Drop for Exit {
    fn drop(&mut self) {
        ENTERED.set(None);
    }
}

/// Runs `f` with the proof, on the thread that owns `state`.
///
/// # Errors
/// [`EnterError`] when this thread is inside a block layer already: a second
/// proof on one thread would make two exclusive borrows of one graph.
pub(crate) fn with_guard<R>(
    state: &LayerState,
    f: impl FnOnce(&mut BqlGuard) -> R,
) -> Result<R, EnterError> {
    // `LayerState` is neither `Send` nor `Sync`, so this is its own thread
    // and no other thread can be inside it.
    if let Some(entered) = ENTERED.get() {
        return Err(EnterError::new(entered == NonNull::from(state)));
    }
    ENTERED.set(Some(NonNull::from(state)));
    let _exit = Exit;
    let mut guard = BqlGuard {
        lent_by_the_main_loop: PhantomData,
    };
    Ok(f(&mut guard))
}

impl BqlGuard {
    pub(crate) fn state(&self) -> &LayerState {
        let entered = ENTERED
            .get()
            .expect("a BqlGuard exists only inside a layer");
        // SAFETY: a `BqlGuard` is never given away by value, so `self` is the
        // one that `with_guard` lends, and `with_guard` borrows the state for
        // longer than that.
        unsafe { entered.as_ref() }
    }

    /// The state beside the guard, for what runs the loop through the one and
    /// needs the other in its callbacks.
    pub(crate) fn with_state<R>(&mut self, f: impl FnOnce(&LayerState, &mut BqlGuard) -> R) -> R {
        let entered = ENTERED
            .get()
            .expect("a BqlGuard exists only inside a layer");
        // SAFETY: as in `state`; `f` ends before `self` does. Nothing that
        // the guard opens is reachable through `&LayerState` without it.
        f(unsafe { entered.as_ref() }, self)
    }

    pub(crate) fn graph(&self) -> &Graph {
        // SAFETY: one guard per layer; we borrow it shared, so no `&mut
        // Graph` from `graph_mut` exists.
        unsafe { &*self.state().graph().get() }
    }

    pub(crate) fn graph_mut(&mut self) -> &mut Graph {
        // SAFETY: one guard per layer; we borrow it exclusively, so no other
        // reference into the graph exists.
        unsafe { &mut *self.state().graph().get() }
    }

    /// What `block-io` asks of us in its setters.
    pub(crate) fn access(&self) -> &GsAccess {
        const ACCESS: &GsAccess = &{
            // SAFETY: shown only by this method, which takes the proof.
            unsafe { GsAccess::new() }
        };
        ACCESS
    }

    pub(crate) fn layer_id(&self) -> LayerId {
        self.state().shared().id()
    }
}

/// A value that only the holder of the BQL can reach: the global state of a
/// driver, a job, a device.
///
/// The cell is `Send + Sync` and can be part of an object that iothreads see;
/// its contents stay on the main thread. Callbacks that get `&BqlGuard` only
/// read it; what they change goes into a `BqlCell<Cell<T>>` or
/// `BqlCell<RefCell<T>>`, which needs no lock either.
///
/// ```
/// use block_gs::{BlockLayer, BqlCell};
///
/// let layer = BlockLayer::new()?;
/// layer.enter(|bql| {
///     let cell = BqlCell::new(bql, 1);
///     *cell.get_mut(bql) += 1;
///     assert_eq!(*cell.get(bql), 2);
/// });
/// # Ok::<(), block_gs::GraphError>(())
/// ```
pub struct BqlCell<T> {
    layer: LayerId,
    value: UnsafeCell<T>,
}

// SAFETY: references to the value are handed out only against a `BqlGuard`
// of the layer, that is on one thread at a time; values move between threads
// with the cell (`T: Send`).
unsafe impl<T: Send> Sync for BqlCell<T> {}

impl<T> fmt::Debug for BqlCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BqlCell(needs a BqlGuard)")
    }
}

impl<T> BqlCell<T> {
    /// A cell of the layer that this thread is in.
    pub fn new(bql: &BqlGuard, value: T) -> Self {
        BqlCell {
            layer: bql.layer_id(),
            value: UnsafeCell::new(value),
        }
    }

    /// Reads. The result cannot be kept across anything that polls.
    ///
    /// # Panics
    /// When the cell belongs to another block layer.
    pub fn get<'a>(&'a self, bql: &'a BqlGuard) -> &'a T {
        self.check(bql);
        // SAFETY: the guard is the only one of the cell's layer and borrowed
        // shared for `'a`; `get_mut` would need it exclusively.
        unsafe { &*self.value.get() }
    }

    /// Writes.
    ///
    /// # Panics
    /// When the cell belongs to another block layer.
    pub fn get_mut<'a>(&'a self, bql: &'a mut BqlGuard) -> &'a mut T {
        self.check(bql);
        // SAFETY: the guard is the only one of the cell's layer and borrowed
        // exclusively for `'a`, so no other reference to any cell exists.
        unsafe { &mut *self.value.get() }
    }

    fn check(&self, bql: &BqlGuard) {
        assert!(
            self.layer == bql.layer_id(),
            "this BqlCell belongs to another block layer than the one this thread is in"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::BlockLayer;

    static_assertions::assert_not_impl_any!(BqlGuard: Send, Sync, Clone, Copy, Default);
    static_assertions::const_assert_eq!(size_of::<BqlGuard>(), 0);
    // One word for the check that the types leave: whose cell it is.
    static_assertions::const_assert_eq!(size_of::<BqlCell<u64>>(), size_of::<(LayerId, u64)>());
    static_assertions::assert_impl_all!(BqlCell<std::cell::Cell<u8>>: Send, Sync);
    static_assertions::assert_not_impl_any!(BqlCell<std::rc::Rc<u8>>: Send, Sync);

    #[test]
    fn a_thread_enters_once() {
        let layer = BlockLayer::new().expect("a layer");
        let other = BlockLayer::new().expect("a layer");
        layer.enter(|_| {
            let again = layer.try_enter(|_| ()).expect_err("inside already");
            assert!(
                again.to_string().contains("use the `&mut BqlGuard`"),
                "{again}"
            );
            let foreign = other.try_enter(|_| ()).expect_err("inside another");
            assert!(
                foreign.to_string().contains("another block layer"),
                "{foreign}"
            );
        });
        layer.enter(|_| ());
        other.enter(|_| ());
    }

    #[test]
    fn a_panic_leaves_the_layer() {
        let layer = BlockLayer::new().expect("a layer");
        let outcome = catch_unwind(AssertUnwindSafe(|| layer.enter(|_| panic!("inside"))));
        assert!(outcome.is_err());
        layer.enter(|_| ());
    }

    #[test]
    fn one_layer_cannot_open_anothers_cell() {
        let layer = BlockLayer::new().expect("a layer");
        let other = BlockLayer::new().expect("a layer");
        let cell = layer.enter(|bql| BqlCell::new(bql, 5));
        let opened = catch_unwind(AssertUnwindSafe(|| other.enter(|bql| *cell.get(bql))));
        assert!(opened.is_err());
        let opened = catch_unwind(AssertUnwindSafe(|| other.enter(|bql| *cell.get_mut(bql))));
        assert!(opened.is_err());
        assert_eq!(layer.enter(|bql| *cell.get(bql)), 5);
    }
}
