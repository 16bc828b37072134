//! What global-state code shows to this crate.
//!
//! **Fenced module.** `block-io` must not know `BqlGuard`, yet a few setters
//! of its types are for the holder of the BQL only: closing a root, moving it
//! to another context, granting permissions. They take a [`GsAccess`].

use std::marker::PhantomData;

/// Proof, towards this crate, that the caller holds the BQL.
///
/// Zero-sized, neither `Send` nor `Sync`. `block-gs` makes one beside each
/// `BqlGuard` and lends it no further than its own code, so a driver or an
/// I/O function never sees one.
#[derive(Debug)]
pub struct GsAccess {
    not_send_not_sync: PhantomData<*mut GsAccess>,
}

impl GsAccess {
    /// Makes one.
    ///
    /// # Safety
    /// The calling thread holds the BQL of the block layer whose objects the
    /// proof is used on, for as long as the value exists.
    pub const unsafe fn new() -> Self {
        GsAccess {
            not_send_not_sync: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_not_impl_any!(GsAccess: Send, Sync, Clone, Default);
    static_assertions::const_assert_eq!(size_of::<GsAccess>(), 0);
}
