//! Finding backends, and who keeps them.

use std::sync::Arc;

use block_common::{GraphError, Perm};

use crate::graph::BackendKey;
use crate::{Backend, BlockSizes, BqlGuard, DiskGeometry, Node, NodeOptions};

impl Backend {
    /// A backend over `node` (`blk_new_with_bs`).
    ///
    /// # Errors
    /// Those of [`new`](Backend::new) and [`insert`](Backend::insert).
    pub fn over(
        bql: &mut BqlGuard,
        name: &str,
        node: &Node,
        perm: Perm,
        shared: Perm,
    ) -> Result<Backend, GraphError> {
        let backend = Backend::new(bql, name, perm, shared)?;
        backend.insert(bql, node)?;
        Ok(backend)
    }

    /// Lets the monitor keep the backend (`monitor_add_blk`): the user made
    /// it by name, and it stays until he removes it.
    ///
    /// # Errors
    /// [`GraphError::Refused`] for a backend without a name, by which the
    /// user could not find it.
    pub fn give_to_monitor(&self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        let key = self.key(bql);
        let backend = &mut bql.graph_mut().backends[key];
        if backend.name.is_empty() {
            return Err(GraphError::Refused {
                message: "Invalid device name".to_owned(),
                errno: block_common::error::errno::EINVAL,
            });
        }
        backend.monitor = Some(self.clone());
        Ok(())
    }

    /// The user removes the backend (`monitor_remove_blk`): others that use
    /// it go on, but nobody finds it by its name, which is free again. Messages
    /// still name it so.
    pub fn take_from_monitor(&self, bql: &mut BqlGuard) {
        let key = self.key(bql);
        let backend = &mut bql.graph_mut().backends[key];
        backend.name.clear();
        let kept = backend.monitor.take();
        drop(kept);
    }

    /// Whether the monitor keeps it.
    pub fn is_monitor_owned(&self, bql: &BqlGuard) -> bool {
        bql.graph().backends[self.key(bql)].monitor.is_some()
    }

    /// How many references there are, this one and the monitor's among them
    /// (`blk_get_refcnt`). For people: others may come and go in any thread.
    pub fn references(&self) -> usize {
        Arc::strong_count(self.hold())
    }

    /// Notes how the node was opened, for whatever comes in its place
    /// (`blk_update_root_state`). Nothing without a node.
    pub fn update_root_state(&self, bql: &mut BqlGuard) {
        let key = self.key(bql);
        if let Some(node) = self.node(bql) {
            let options = options_of(bql, &node);
            bql.graph_mut().backends[key].root_state = options;
        }
    }

    /// How the node was opened when that was last noted
    /// (`blk_get_root_state`, `blk_get_open_flags_from_root_state`,
    /// `blk_get_detect_zeroes_from_root_state`).
    pub fn root_state(&self, bql: &BqlGuard) -> NodeOptions {
        bql.graph().backends[self.key(bql)].root_state
    }

    /// How the node is open, or without one how the last was
    /// (`blk_get_flags`).
    pub fn open_options(&self, bql: &BqlGuard) -> NodeOptions {
        match self.node(bql) {
            Some(node) => options_of(bql, &node),
            None => self.root_state(bql),
        }
    }

    /// Whether the medium is a SCSI device that takes commands and no other
    /// requests (`blk_is_sg`). Not without a medium.
    pub fn is_scsi_generic(&self, bql: &BqlGuard) -> bool {
        let node = self.node(bql);
        node.is_some_and(|node| node.view(bql).is_scsi_generic(bql))
    }

    /// The block sizes of the disk of the host, for a device that shows its
    /// guest the same (`blk_probe_blocksizes`).
    pub fn probe_block_sizes(&self, bql: &BqlGuard) -> Option<BlockSizes> {
        self.node(bql)?.view(bql).probe_block_sizes(bql)
    }

    /// The geometry of the disk of the host (`blk_probe_geometry`).
    pub fn probe_geometry(&self, bql: &BqlGuard) -> Option<DiskGeometry> {
        self.node(bql)?.view(bql).probe_geometry(bql)
    }

    /// Empties the image below: what is read is then what the backing image
    /// has (`blk_make_empty`). It drains the node, hence the exclusive proof.
    ///
    /// # Errors
    /// [`GraphError::Refused`] with `ENOMEDIUM` without a node;
    /// [`GraphError::ReadOnly`] when this backend may not write; otherwise
    /// those of [`Drained::make_empty`](crate::Drained::make_empty).
    pub fn make_empty(&self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        let Some(node) = self.node(bql) else {
            return Err(GraphError::Refused {
                message: "No medium inserted".to_owned(),
                errno: block_common::error::errno::ENOMEDIUM,
            });
        };
        if !self.perms(bql).perm.intersects(Perm::WRITES) {
            return Err(GraphError::ReadOnly);
        }
        node.drain(bql).make_empty()
    }

    /// Whether it can be written to once somebody asks for it
    /// (`blk_supports_write_perm`).
    pub fn supports_write(&self, bql: &BqlGuard) -> bool {
        !self.open_options(bql).read_only
    }
}

fn options_of(bql: &BqlGuard, node: &Node) -> NodeOptions {
    let mut options = NodeOptions::from_flags(node.io().flags());
    options.force_share = bql.graph().node(node.key(bql)).force_share;
    options
}

/// The backends that the user made by name (`blk_next`). The iterator borrows
/// the guard.
pub fn named_backends<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = Backend> + use<'b> {
    let all = bql.graph().backends.values();
    all.filter_map(|state| state.monitor.clone())
}

/// The backend after `last`, or the first one (`blk_all_next`): for walks
/// that poll between two steps, for which [`backends`](crate::backends) borrows too
/// much.
///
/// The handle keeps its place: `last` cannot be freed while the caller holds
/// it, so there is nothing to dangle. Backends that are made meanwhile may be
/// missed.
pub fn next_backend(bql: &BqlGuard, last: Option<&Backend>) -> Option<Backend> {
    let after = last.map(|last| last.key(bql));
    let mut keys = bql.graph().backends.keys();
    if let Some(after) = after {
        keys.find(|key| *key == after)?;
    }
    let rest: Vec<BackendKey> = keys.collect();
    rest.into_iter().find_map(|key| Backend::of(bql, key))
}

/// Takes the medium of every backend away (`blk_remove_all_bs`).
pub fn remove_all_media(bql: &mut BqlGuard) {
    let mut last = None;
    while let Some(backend) = next_backend(bql, last.as_ref()) {
        backend.remove(bql);
        last = Some(backend);
    }
}
