//! The limits of one backend.
//!
//! In QEMU every backend is a possible member of a group. Here a backend with
//! limits has a throttle node of its own directly below, which other parents of
//! the node below that do not go through. It is marked as put there by nobody, so
//! [`NodeView::skip_implicit_filters`](block_gs::NodeView::skip_implicit_filters)
//! finds what the user put there.

use block_common::error::errno;
use block_gs::{
    Backend, BqlGuard, GraphError, IoError, Node, NodeOptions, NodeView, ReopenOptions,
};
use block_io::NodeFlags;

use super::{Throttle, ThrottleConfig, ThrottleGroup};

/// Lets the requests of a backend keep to the limits of a group
/// (`blk_io_limits_enable`). Those that run meanwhile end before, others wait
/// for that and keep to the limits.
///
/// # Errors
/// [`GraphError::Refused`] with `EBUSY` if it has limits already, with
/// `ENOMEDIUM` without a node; [`GraphError::ChildChanged`] if others change the
/// medium all the time; otherwise those of [`Backend::replace`]. Nothing
/// has changed then.
pub fn enable_io_limits(
    bql: &mut BqlGuard,
    backend: &Backend,
    group: &ThrottleGroup,
) -> Result<(), GraphError> {
    let mut changed = Ok(());
    for _ in 0..TRIES {
        if limiting(bql, backend).is_some() {
            return Err(GraphError::Refused {
                message: format!("Drive '{}' has I/O limits already", backend.name()),
                errno: errno::EBUSY,
            });
        }
        let below = backend.node(bql).ok_or(IoError::NoMedium)?;
        let filter = open_over(bql, &below, group)?;
        changed = backend.replace_if(bql, &below, &filter);
        // What ran meanwhile may have changed the medium.
        if !matches!(changed, Err(GraphError::ChildChanged { .. })) {
            break;
        }
    }
    changed
}

/// How often the medium is looked at, where others change it at the same time.
const TRIES: u32 = 16;

/// Takes the limits of a backend away, if it has any (`blk_io_limits_disable`).
/// Requests that wait for their turn go on at once.
///
/// # Errors
/// Those of [`Drained::drop_filter`](block_gs::Drained::drop_filter): somebody
/// has frozen the link; [`GraphError::ChildChanged`] if others change the graph
/// all the time. The limits stay then.
pub fn disable_io_limits(bql: &mut BqlGuard, backend: &Backend) -> Result<(), GraphError> {
    let mut changed = Ok(());
    for _ in 0..TRIES {
        let Some(filter) = limiting(bql, backend) else {
            return Ok(());
        };
        let mut section = filter.drain(bql);
        // Others may have taken it out while this waited.
        if limiting(&section, backend).as_ref() != Some(&filter) {
            changed = Err(GraphError::ChildChanged {
                parent: backend.name().to_owned(),
                edge: "root".to_owned(),
            });
            continue;
        }
        let below = filter.view(&section).filter_node();
        let below = below.map(|below| below.node(&section));
        let mut changes = section.transaction();
        changes.expect_child("file", below.as_ref()).drop_filter();
        changed = changes.commit();
        if !matches!(changed, Err(GraphError::ChildChanged { .. })) {
            break;
        }
    }
    changed
}

/// Changes the limits of the group that a backend is in, for all its members
/// (`blk_set_io_limits`). Takes the shared proof: it does not touch the graph.
///
/// # Errors
/// Those of [`ThrottleConfig::validate`], and [`GraphError::Refused`] with
/// `EINVAL` for a backend without limits; nothing has changed then.
pub fn set_io_limits(
    bql: &BqlGuard,
    backend: &Backend,
    config: ThrottleConfig,
) -> Result<(), GraphError> {
    let group = io_limits(bql, backend).ok_or_else(|| GraphError::Refused {
        message: format!("Drive '{}' has no I/O limits", backend.name()),
        errno: errno::EINVAL,
    })?;
    Ok(group.set_config(config)?)
}

/// Lets a backend that has limits keep to those of another group
/// (`blk_io_limits_update_group`). Requests that wait for their turn in the old
/// one go on at once. Nothing happens to a backend without limits.
///
/// # Errors
/// Those of [`Transaction::commit`](block_gs::Transaction::commit) for a reopen,
/// which flushes; it stays in its group then.
pub fn update_io_limits_group(
    bql: &mut BqlGuard,
    backend: &Backend,
    group: &ThrottleGroup,
) -> Result<(), GraphError> {
    let Some(old) = limiting(bql, backend) else {
        return Ok(());
    };
    let is_in = old.driver::<Throttle>().map(|old| old.group(bql));
    if is_in.as_ref() == Some(group) {
        return Ok(());
    }
    let mut section = old.drain(bql);
    let options = ReopenOptions::new(old.view(&section).options());
    section.reopen(options.settings(group.clone()))
}

/// The group whose limits a backend keeps to, if it has any
/// (`blk_get_public`).
pub fn io_limits(bql: &BqlGuard, backend: &Backend) -> Option<ThrottleGroup> {
    let filter = limiting(bql, backend)?;
    Some(filter.driver::<Throttle>()?.group(bql))
}

/// The throttle node that was put below the backend for this. Jobs may have put
/// other filters above it.
fn limiting(bql: &BqlGuard, backend: &Backend) -> Option<Node> {
    let top = backend.node(bql)?;
    let mut filters = std::iter::successors(Some(top.view(bql)), |node| node.filter_node());
    let is_limiting =
        |node: &NodeView<'_>| node.is_implicit() && node.node(bql).driver::<Throttle>().is_some();
    let found = filters.find(is_limiting)?;
    Some(found.node(bql))
}

/// A throttle node that nobody notices otherwise.
fn open_over(bql: &mut BqlGuard, below: &Node, group: &ThrottleGroup) -> Result<Node, GraphError> {
    let flags = below.io().flags();
    let options = NodeOptions {
        read_only: flags.contains(NodeFlags::READ_ONLY),
        inactive: flags.contains(NodeFlags::INACTIVE),
        unmap: true,
        ..NodeOptions::default()
    };
    let throttle = Throttle::over(below).group(group).options(options);
    throttle.implicit().open(bql, "")
}
