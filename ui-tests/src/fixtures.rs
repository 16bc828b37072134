//! A main loop and a few nodes, so that a case can be about one thing.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use block_drivers::{NullCo, Raw};
use block_gs::{
    Backend, BlockDriver, BlockLayer, BqlGuard, IoThread, Node, NodeBuilder, Perm, Role,
};
use block_io::{Destination, DriverIo, IoError, IoFuture, Request, Source, WriteFlags};

/// What a case returns: `?` works with every error of the block layer.
pub type Outcome = Result<(), Box<dyn Error>>;

/// The length of every fixture node, in bytes.
pub const SIZE: u64 = 1 << 20;

/// After this a case is taken to wait for ever. It runs for milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `case` in the main loop of a new block layer. A case that waits for
/// ever ends the process.
///
/// # Panics
/// With the error of the case.
pub fn in_main_loop(case: impl FnOnce(&mut BqlGuard) -> Outcome) {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("the case has waited for {PATIENCE:?}");
        std::process::exit(1);
    });
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(case).expect("the case");
}

/// A node without children.
///
/// # Panics
/// When there is one of that name.
pub fn null(bql: &mut BqlGuard, name: &str) -> Node {
    let options = NullCo::new(SIZE).read_zeroes(true);
    options.open(bql, name).expect("a null-co node")
}

/// A node whose child `file` is `file`. It has a size of its own, so it sees
/// requests and does not only pass them through.
///
/// # Panics
/// When there is one of that name.
pub fn raw(bql: &mut BqlGuard, name: &str, file: &Node) -> Node {
    let raw = Raw::over(file).size(Some(file.length(bql)));
    raw.open(bql, name).expect("a raw node")
}

/// A backend over `node` that reads, writes and shares everything.
///
/// # Panics
/// When there is one of that name, or the node cannot be used so.
pub fn disk(bql: &mut BqlGuard, name: &str, node: &Node) -> Backend {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE;
    let disk = Backend::new(bql, name, perm, Perm::all()).expect("a backend");
    disk.insert(bql, node).expect("a backend over its node");
    disk
}

/// An iothread.
///
/// # Panics
/// When there is one of that name.
pub fn iothread(bql: &mut BqlGuard, name: &str) -> IoThread {
    IoThread::create(bql, name).expect("an iothread")
}

/// A node with a backing image, for cases about chains.
///
/// # Panics
/// When there is one of that name.
pub fn overlay(bql: &mut BqlGuard, name: &str, backing: &Node) -> Node {
    NodeBuilder::new(name)
        .child("backing", backing, Role::COW)
        .open(bql, Arc::new(Overlay))
        .expect("an overlay")
}

/// The driver of [`overlay`]: everything is still in the backing image.
#[derive(Debug)]
pub struct Overlay;

impl DriverIo for Overlay {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        match request.backing() {
            Ok(backing) => backing.read(offset, into),
            Err(error) => IoFuture::failed(error),
        }
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::ready(Err(IoError::NotSupported))
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE))
    }
}

impl BlockDriver for Overlay {
    fn format_name(&self) -> &'static str {
        "overlay"
    }

    fn supports_backing(&self) -> bool {
        true
    }
}
