//! Snapshots inside an image.
//!
//! A driver that keeps snapshots shows [`Snapshots`]; a node whose driver
//! keeps none asks the only child that holds something of it
//! (`bdrv_snapshot_fallback`). What changes the image is a method of
//! [`Drained`]: nothing is in flight then.

use std::sync::Arc;
use std::time::Duration;

use block_common::error::errno;
use block_common::{GraphError, IoError, Role};
use block_io::Request;

use crate::driver::BlockDriver;
use crate::{BqlGuard, Drained, Node, NodeView, Walk};

/// A snapshot inside an image (`QEMUSnapshotInfo`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotInfo {
    /// What the driver calls it; empty before it exists.
    pub id: String,
    /// What the user calls it.
    pub name: String,
    /// How many bytes of state of a virtual machine belong to it.
    pub vm_state_size: u64,
    /// When it was made, since 1970.
    pub date: Duration,
    /// How long the virtual machine had run.
    pub vm_clock: Duration,
    /// How many instructions it had run, if they are counted.
    pub instructions: Option<u64>,
}

/// Which snapshot is meant: by what the driver calls it, by what the user
/// does, or by both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotKey<'s> {
    /// What the driver calls it.
    pub id: Option<&'s str>,
    /// What the user calls it.
    pub name: Option<&'s str>,
}

impl SnapshotKey<'_> {
    /// Whether all that was said fits.
    pub fn fits(self, info: &SnapshotInfo) -> bool {
        let fits = |said: Option<&str>, real: &str| said.is_none_or(|said| said == real);
        fits(self.id, &info.id) && fits(self.name, &info.name)
    }

    fn check(self) -> Result<(), GraphError> {
        match self {
            SnapshotKey {
                id: None,
                name: None,
            } => Err(refused(
                errno::EINVAL,
                "snapshot_id and name are both NULL".into(),
            )),
            _ => Ok(()),
        }
    }
}

/// A driver that keeps snapshots in its image. The sections are of its node.
pub trait Snapshots {
    /// Makes one, and says what it is called (`bdrv_snapshot_create`).
    ///
    /// # Errors
    /// There is none then.
    fn create(&self, section: &mut Drained<'_>, info: &mut SnapshotInfo) -> Result<(), GraphError>;

    /// Makes the image what it was (`bdrv_snapshot_goto`).
    ///
    /// # Errors
    /// The image may be in between.
    fn goto(&self, section: &mut Drained<'_>, id: &str) -> Result<(), GraphError>;

    /// Gives one up (`bdrv_snapshot_delete`).
    ///
    /// # Errors
    /// It is still there.
    fn delete(&self, section: &mut Drained<'_>, which: SnapshotKey<'_>) -> Result<(), GraphError>;

    /// All of them (`bdrv_snapshot_list`).
    ///
    /// # Errors
    /// When they cannot be read.
    fn list(&self, bql: &BqlGuard) -> Result<Vec<SnapshotInfo>, GraphError>;

    /// Shows one in place of the image, for as long as the node is open
    /// (`bdrv_snapshot_load_tmp`); `None` when the driver cannot.
    ///
    /// # Errors
    /// The image shows what it showed.
    fn load_temporarily(
        &self,
        _section: &mut Drained<'_>,
        _which: SnapshotKey<'_>,
    ) -> Option<Result<(), GraphError>> {
        None
    }
}

fn refused(errno: i32, message: String) -> GraphError {
    GraphError::Refused { message, errno }
}

impl NodeView<'_> {
    /// The node that keeps the snapshots of this one: itself, or the only
    /// child that holds something of it, or a child of that.
    fn snapshot_keeper(self) -> Option<Self> {
        let mut node = self;
        while node.driver().snapshots().is_none() {
            let primary = node.primary_child()?;
            let holds = Role::DATA | Role::METADATA | Role::FILTERED;
            let mut children = node.children();
            let others = |edge: crate::EdgeView<'_>| {
                edge.role().intersects(holds) && edge.name() != primary.name()
            };
            if children.any(others) {
                return None;
            }
            node = primary.child();
        }
        Some(node)
    }

