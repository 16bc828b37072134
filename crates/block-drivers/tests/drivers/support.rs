//! What the tests share: short ways to do I/O, and QEMU's own tools.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_drivers::NullCo;
use block_gs::{
    Attachment, Backend, BlockLayer, BqlGuard, DeviceOps, GraphError, IoError, Node, Perm,
};
use block_io::aio::sleep;
use block_io::{Buffer, DeviceIdentity, DeviceIo, Root};
use tempfile::TempDir;

/// What a device that writes but does not resize asks for.
pub const READ_WRITE: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE);

/// What `Destination`s are filled with before a read, to see what it touched.
pub const UNTOUCHED: u8 = 0xaa;

/// Runs `test` in a block layer of its own, with a directory for its files.
pub fn in_layer(test: impl FnOnce(&mut BqlGuard, &TempDir)) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| test(bql, &directory));
}

/// A backend over `node` that shares everything.
pub fn backend(bql: &mut BqlGuard, node: &Node, perm: Perm) -> Result<Backend, GraphError> {
    let backend = Backend::new(bql, "", perm, Perm::all())?;
    backend.insert(bql, node)?;
    Ok(backend)
}

/// The root of a backend that reads and writes.
pub fn disk(bql: &mut BqlGuard, node: &Node) -> Backend {
    backend(bql, node, READ_WRITE).expect("nobody objects")
}

/// Reads within the node.
pub fn read(
    bql: &mut BqlGuard,
    disk: &Backend,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, IoError> {
    let mut buffer = untouched(len);
    bql.block_on(disk.root().read(offset, buffer.destination()))?;
    Ok(buffer.as_slice().to_vec())
}

/// Reads as a parent does, which may go beyond the node.
pub fn read_as_parent(
    bql: &mut BqlGuard,
    disk: &Backend,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, IoError> {
    let mut buffer = untouched(len);
    bql.block_on(async {
        let in_flight = disk.root().begin().await;
        in_flight
            .request()?
            .read(offset, buffer.destination())
            .await
    })?;
    Ok(buffer.as_slice().to_vec())
}

/// Writes within the node.
pub fn write(bql: &mut BqlGuard, disk: &Backend, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    bql.block_on(disk.root().write(offset, buffer.source()))
}

/// Writes as a parent does, which may make the node grow.
pub fn write_as_parent(
    bql: &mut BqlGuard,
    disk: &Backend,
    offset: u64,
    bytes: &[u8],
) -> Result<(), IoError> {
    bql.block_on(write_growing(disk.root(), offset, bytes))
}

async fn write_growing(root: &Root, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    let in_flight = root.begin().await;
    in_flight.request()?.write(offset, buffer.source()).await
}

/// A request of `disk` that takes a while: who drains it polls.
pub fn keep_busy(bql: &mut BqlGuard, disk: &Backend) {
    let root = disk.root().clone();
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let busy = bql.context().clone().spawn(async move {
        let _in_flight = root.begin().await;
        begins.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(50)).await;
    });
    while !begun.load(Ordering::Relaxed) {
        bql.run_for(Duration::from_millis(1));
    }
    drop(busy);
}

/// What the main loop does when an operation waits there for the first time
/// after a section was opened over a backend: the device lets go of a node whose
/// end takes a while, and hands over a job for that time.
struct Meanwhile(Mutex<Option<(Node, Job)>>);

type Job = Box<dyn FnOnce(&mut BqlGuard) + Send>;

impl DeviceIo for Meanwhile {}

impl DeviceOps for Meanwhile {
    fn drained_begin(&self, bql: &BqlGuard) {
        if let Some((node, job)) = self.0.lock().expect("no panic").take() {
            drop(node);
            bql.main_loop().schedule(job);
        }
    }
}

/// Runs `job` in the first change that somebody tries in a section over `disk`,
/// after he has looked and before he writes.
pub fn meanwhile(
    bql: &mut BqlGuard,
    disk: &Backend,
    job: impl FnOnce(&mut BqlGuard) + Send + 'static,
) -> Attachment {
    let slow = NullCo::new(512).latency(Duration::from_millis(5));
    let slow = slow.open(bql, "slow").expect("opened");
    let device = Meanwhile(Mutex::new(Some((slow, Box::new(job)))));
    let attached = disk.attach_device(bql, DeviceIdentity::default(), Arc::new(device));
    attached.expect("it has none")
}

/// Makes earlier writes durable.
pub fn flush(bql: &mut BqlGuard, disk: &Backend) -> Result<(), IoError> {
    bql.block_on(disk.root().flush())
}

fn untouched(len: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(len);
    buffer.as_mut_slice().fill(UNTOUCHED);
    buffer
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// One of QEMU's programs.
pub struct Tool(PathBuf);

impl Tool {
    /// Looks `name` up in `PATH`. Without it the calling test has nothing to
    /// compare with: it says so and ends, or fails if the environment demands
    /// the comparison.
    pub fn find(name: &str) -> Option<Tool> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(name));
        let found = candidates.find(|candidate| candidate.is_file());
        if found.is_none() {
            let required =
                std::env::var_os("QUIESCE_REQUIRE_QEMU").is_some_and(|value| value == "1");
            assert!(
                !required,
                "QUIESCE_REQUIRE_QEMU=1, but {name} is not in PATH"
            );
            println!("SKIPPED: {name} is not in PATH");
        }
        found.map(Tool)
    }

    /// The program itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        let mut command = Command::new(&self.0);
        command.env("LC_ALL", "C").args(arguments);
        command.output().expect("the tool starts")
    }

    /// Runs it, and returns what it prints.
    ///
    /// # Panics
    /// When it reports failure.
    pub fn succeed(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}
