//! A driver for tests: keeps bytes in memory, can be slow, counts what it is
//! told.
#![allow(dead_code, reason = "each test binary uses another part")]

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_common::{BlockLimits, GraphError};
use block_gs::{
    Backend, BlockDriver, BqlGuard, ChildPermQuery, Drained, Node, NodeBuilder, Perm, PermPair,
    Role, nodes,
};
use block_io::aio::sleep;
use block_io::{Destination, DriverIo, IoError, IoFuture, Request, Source, WriteFlags};

pub use test_support::in_layer;

/// What the driver was told, and how it behaves.
#[derive(Default)]
pub struct Mem {
    pub bytes: Mutex<Vec<u8>>,
    pub latency: Duration,
    pub filter: bool,
    pub backing: bool,
    /// Asks for these instead of the default on its children.
    pub child_perms: Option<PermPair>,
    pub refuse_perms: bool,
    /// The longest transfer; 0 for that of the children.
    pub max_transfer: AtomicU64,
    /// Refuses to be made of what transfers less.
    pub least_transfer: u64,
    /// Refuses to give the image to another process, or to take it back.
    pub refuse_handover: bool,
    /// What the driver was told about other processes.
    pub handovers: Mutex<Vec<&'static str>>,
    /// Begins minus ends of drained sections.
    pub drained: AtomicI64,
    pub drain_begins: AtomicUsize,
    pub perm_checks: AtomicUsize,
    pub perm_sets: AtomicUsize,
    pub perm_aborts: AtomicUsize,
    pub reads: AtomicUsize,
    pub flushes: AtomicUsize,
    pub closed: AtomicUsize,
    pub contexts: Mutex<Vec<String>>,
}

impl Mem {
    pub fn of(size: usize) -> Mem {
        Mem {
            bytes: Mutex::new(vec![0; size]),
            ..Mem::default()
        }
    }

    pub fn slow(size: usize, latency: Duration) -> Mem {
        Mem {
            latency,
            ..Mem::of(size)
        }
    }

    pub fn filter() -> Mem {
        Mem {
            filter: true,
            ..Mem::default()
        }
    }

    pub fn overlay(size: usize) -> Mem {
        Mem {
            backing: true,
            ..Mem::of(size)
        }
    }
}

impl DriverIo for Mem {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.filter {
            return match request.file() {
                Ok(file) => file.read(offset, into),
                Err(error) => IoFuture::failed(error),
            };
        }
        IoFuture::new(async move {
            if !self.latency.is_zero() {
                sleep(self.latency).await;
            }
            let start = offset as usize;
            let end = start + into.len();
            into.copy_from_slice(&self.bytes.lock().expect("no panic")[start..end]);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        if self.filter {
            return match request.file() {
                Ok(file) => file.write_with(offset, from, flags),
                Err(error) => IoFuture::failed(error),
            };
        }
        IoFuture::new(async move {
            if !self.latency.is_zero() {
                sleep(self.latency).await;
            }
            let start = offset as usize;
            let end = start + from.len();
            let mut bytes = self.bytes.lock().expect("no panic");
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            from.copy_to_slice(&mut bytes[start..end]);
            Ok(())
        })
    }

    fn invalidate_cache<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        if self.refuse_handover {
            return IoFuture::failed(IoError::from_errno(5));
        }
        self.handovers.lock().expect("no panic").push("taken");
        IoFuture::done()
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        IoFuture::done()
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        if self.filter {
            return match request.file() {
                Ok(file) => IoFuture::ready(Ok(file.node().length())),
                Err(_) => IoFuture::ready(Ok(0)),
            };
        }
        IoFuture::ready(Ok(self.bytes.lock().expect("no panic").len() as u64))
    }
}

