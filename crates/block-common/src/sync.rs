//! The synchronisation primitives of the engine: `std`, or loom's twins.
//!
//! Everything that takes part in a drain, a wake-up or a hand-over of a
//! request names its atomics, locks and cells through this module and never
//! through `std::sync`. Compiled with `--cfg block_loom` the same source then
//! runs under the loom model checker, so the models explore the code that
//! ships and not a copy of it.
//!
//! The engine needs no sequentially consistent access: where it must count a
//! request and learn about a drain in one step, both live in one atomic word
//! ([`AtomicU64`]) and one read-modify-write does both. (Loom treats `SeqCst`
//! accesses as `AcqRel`; a protocol that leaned on them would be reported as
//! broken although it is not.)

#[cfg(not(block_loom))]
pub use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(block_loom)]
pub use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// Variables of the threads of a model, which are one thread to the system.
#[cfg(block_loom)]
pub use loom::thread_local;

/// Something a thread of a model sleeps on: an event loop's alarm, or a parked
/// thread.
///
/// Made of a lock and a condition variable, so that a wake-up that never comes
/// is a deadlock to loom.
#[cfg(block_loom)]
#[derive(Debug, Default)]
pub struct Signal {
    raised: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

#[cfg(block_loom)]
impl Signal {
    /// Not raised.
    pub fn new() -> Self {
        Signal {
            raised: loom::sync::Mutex::new(false),
            changed: loom::sync::Condvar::new(),
        }
    }

    /// Ends a wait, now or the next one.
    pub fn raise(&self) {
        *self.raised.lock().expect("not poisoned") = true;
        self.changed.notify_one();
    }

    /// Waits until the signal is raised, and takes it.
    pub fn wait(&self) {
        let mut raised = self.raised.lock().expect("not poisoned");
        while !*raised {
            raised = self.changed.wait(raised).expect("not poisoned");
        }
        *raised = false;
    }
}

#[cfg(not(block_loom))]
type RawMutex<T> = std::sync::Mutex<T>;
#[cfg(block_loom)]
type RawMutex<T> = loom::sync::Mutex<T>;

/// Exclusive access to the value of a [`Mutex`].
#[cfg(not(block_loom))]
pub type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;
/// Exclusive access to the value of a [`Mutex`].
#[cfg(block_loom)]
pub type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// A lock that does not poison.
///
/// The engine's critical sections are a few assignments long and run no
/// foreign code, so a panic cannot leave one half done; reporting a panic of
/// some other thread to everybody who locks later would only spread it.
#[derive(Debug, Default)]
pub struct Mutex<T>(RawMutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        Mutex(RawMutex::new(value))
    }

    /// Waits for the lock and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

#[cfg(not(block_loom))]
type RawRwLock<T> = std::sync::RwLock<T>;
#[cfg(block_loom)]
type RawRwLock<T> = loom::sync::RwLock<T>;

/// Shared access to the value of an [`RwLock`].
#[cfg(not(block_loom))]
pub type RwLockReadGuard<'a, T> = std::sync::RwLockReadGuard<'a, T>;
/// Shared access to the value of an [`RwLock`].
#[cfg(block_loom)]
pub type RwLockReadGuard<'a, T> = loom::sync::RwLockReadGuard<'a, T>;

/// Exclusive access to the value of an [`RwLock`].
#[cfg(not(block_loom))]
pub type RwLockWriteGuard<'a, T> = std::sync::RwLockWriteGuard<'a, T>;
/// Exclusive access to the value of an [`RwLock`].
#[cfg(block_loom)]
pub type RwLockWriteGuard<'a, T> = loom::sync::RwLockWriteGuard<'a, T>;

/// A lock for many readers that does not poison; see [`Mutex`].
#[derive(Debug, Default)]
pub struct RwLock<T>(RawRwLock<T>);

impl<T> RwLock<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        RwLock(RawRwLock::new(value))
    }

    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.0.read() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Waits until nobody else reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.0.write() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// The storage of a cell whose access rules are proved elsewhere.
///
/// Handing out the pointer is safe, using it is not; the crates that do keep
/// that in their fenced modules. Under loom each call records an access, so a
/// model fails when a read and a write are not ordered.
#[derive(Debug, Default)]
pub struct UnsafeCell<T>(
    #[cfg(not(block_loom))] std::cell::UnsafeCell<T>,
    #[cfg(block_loom)] loom::cell::UnsafeCell<T>,
);

impl<T> UnsafeCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        #[cfg(not(block_loom))]
        return UnsafeCell(std::cell::UnsafeCell::new(value));
        #[cfg(block_loom)]
        return UnsafeCell(loom::cell::UnsafeCell::new(value));
    }

    /// The pointer for a read. Under loom: a read happens here.
    pub fn get_shared(&self) -> *const T {
        #[cfg(not(block_loom))]
        return self.0.get();
        #[cfg(block_loom)]
        return self.0.with(|pointer| pointer);
    }

    /// The pointer for a write. Under loom: a write happens here.
    pub fn get_exclusive(&self) -> *mut T {
        #[cfg(not(block_loom))]
        return self.0.get();
        #[cfg(block_loom)]
        return self.0.with_mut(|pointer| pointer);
    }
}
