//! A value that counted requests read without a lock.
//!
//! **Fenced module.** The two `unsafe` blocks below rest on the protocol of
//! [`Gate`]: while a request is counted the gate is not *closed and idle*,
//! and only then is the value replaced. `loom-tests` checks the ordering with
//! tracked cells, and that removing either ordering is noticed.

use block_common::sync::UnsafeCell;

use super::{Count, Faults, Gate, NoFaults};

/// A [`Gate`] and the value behind it: what a root's requests read to find
/// the node below (`blk->root`).
#[derive(Debug)]
pub struct GatedCell<T, F: Faults = NoFaults> {
    gate: Gate<F>,
    value: UnsafeCell<T>,
}

// SAFETY: shared access hands out `&T` to any thread (hence `T: Sync`), and
// `replace` moves values in and out from the thread that drains (`T: Send`).
// Mutation excludes every reader by the contract of `replace`.
unsafe impl<T: Send + Sync, F: Faults> Sync for GatedCell<T, F> {}

impl<T, F: Faults> GatedCell<T, F> {
    /// An open gate, `shards` counters wide, in front of `value`.
    pub fn new(shards: usize, value: T) -> Self {
        GatedCell {
            gate: Gate::new(shards),
            value: UnsafeCell::new(value),
        }
    }

    /// The door and the counter.
    pub fn gate(&self) -> &Gate<F> {
        &self.gate
    }

    /// The value, for as long as the request is counted.
    ///
    /// # Safety
    /// `count` was begun at this cell's gate and not ended; the borrow keeps
    /// it so.
    pub unsafe fn get<'a>(&'a self, _count: &'a Count) -> &'a T {
        // SAFETY: the caller's request is counted at our gate until the
        // borrow of its `Count` ends. `replace` demands a gate that is closed
        // and idle, which it is not while that request is counted.
        unsafe { &*self.value.get_shared() }
    }

    /// Replaces the value while nobody can read it, and hands over one reason
    /// for which the gate is closed: to the new child when that is quiesced
    /// itself, otherwise the gate loses it (`bdrv_replace_child_noperm`).
    ///
    /// Taking the reason over instead of adding the child's own afterwards
    /// leaves no moment at which a request could see the new child before
    /// the child's drained sections cover it.
    ///
    /// # Safety
    /// The gate is closed for a reason of the caller's and idle, the caller
    /// is the only one to call this, and no owner of a section has a request
    /// in flight.
    pub unsafe fn replace(&self, value: T, child_is_quiesced: bool) -> T {
        if F::VISIBLE_BEFORE_QUIESCED {
            // SAFETY: as below; the mistake is in the order that follows.
            let old = std::mem::replace(unsafe { &mut *self.value.get_exclusive() }, value);
            self.gate.open();
            if child_is_quiesced {
                self.gate.close();
            }
            return old;
        }
        // SAFETY: the gate is closed and idle, so no `&T` from `get` lives
        // and none can be made before `open` below.
        let old = std::mem::replace(unsafe { &mut *self.value.get_exclusive() }, value);
        if !child_is_quiesced {
            self.gate.open();
        }
        old
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::engine::thread_shard;

    /// Readers check that the boxed pair is never half new and never freed
    /// while a drainer replaces it as fast as it can.
    #[test]
    fn readers_see_old_or_new_never_neither() {
        let cell: Arc<GatedCell<Box<(u64, u64)>>> = Arc::new(GatedCell::new(2, Box::new((0, !0))));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (cell, stop) = (Arc::clone(&cell), Arc::clone(&stop));
                thread::spawn(move || {
                    let mut seen = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let Some(count) = cell.gate().try_begin(thread_shard()) else {
                            thread::yield_now();
                            continue;
                        };
                        {
                            // SAFETY: begun above at this gate, ended below.
                            let pair = unsafe { cell.get(&count) };
                            assert_eq!(pair.0, !pair.1);
                            assert!(pair.0 >= seen, "an older value came back");
                            seen = pair.0;
                        }
                        cell.gate().end(count);
                    }
                })
            })
            .collect();
        for value in 1..2000u64 {
            cell.gate().close();
            while !cell.gate().is_idle() {
                thread::yield_now();
            }
            // SAFETY: closed by us, idle, and this is the only writer.
            let old = unsafe { cell.replace(Box::new((value, !value)), false) };
            assert_eq!(old.0, value - 1);
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("a reader failed");
        }
    }
}
