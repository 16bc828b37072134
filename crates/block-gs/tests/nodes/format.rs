//! A driver for tests that has every hook which the others lack.

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use block_common::error::errno;
use block_gs::{
    BlockDriver, BlockSizes, BqlCell, BqlGuard, Breakpoints, DiskGeometry, Drained, GraphError,
    HeaderBacking, IoError, Node, NodeBuilder, NodeView, Role, SnapshotInfo, SnapshotKey,
    Snapshots, Value,
};
use block_io::{
    AmendReady, BackingName, CheckResult, Destination, DriverInfo, DriverIo, Findings, IoFuture,
    Repairs, Request, Source, Zone, ZoneKind, ZoneState,
};

/// What the format keeps.
pub struct Format {
    /// What the header says about the backing image.
    pub header: Mutex<Option<HeaderBacking>>,
    /// Headers cannot be written.
    pub stuck: bool,
    pub name: Option<String>,
    pub options: Vec<(&'static str, Value)>,
    pub state: Mutex<Vec<u8>>,
    pub length: Mutex<u64>,
    pub kept: BqlCell<RefCell<Vec<SnapshotInfo>>>,
    pub suspended: BqlCell<RefCell<Vec<String>>>,
    pub amended: Mutex<Vec<String>>,
    pub prepared: AtomicUsize,
}

impl Format {
    pub fn new(bql: &BqlGuard) -> Format {
        Format {
            header: Mutex::default(),
            stuck: false,
            name: None,
            options: Vec::new(),
            state: Mutex::default(),
            length: Mutex::new(4096),
            kept: BqlCell::new(bql, RefCell::default()),
            suspended: BqlCell::new(bql, RefCell::default()),
            amended: Mutex::default(),
            prepared: AtomicUsize::new(0),
        }
    }

    pub fn says(&self) -> Option<String> {
        let header = self.header.lock().expect("no panic");
        header.as_ref().map(|said| said.file.clone())
    }
}

/// An image of the format called `name`, and in a file of that name.
pub fn image(bql: &mut BqlGuard, name: &str, backing: Option<&Node>) -> (Node, Arc<Format>) {
    let mut format = Format::new(bql);
    format.name = Some(format!("/images/{name}"));
    if let Some(below) = backing {
        format.header = Mutex::new(Some(HeaderBacking {
            file: below.filename(bql),
            format: Some("format".into()),
        }));
    }
    open(bql, name, format, backing)
}

pub fn open(
    bql: &mut BqlGuard,
    name: &str,
    format: Format,
    backing: Option<&Node>,
) -> (Node, Arc<Format>) {
    let format = Arc::new(format);
    let mut builder = NodeBuilder::new(name);
    if let Some(below) = backing {
        builder = builder.child("backing", below, Role::COW);
    }
    let node = builder.open(bql, format.clone()).expect("an image");
    (node, format)
}

impl DriverIo for Format {
    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        into.fill(0);
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(*self.length.lock().expect("no panic")))
    }

    fn info<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, DriverInfo> {
        IoFuture::ready(Ok(DriverInfo {
            cluster_size: 1024,
            ..DriverInfo::default()
        }))
    }

    fn allocated_size<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(7))
    }

    fn save_vmstate<'r>(
        &'r self,
        _request: Request<'r>,
        position: u64,
        from: Source<'r>,
    ) -> IoFuture<'r> {
        let mut state = self.state.lock().expect("no panic");
        state.resize(position as usize + from.len(), 0);
        from.copy_to_slice(&mut state[position as usize..]);
        IoFuture::done()
    }

    fn load_vmstate<'r>(
        &'r self,
        _request: Request<'r>,
        position: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        let state = self.state.lock().expect("no panic");
        let end = position as usize + into.len();
        into.copy_from_slice(&state[position as usize..end]);
        IoFuture::done()
    }

    fn check<'r>(
        &'r self,
        _request: Request<'r>,
        repairs: Repairs,
        _findings: &'r dyn Findings,
    ) -> IoFuture<'r, CheckResult> {
        IoFuture::ready(Ok(CheckResult {
            leaks: 3,
            leaks_fixed: if repairs.contains(Repairs::LEAKS) {
                3
            } else {
                0
            },
            ..CheckResult::default()
        }))
    }

    fn change_backing_file<'r>(
        &'r self,
        _request: Request<'r>,
        to: Option<BackingName<'r>>,
    ) -> IoFuture<'r> {
        if self.stuck {
            return IoFuture::failed(IoError::from_errno(errno::ENOSPC));
        }
        *self.header.lock().expect("no panic") = to.map(|name| HeaderBacking {
            file: name.file.to_owned(),
            format: name.format.map(str::to_owned),
        });
        IoFuture::done()
    }

    fn amend<'r>(&'r self, _request: Request<'r>, ready: &'r AmendReady) -> IoFuture<'r> {
        let wanted = ready.kept::<String>().expect("what pre_run has kept");
        self.amended.lock().expect("no panic").push(wanted.clone());
        IoFuture::done()
    }

    fn zones<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        most: usize,
    ) -> IoFuture<'r, Vec<Zone>> {
        let zone = Zone {
            start: offset,
            length: 4096,
            capacity: 4096,
            write_pointer: offset,
            kind: ZoneKind::SequentialRequired,
            state: ZoneState::Empty,
        };
        IoFuture::ready(Ok(vec![zone; most]))
    }

    fn is_inserted<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, bool> {
        IoFuture::ready(Ok(!self.stuck))
    }
}

