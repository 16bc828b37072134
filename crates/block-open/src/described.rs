//! How a node was described, kept with it for when it is reopened.

use block_gs::{BqlGuard, Heritage, Node, NodeView};

use crate::drivers::Driver;
use crate::general::{self, FLAGS};
use crate::{OpenError, Options};

/// The options of a node. Those of its children are theirs.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub driver: &'static Driver,
    /// What somebody has said (`bs->explicit_options`).
    pub explicit: Options,
    /// And what follows from the parent, or is so without being said
    /// (`bs->options`).
    pub options: Options,
}

impl Described {
    /// From what was `given` and what has become of it.
    pub fn new(driver: &'static Driver, given: &Options, mut options: Options) -> Self {
        options.set("driver", driver.name);
        let mut explicit = options.clone();
        explicit.retain(|key| given.get(key).is_some());
        for key in FLAGS {
            options.set_default(key.name, false);
        }
        let mut described = Described {
            driver,
            explicit,
            options,
        };
        described.forget_children();
        described
    }

    /// Those of a node that was not made from options.
    ///
    /// # Errors
    /// [`OpenError::UnknownDriver`] when its driver has none.
    fn of_undescribed(node: NodeView<'_>) -> Result<Self, OpenError> {
        let name = node.driver().format_name();
        let driver = Driver::find(name);
        let driver = driver.ok_or_else(|| OpenError::UnknownDriver(name.to_owned()))?;
        let mut options = Options::new();
        options.set(general::NODE_NAME.name, node.name());
        Ok(Described::new(driver, &Options::new(), options))
    }

    /// Those of a node, as it is now.
    ///
    /// # Errors
    /// [`OpenError::UnknownDriver`].
    pub fn of(node: NodeView<'_>) -> Result<Self, OpenError> {
        let mut described = match node.description::<Described>() {
            Some(described) => described.clone(),
            None => Described::of_undescribed(node)?,
        };
        // Others than us make nodes read-only, and do not write it down.
        let read_only = node.options().read_only;
        described.options.set(general::READ_ONLY.name, read_only);
        if described.explicit.get(general::READ_ONLY.name).is_some() {
            described.explicit.set(general::READ_ONLY.name, read_only);
        }
        Ok(described)
    }

    fn forget_children(&mut self) {
        for child in self.driver.children {
            for options in [&mut self.explicit, &mut self.options] {
                options.remove(child.name);
                options.take_below(child.name);
            }
        }
    }

    /// Keeps them with the node.
    pub fn keep(mut self, bql: &mut BqlGuard, node: &Node) {
        self.forget_children();
        node.set_description(bql, self);
    }

    /// Says that `child` was described within `parent`.
    pub fn inherit(bql: &mut BqlGuard, child: &Node, parent: &Node) {
        let said = child.view(bql).description::<Described>();
        let said = said.is_some_and(|own| own.explicit.get(general::READ_ONLY.name).is_some());
        let heritage = Heritage {
            from: parent.clone(),
            read_only: !said,
        };
        child.set_heritage(bql, Some(heritage));
    }
}
