//! One CPU for whoever is compared.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Failure;

/// While it exists this thread, and every process it starts, has one CPU.
#[must_use = "the thread is free again when this is dropped"]
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Pins this thread to the last CPU it may use: the first ones get most
    /// of what devices interrupt for.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub fn here() -> Result<Pinned, Failure> {
        let before = sched_getaffinity(None).map_err(Failure::system("sched_getaffinity"))?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| before.is_set(cpu));
        let mut one = CpuSet::new();
        one.set(last.unwrap_or(0));
        sched_setaffinity(None, &one).map_err(Failure::system("sched_setaffinity"))?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was like this before; if it cannot be so again, less is used.
        let _ = sched_setaffinity(None, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_cpu_until_it_is_free_again() {
        let allowed = || sched_getaffinity(None).expect("asked").count();
        let before = allowed();
        let pinned = Pinned::here().expect("pinned");
        assert_eq!(allowed(), 1);
        drop(pinned);
        assert_eq!(allowed(), before);
    }
}