    /// Whether the node can have snapshots made (`bdrv_can_snapshot`). That
    /// there is a medium is for [`is_inserted`](block_io::Request::is_inserted)
    /// to say.
    pub fn can_snapshot(self) -> bool {
        self.is_writable() && self.snapshot_keeper().is_some()
    }

    /// The snapshots of the image (`bdrv_snapshot_list`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when it has none; the driver's.
    pub fn snapshots(self, bql: &BqlGuard) -> Result<Vec<SnapshotInfo>, GraphError> {
        let keeper = self.snapshot_keeper();
        let snapshots = keeper.and_then(|node| node.driver().snapshots());
        match snapshots {
            Some(snapshots) => snapshots.list(bql),
            None => Err(IoError::NotSupported.into()),
        }
    }

    /// The first snapshot that is meant (`bdrv_snapshot_find`,
    /// `bdrv_snapshot_find_by_id_and_name`).
    ///
    /// # Errors
    /// As [`snapshots`](NodeView::snapshots).
    pub fn find_snapshot(
        self,
        bql: &BqlGuard,
        which: SnapshotKey<'_>,
    ) -> Result<Option<SnapshotInfo>, GraphError> {
        let mut all = self.snapshots(bql)?.into_iter();
        Ok(all.find(|info| which.fits(info)))
    }
}

impl Drained<'_> {
    /// Does `f` where the snapshots are kept, in a section of that node.
    fn at_keeper<R>(&mut self, f: impl FnOnce(&dyn Snapshots, &mut Drained<'_>) -> R) -> Option<R> {
        let keeper = self.node().view(self).snapshot_keeper()?.node(self);
        let driver: Arc<dyn BlockDriver> = Arc::clone(&self.graph().node(keeper.key(self)).driver);
        let snapshots = driver.snapshots()?;
        Some(f(snapshots, &mut self.also(&keeper)))
    }

    /// Makes a snapshot, and notes in `info` what it is called
    /// (`bdrv_snapshot_create`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] where none are kept; the driver's.
    pub fn create_snapshot(&mut self, info: &mut SnapshotInfo) -> Result<(), GraphError> {
        let made = self.at_keeper(|snapshots, section| snapshots.create(section, info));
        made.unwrap_or_else(|| Err(IoError::NotSupported.into()))
    }

    /// Makes the image what it was at the time of a snapshot, the length
    /// included (`bdrv_snapshot_goto`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] where none are kept, or the node has dirty
    /// bitmaps, which would not note what changes; the driver's.
    pub fn goto_snapshot(&mut self, id: &str) -> Result<(), GraphError> {
        let node = self.node().clone();
        if node.bitmaps(self).next().is_some() {
            let text = "Device has active dirty bitmaps";
            return Err(refused(errno::EBUSY, text.into()));
        }
        let gone = self.at_keeper(|snapshots, section| {
            let gone = snapshots.goto(section, id);
            if gone.is_err() {
                // It may be another length although something failed after that.
                let length = async |request: Request<'_>| request.refresh_length().await;
                let _ = section.io(length);
            }
            gone?;
            refresh(section)
        });
        match gone {
            None => Err(refused(
                errno::ENOTSUP,
                "Block driver does not support snapshots".into(),
            )),
            Some(Err(error)) => Err(refused(
                error.errno(),
                format!("Failed to load snapshot: {error}"),
            )),
            // The node itself may keep something of its child.
            Some(Ok(())) => refresh(self),
        }
    }

    /// Gives a snapshot up (`bdrv_snapshot_delete`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] where none are kept, or none is meant; the
    /// driver's.
    pub fn delete_snapshot(&mut self, which: SnapshotKey<'_>) -> Result<(), GraphError> {
        which.check()?;
        let deleted = self.at_keeper(|snapshots, section| snapshots.delete(section, which));
        deleted.unwrap_or_else(|| {
            let view = self.node().view(self);
            let text = format!(
                "Block format '{}' used by device '{}' does not support internal snapshot deletion",
                view.driver().format_name(),
                view.device_name()
            );
            Err(refused(errno::ENOTSUP, text))
        })
    }

    /// Lets the node, which is read-only, show a snapshot
    /// (`bdrv_snapshot_load_tmp`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] where that cannot be, for a node that is not
    /// read-only, or when none is meant; the driver's.
    pub fn load_snapshot(&mut self, which: SnapshotKey<'_>) -> Result<(), GraphError> {
        which.check()?;
        let view = self.node().view(self);
        if !view.is_read_only() {
            return Err(refused(errno::EINVAL, "Device is not readonly".into()));
        }
        let text = format!(
            "Block format '{}' used by device '{}' does not support temporarily loading internal \
             snapshots",
            view.driver().format_name(),
            view.device_name()
        );
        let key = self.node().key(self);
        let driver = Arc::clone(&self.graph().node(key).driver);
        let loaded = driver
            .snapshots()
            .and_then(|snapshots| snapshots.load_temporarily(self, which));
        match loaded {
            Some(outcome) => {
                outcome?;
                // A driver that looks at its file again would show that.
                let length = async |request: Request<'_>| request.refresh_length().await;
                self.io(length)?;
                Ok(())
            }
            None => Err(refused(errno::ENOTSUP, text)),
        }
    }

    /// As [`load_snapshot`](Drained::load_snapshot), for a word that is the
    /// driver's or else the user's
    /// (`bdrv_snapshot_load_tmp_by_id_or_name`).
    ///
    /// # Errors
    /// As [`load_snapshot`](Drained::load_snapshot).
    pub fn load_snapshot_called(&mut self, word: &str) -> Result<(), GraphError> {
        let by_id = self.load_snapshot(SnapshotKey {
            id: Some(word),
            name: None,
        });
        match by_id {
            Err(error) if [errno::EINVAL, errno::ENOENT].contains(&error.errno()) => self
                .load_snapshot(SnapshotKey {
                    id: None,
                    name: Some(word),
                }),
            outcome => outcome,
        }
    }
}

