//! Global state of whoever builds on the block layer.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use crate::BqlGuard;

/// One value of each type.
#[derive(Default)]
pub(crate) struct Extensions(HashMap<TypeId, Box<dyn Any + Send>>);

impl BqlGuard {
    /// The value of type `T` that belongs to this block layer: a registry of
    /// things that users name, say. It is made when it is first asked for,
    /// and dropped when the layer shuts down, before its nodes go.
    pub fn extension_mut<T: Default + Send + 'static>(&mut self) -> &mut T {
        let extensions = &mut self.graph_mut().extensions.0;
        let value = extensions
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Box::new(T::default()));
        value.downcast_mut().expect("kept under its own type")
    }

    /// The value of type `T`, if it has been made.
    pub fn extension<T: Default + Send + 'static>(&self) -> Option<&T> {
        let extensions = &self.graph().extensions.0;
        extensions.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use crate::BlockLayer;

    #[test]
    fn each_layer_has_its_own() {
        let one = BlockLayer::new().expect("a block layer");
        one.enter(|bql| {
            assert!(bql.extension::<Vec<u32>>().is_none());
            bql.extension_mut::<Vec<u32>>().push(7);
            bql.extension_mut::<Vec<u64>>();
            assert_eq!(bql.extension::<Vec<u32>>(), Some(&vec![7]));
        });
        drop(one);
        let other = BlockLayer::new().expect("a block layer");
        other.enter(|bql| assert!(bql.extension::<Vec<u32>>().is_none()));
    }
}
