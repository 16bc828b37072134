//! Groups that users name.

use std::collections::BTreeMap;

use block_gs::BqlGuard;

use super::{ThrottleError, ThrottleGroup};

/// The groups of a block layer (`throttle_group_exists` and its kin).
#[derive(Debug, Default)]
struct Registry(BTreeMap<String, ThrottleGroup>);

impl ThrottleGroup {
    /// Lets the group be [found](ThrottleGroup::find) by its name
    /// (`object-add`).
    ///
    /// # Errors
    /// [`ThrottleError::DuplicateGroup`].
    pub fn register(&self, bql: &mut BqlGuard) -> Result<(), ThrottleError> {
        let Registry(groups) = bql.extension_mut();
        if groups.contains_key(self.name()) {
            return Err(ThrottleError::DuplicateGroup(self.name().to_owned()));
        }
        groups.insert(self.name().to_owned(), self.clone());
        Ok(())
    }

    /// Lets the name be used again (`object-del`). Members keep the group.
    /// Returns whether it was registered.
    pub fn unregister(&self, bql: &mut BqlGuard) -> bool {
        let Registry(groups) = bql.extension_mut();
        if groups.get(self.name()) != Some(self) {
            return false;
        }
        groups.remove(self.name()).is_some()
    }

    /// The group that is registered as `name` (`throttle_group_by_name`).
    ///
    /// # Errors
    /// [`ThrottleError::NoSuchGroup`].
    pub fn find(bql: &BqlGuard, name: &str) -> Result<ThrottleGroup, ThrottleError> {
        let registry = bql.extension::<Registry>();
        let found = registry.and_then(|Registry(groups)| groups.get(name));
        found
            .cloned()
            .ok_or_else(|| ThrottleError::NoSuchGroup(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use block_gs::BlockLayer;

    use super::*;
    use crate::ThrottleConfig;

    #[test]
    fn a_name_is_for_one_group_at_a_time() {
        let group = || ThrottleGroup::new("g", ThrottleConfig::default()).expect("no limits");
        let (one, other) = (group(), group());
        let layer = BlockLayer::new().expect("a block layer");
        layer.enter(|bql| {
            let missing = ThrottleGroup::find(bql, "g").expect_err("not yet");
            assert_eq!(missing.to_string(), "Throttle group 'g' does not exist");
            one.register(bql).expect("the first");
            let again = other.register(bql).expect_err("the second");
            assert_eq!(
                again.to_string(),
                "attempt to add duplicate property 'g' to object (type 'container')"
            );
            assert!(!other.unregister(bql), "it is not the one");
            assert_eq!(ThrottleGroup::find(bql, "g").as_ref(), Ok(&one));
            assert!(one.unregister(bql));
            other.register(bql).expect("free again");
        });
    }
}
