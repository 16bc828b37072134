//! Permissions: what a parent may do with a child, and lets others do.
//!
//! Each edge of the graph carries two sets. The *permissions* say what the
//! parent does with the child; the *shared permissions* say what it tolerates
//! from every other parent of the same child. Two edges conflict when one has
//! a permission that the other does not share.

use std::fmt;

bitflags::bitflags! {
    /// A set of permissions (`BLK_PERM_*`).
    ///
    /// A plain value: it is computed and compared on any thread without a
    /// proof. *Changing* the permissions of an edge is a global-state
    /// operation of `block-gs`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Perm: u8 {
        /// The data seen is a consistent image, not, say, an intermediate
        /// node of a running commit (`BLK_PERM_CONSISTENT_READ`).
        const CONSISTENT_READ = 0x01;
        /// Writes that change what a guest sees (`BLK_PERM_WRITE`).
        const WRITE = 0x02;
        /// Writes that leave the visible contents as they are, such as copy
        /// on read (`BLK_PERM_WRITE_UNCHANGED`).
        const WRITE_UNCHANGED = 0x04;
        /// Changes of the size (`BLK_PERM_RESIZE`).
        const RESIZE = 0x08;
    }
}

impl Perm {
    /// The name a message uses for each permission, in the order messages
    /// list them.
    const NAMES: [(Perm, &'static str); 4] = [
        (Perm::CONSISTENT_READ, "consistent read"),
        (Perm::WRITE, "write"),
        (Perm::WRITE_UNCHANGED, "write unchanged"),
        (Perm::RESIZE, "resize"),
    ];

    /// The permission that users call `name`: `consistent-read`, `write`,
    /// `write-unchanged` or `resize` (`BlockPermission`,
    /// `bdrv_qapi_perm_to_blk_perm`).
    pub fn by_name(name: &str) -> Option<Perm> {
        let mut known = Perm::NAMES.iter();
        let found = known.find(|(_, known)| known.replace(' ', "-") == name);
        found.map(|&(perm, _)| perm)
    }

    /// The permissions needed to change the contents at all.
    pub const WRITES: Perm = Perm::WRITE.union(Perm::WRITE_UNCHANGED);
}

impl fmt::Display for Perm {
    /// The names as messages list them: `consistent read, write`
    /// (`bdrv_perm_names`). Empty for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (perm, name) in Perm::NAMES {
            if self.contains(perm) {
                write!(f, "{separator}{name}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_bit_order_and_words_of_the_messages() {
        assert_eq!(
            Perm::all().to_string(),
            "consistent read, write, write unchanged, resize"
        );
        assert_eq!(
            (Perm::RESIZE | Perm::CONSISTENT_READ).to_string(),
            "consistent read, resize"
        );
        assert_eq!(Perm::empty().to_string(), "");
    }

    #[test]
    fn users_write_them_with_a_hyphen() {
        assert_eq!(
            Perm::by_name("write-unchanged"),
            Some(Perm::WRITE_UNCHANGED)
        );
        assert_eq!(Perm::by_name("resize"), Some(Perm::RESIZE));
        assert_eq!(Perm::by_name("write unchanged"), None);
        assert_eq!(Perm::by_name(""), None);
    }

    #[test]
    fn four_permissions_with_the_bits_that_host_locks_use() {
        assert_eq!(Perm::all().bits(), 0x0f);
        assert_eq!(Perm::RESIZE.bits(), 0x08);
    }
}