/// What was kept of the old contents goes, the length first of all.
fn refresh(section: &mut Drained<'_>) -> Result<(), GraphError> {
    section.io(async |request: Request<'_>| -> Result<(), IoError> {
        let looked = request.invalidate_cache().await;
        request.refresh_length().await?;
        looked
    })?;
    Ok(())
}

/// The nodes that a snapshot of everything is about: those in use, that are
/// writable (`bdrv_all_snapshots_includes_bs`).
fn included(bql: &BqlGuard) -> Vec<Node> {
    let mut walk = Walk::over_top_nodes();
    let mut nodes = Vec::new();
    while let Some(node) = walk.next(bql) {
        let view = node.view(bql);
        let in_use = view.has_backend() || view.parents().next().is_none();
        if !view.is_read_only() && in_use {
            nodes.push(node);
        }
    }
    nodes
}

/// The nodes that a snapshot of everything has to be about: those named, or
/// else all that are in use and writable.
///
/// # Errors
/// [`GraphError::Refused`] for a name that no node has.
pub fn snapshot_nodes(bql: &BqlGuard, names: Option<&[&str]>) -> Result<Vec<Node>, GraphError> {
    let Some(names) = names else {
        return Ok(included(bql));
    };
    if names.is_empty() {
        let text = "At least one device is required for snapshot";
        return Err(refused(errno::EINVAL, text.into()));
    }
    let find = |name: &&str| {
        let missing = || refused(errno::EINVAL, format!("No block device node '{name}'"));
        Node::find(bql, name).ok_or_else(missing)
    };
    names.iter().map(find).collect()
}

/// Whether all of `nodes` can have snapshots made
/// (`bdrv_all_can_snapshot`).
///
/// # Errors
/// [`GraphError::Refused`] with the first that cannot.
pub fn check_snapshots(bql: &BqlGuard, nodes: &[Node]) -> Result<(), GraphError> {
    let mut views = nodes.iter().map(|node| node.view(bql));
    match views.find(|view| !view.can_snapshot()) {
        None => Ok(()),
        Some(view) => {
            let name = view.device_or_node_name();
            let text = format!("Device '{name}' is writable but does not support snapshots");
            Err(refused(errno::ENOTSUP, text))
        }
    }
}