impl BlockDriver for Format {
    fn format_name(&self) -> &'static str {
        "format"
    }

    fn supports_backing(&self) -> bool {
        true
    }

    fn filename(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<String> {
        self.name.clone()
    }

    fn strong_options(&self, _bql: &BqlGuard) -> Vec<(&'static str, Value)> {
        self.options.clone()
    }

    fn header_backing(&self, _bql: &BqlGuard) -> Option<HeaderBacking> {
        self.header.lock().expect("no panic").clone()
    }

    fn block_sizes(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<BlockSizes> {
        Some(BlockSizes {
            logical: 512,
            physical: 4096,
        })
    }

    fn disk_geometry(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<DiskGeometry> {
        Some(DiskGeometry {
            heads: 16,
            sectors: 63,
            cylinders: 2,
        })
    }

    fn has_zero_init(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        Some(true)
    }

    fn make_empty(&self, _section: &mut Drained<'_>) -> Result<(), GraphError> {
        match self.stuck {
            true => Err(IoError::from_errno(errno::EIO).into()),
            false => Ok(()),
        }
    }

    fn amend_pre_run(
        &self,
        _bql: &mut BqlGuard,
        _node: &Node,
        options: &Value,
        _force: bool,
    ) -> Result<Box<dyn Any + Send + Sync>, GraphError> {
        self.prepared.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(options.to_string()))
    }

    fn amend_clean(&self, _bql: &mut BqlGuard, _node: &Node, prepared: Box<dyn Any + Send + Sync>) {
        assert!(prepared.is::<String>());
        self.prepared.fetch_sub(1, Ordering::Relaxed);
    }

    fn takes_children(&self) -> bool {
        true
    }

    fn add_child(&self, section: &mut Drained<'_>, child: &Node) -> Result<(), GraphError> {
        let name = format!(
            "children.{}",
            section.node().view(section).children().count()
        );
        section.attach_child(&name, child, Role::DATA)
    }

    fn del_child(&self, section: &mut Drained<'_>, edge: &str) -> Result<(), GraphError> {
        section.detach_child(edge)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn breakpoints(&self) -> Option<&dyn Breakpoints> {
        Some(self)
    }
}

impl Snapshots for Format {
    fn create(&self, section: &mut Drained<'_>, info: &mut SnapshotInfo) -> Result<(), GraphError> {
        if self.stuck {
            return Err(IoError::from_errno(errno::ENOSPC).into());
        }
        let mut kept = self.kept.get(section).borrow_mut();
        info.id = (kept.len() + 1).to_string();
        kept.push(info.clone());
        Ok(())
    }

    fn goto(&self, _section: &mut Drained<'_>, id: &str) -> Result<(), GraphError> {
        // Each one is another sector long.
        let id: u64 = id.parse().map_err(|_| IoError::from_errno(errno::ENOENT))?;
        *self.length.lock().expect("no panic") = 512 * id;
        Ok(())
    }

    fn delete(&self, section: &mut Drained<'_>, which: SnapshotKey<'_>) -> Result<(), GraphError> {
        let mut kept = self.kept.get(section).borrow_mut();
        kept.retain(|info| !which.fits(info));
        Ok(())
    }

    fn list(&self, bql: &BqlGuard) -> Result<Vec<SnapshotInfo>, GraphError> {
        Ok(self.kept.get(bql).borrow().clone())
    }

    fn load_temporarily(
        &self,
        section: &mut Drained<'_>,
        which: SnapshotKey<'_>,
    ) -> Option<Result<(), GraphError>> {
        let found = self.kept.get(section).borrow();
        let known = found.iter().any(|info| which.fits(info));
        Some(match known {
            true => Ok(()),
            false => Err(IoError::from_errno(errno::ENOENT).into()),
        })
    }
}

impl Breakpoints for Format {
    fn set(&self, bql: &BqlGuard, event: &str, tag: &str) -> Result<(), IoError> {
        let held = format!("{event} {tag}");
        self.suspended.get(bql).borrow_mut().push(held);
        Ok(())
    }

    fn remove(&self, bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        let mut held = self.suspended.get(bql).borrow_mut();
        held.retain(|held| !held.ends_with(tag));
        Ok(())
    }

    fn resume(&self, bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        self.remove(bql, tag)
    }

    fn is_suspended(&self, bql: &BqlGuard, tag: &str) -> bool {
        let held = self.suspended.get(bql).borrow();
        held.iter().any(|held| held.ends_with(tag))
    }
}