impl BlockDriver for Mem {
    fn format_name(&self) -> &'static str {
        "mem"
    }

    fn is_filter(&self) -> bool {
        self.filter
    }

    fn supports_backing(&self) -> bool {
        self.backing
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        let most = self.max_transfer.load(Ordering::Relaxed);
        if most > 0 {
            limits.max_transfer = most;
        }
        if limits.max_transfer < self.least_transfer {
            return Err(GraphError::Refused {
                message: "the test driver needs longer transfers".into(),
                errno: 22,
            });
        }
        Ok(())
    }

    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        self.child_perms.unwrap_or_else(|| query.default_perms())
    }

    fn check_perm(&self, _bql: &BqlGuard, _asked: PermPair) -> Result<(), GraphError> {
        self.perm_checks.fetch_add(1, Ordering::Relaxed);
        if self.refuse_perms {
            return Err(GraphError::Refused {
                message: "the test driver refuses".into(),
                errno: 5,
            });
        }
        Ok(())
    }

    fn set_perm(&self, _bql: &BqlGuard, _granted: PermPair) {
        self.perm_sets.fetch_add(1, Ordering::Relaxed);
    }

    fn abort_perm_update(&self, _bql: &BqlGuard) {
        self.perm_aborts.fetch_add(1, Ordering::Relaxed);
    }

    fn inactivate(&self, section: &mut Drained<'_>) -> Result<(), GraphError> {
        if self.refuse_handover {
            return Err(IoError::from_errno(5).into());
        }
        section.io(async |request| request.flush().await)?;
        self.handovers.lock().expect("no panic").push("released");
        Ok(())
    }

    fn drain_begin(&self, _bql: &BqlGuard) {
        self.drained.fetch_add(1, Ordering::Relaxed);
        self.drain_begins.fetch_add(1, Ordering::Relaxed);
    }

    fn drain_end(&self, _bql: &BqlGuard) {
        self.drained.fetch_sub(1, Ordering::Relaxed);
    }

    fn attach_context(
        &self,
        _bql: &BqlGuard,
        _node: &block_io::IoNode,
        context: &block_io::aio::AioContext,
    ) {
        let mut contexts = self.contexts.lock().expect("no panic");
        contexts.push(context.name().to_owned());
    }

    fn close(&self, _bql: &mut BqlGuard) {
        assert!(
            self.drained.load(Ordering::Relaxed) > 0,
            "closed while not drained"
        );
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A node with a test driver.
pub fn node(bql: &mut BqlGuard, name: &str, driver: Mem) -> (Node, Arc<Mem>) {
    let driver = Arc::new(driver);
    let node = NodeBuilder::new(name)
        .open(bql, driver.clone())
        .unwrap_or_else(|error| panic!("opening '{name}': {error}"));
    (node, driver)
}

/// A node with a test driver above another one.
pub fn above(
    bql: &mut BqlGuard,
    name: &str,
    driver: Mem,
    edge: &str,
    child: &Node,
    role: Role,
) -> Result<(Node, Arc<Mem>), GraphError> {
    let driver = Arc::new(driver);
    let builder = NodeBuilder::new(name).child(edge, child, role);
    Ok((builder.open(bql, driver.clone())?, driver))
}

/// A filter above `child`.
pub fn filter(bql: &mut BqlGuard, name: &str, child: &Node) -> (Node, Arc<Mem>) {
    above(
        bql,
        name,
        Mem::filter(),
        "file",
        child,
        Role::FILTERED | Role::PRIMARY,
    )
    .unwrap_or_else(|error| panic!("opening '{name}': {error}"))
}

/// A backend that reads and writes and lets others do the same.
pub fn backend(bql: &mut BqlGuard, name: &str, node: &Node) -> Backend {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE;
    let backend = Backend::new(bql, name, perm, Perm::all()).expect("a backend");
    backend.insert(bql, node).expect("inserted");
    backend
}

/// The name of the node below `edge` of `node`.
pub fn child_name(bql: &BqlGuard, node: &Node, edge: &str) -> Option<String> {
    let child = node.view(bql).child(edge)?;
    Some(child.child().name().to_owned())
}

/// Runs the main loop until something happens of which nobody tells it.
pub fn spin_until(bql: &mut BqlGuard, mut condition: impl FnMut() -> bool) {
    while !condition() {
        bql.run_for(Duration::from_millis(1));
    }
}

/// Everything that can be seen of the graph, one line per edge and node.
pub fn picture(bql: &BqlGuard) -> Vec<String> {
    let mut lines = Vec::new();
    for node in nodes(bql) {
        lines.push(format!("{} quiesced {}", node.name(), node.quiesce_count()));
        for edge in node.parents() {
            lines.push(format!(
                "{} -> {} as {} {:?} {:?} {:?}",
                edge.parent(),
                node.name(),
                edge.name(),
                edge.role(),
                edge.perm(),
                edge.shared()
            ));
        }
    }
    lines.sort();
    lines
}