/// Whether each of `nodes` has a snapshot that the user calls `name`
/// (`bdrv_all_has_snapshot`).
///
/// # Errors
/// Those of [`NodeView::snapshots`].
pub fn all_have_snapshot(bql: &BqlGuard, nodes: &[Node], name: &str) -> Result<bool, GraphError> {
    let which = SnapshotKey {
        id: None,
        name: Some(name),
    };
    for node in nodes {
        if node.view(bql).find_snapshot(bql, which)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does `f` at each of `nodes`, all of them drained.
fn at_each(
    bql: &mut BqlGuard,
    nodes: &[Node],
    what: &str,
    name: &str,
    mut f: impl FnMut(&mut Drained<'_>) -> Result<(), GraphError>,
) -> Result<(), GraphError> {
    let mut all = crate::drain_many(bql, nodes.iter().cloned());
    for node in nodes {
        let done = f(&mut all.also(node));
        done.map_err(|error| {
            let on = node.view(&all).device_or_node_name();
            let text = format!("Could not {what} snapshot '{name}' on '{on}': {error}");
            refused(error.errno(), text)
        })?;
    }
    Ok(())
}

/// Makes a snapshot of each of `nodes` while all of them rest. The state of
/// the virtual machine, if there is one, belongs to that of `keeper`
/// (`bdrv_all_create_snapshot`).
///
/// # Errors
/// [`GraphError::Refused`] with the first that failed. Those before have
/// theirs.
pub fn create_snapshots(
    bql: &mut BqlGuard,
    nodes: &[Node],
    keeper: Option<&Node>,
    info: &SnapshotInfo,
) -> Result<(), GraphError> {
    at_each(bql, nodes, "create", &info.name, |section| {
        let mut info = info.clone();
        if Some(section.node()) != keeper {
            info.vm_state_size = 0;
        }
        section.create_snapshot(&mut info)
    })
}

/// Makes each of `nodes` what it was at the time of its snapshot `name`, while
/// all of them rest (`bdrv_all_goto_snapshot`).
///
/// # Errors
/// [`GraphError::Refused`] with the first that failed. Those before have
/// changed.
pub fn goto_snapshots(bql: &mut BqlGuard, nodes: &[Node], name: &str) -> Result<(), GraphError> {
    at_each(bql, nodes, "load", name, |section| {
        let found = find_here(section, name)?;
        let found = found.ok_or(IoError::from_errno(errno::ENOENT))?;
        section.goto_snapshot(&found.id)
    })
}

/// Gives up the snapshot `name` of each of `nodes` that has it
/// (`bdrv_all_delete_snapshot`).
///
/// # Errors
/// [`GraphError::Refused`] with the first that failed. Those before have lost
/// theirs.
pub fn delete_snapshots(bql: &mut BqlGuard, nodes: &[Node], name: &str) -> Result<(), GraphError> {
    at_each(bql, nodes, "delete", name, |section| {
        match find_here(section, name)? {
            Some(info) => section.delete_snapshot(SnapshotKey {
                id: Some(&info.id),
                name: Some(&info.name),
            }),
            None => Ok(()),
        }
    })
}

fn find_here(section: &Drained<'_>, name: &str) -> Result<Option<SnapshotInfo>, GraphError> {
    let which = SnapshotKey {
        id: None,
        name: Some(name),
    };
    section.node().view(section).find_snapshot(section, which)
}

/// The node that keeps the state of the virtual machine: the one that is
/// named, or else the first of `nodes` that can
/// (`bdrv_all_find_vmstate_bs`).
///
/// # Errors
/// [`GraphError::Refused`] when there is none.
pub fn find_vmstate_node(
    bql: &BqlGuard,
    name: Option<&str>,
    nodes: &[Node],
) -> Result<Node, GraphError> {
    let named = |node: &&Node| name.is_none_or(|name| node.name() == name);
    let mut candidates = nodes.iter().filter(named).peekable();
    let exists = candidates.peek().is_some();
    if let Some(node) = candidates.find(|node| node.view(bql).can_snapshot()) {
        return Ok(node.clone());
    }
    let text = match name {
        None => "No block device supports snapshots".into(),
        Some(name) if exists => format!("vmstate block device '{name}' does not support snapshots"),
        Some(name) => format!("vmstate block device '{name}' does not exist"),
    };
    Err(refused(errno::ENOTSUP, text))
}
