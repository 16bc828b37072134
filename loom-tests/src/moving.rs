//! A root that moves from one event loop to another.
//!
//! **Fenced module**, for the proof that a model changes its graph from one
//! thread only. The loops, contexts, tasks, homes and the root are
//! `block_io`'s own. The steps of `block_gs::context_change` are in
//! `engine::moving`; around it a section over a root without a node.

use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::thread;

use block_io::aio::{AioContext, EventLoop};
use block_io::engine::{Faults, moving};
use block_io::{GsAccess, Root};

/// An event loop that is not dropped while loom reports a failure: its
/// destructor uses loom.
pub struct RealLoop(ManuallyDrop<EventLoop>);

impl RealLoop {
    /// A loop that is polled by its thread.
    pub fn new(name: &str) -> Self {
        RealLoop(ManuallyDrop::new(EventLoop::new(name).expect("a loop")))
    }
}

impl Deref for RealLoop {
    type Target = EventLoop;

    fn deref(&self) -> &EventLoop {
        &self.0
    }
}

impl Drop for RealLoop {
    fn drop(&mut self) {
        if !thread::panicking() {
            // SAFETY: dropped here only, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// Moves a root to `main`, in a section, from the main thread
/// (`Backend::set_iothread` of a backend without a node). `done` runs when the
/// move is over and the section is about to end.
pub fn move_root<F: Faults>(main: &RealLoop, root: &Root, done: impl FnOnce()) {
    // SAFETY: a model has one thread that moves its root, this one.
    let gs = unsafe { GsAccess::new() };
    root.close(&gs);
    main.block_on(poll_fn(|cx| root.poll_idle(cx)));
    let old = root.context();
    let new: &AioContext = main.context();
    moving::move_home::<F, _>(
        &mut (),
        |()| root.set_context(&gs, new.clone()),
        |()| main.block_on(old.turned()),
    );
    done();
    root.open(&gs);
}
