//! What the tests share: short ways to do I/O, and QEMU's own tools.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use block_drivers::File;
use block_gs::{Backend, BlockLayer, BqlGuard, GraphError, IoError, Node, Perm};
use block_io::{Buffer, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};
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

/// Writes within the node.
pub fn write(bql: &mut BqlGuard, disk: &Backend, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    bql.block_on(disk.root().write(offset, buffer.source()))
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

/// Opens an image, and the backing images that the headers name.
pub fn open(bql: &mut BqlGuard, path: &Path, read_only: bool) -> Result<Node, GraphError> {
    open_with(bql, path, read_only, Qcow2Options::default())
}

/// As [`open`], with options of the driver.
pub fn open_with(
    bql: &mut BqlGuard,
    path: &Path,
    read_only: bool,
    options: Qcow2Options,
) -> Result<Node, GraphError> {
    let file = File::new(path).read_only(read_only).open(bql, "")?;
    let mut image = Qcow2Image::read(bql, &file)?;
    let directory = path.parent().expect("a directory");
    if let Some(backing) = image.backing_file() {
        let below = directory.join(&backing.file);
        let below = match backing.format.as_deref() {
            Some("raw") => {
                let file = File::new(&below).read_only(true).open(bql, "")?;
                block_drivers::Raw::over(&file)
                    .read_only(true)
                    .open(bql, "")?
            }
            _ => open(bql, &below, true)?,
        };
        image = image.backing(&below);
    }
    if let Some(data) = image.data_file_name() {
        let data = File::new(directory.join(data))
            .read_only(read_only)
            .open(bql, "")?;
        let data = block_drivers::Raw::over(&data)
            .read_only(read_only)
            .open(bql, "")?;
        image = image.data_file(&data);
    }
    let unmap = block_gs::NodeOptions {
        read_only,
        unmap: true,
        ..Default::default()
    };
    image.settings(options).options(unmap).open(bql, "")
}

/// Makes a range read as zeroes.
pub fn zero(
    bql: &mut BqlGuard,
    disk: &Backend,
    offset: u64,
    bytes: u64,
    flags: WriteFlags,
) -> Result<(), IoError> {
    bql.block_on(disk.root().write_zeroes(offset, bytes, flags))
}

/// Gives a range up.
pub fn discard(bql: &mut BqlGuard, disk: &Backend, offset: u64, bytes: u64) -> Result<(), IoError> {
    bql.block_on(disk.root().discard(offset, bytes))
}

/// Writes whole clusters, compressed.
pub fn write_compressed(
    bql: &mut BqlGuard,
    disk: &Backend,
    offset: u64,
    bytes: &[u8],
) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    let flags = WriteFlags::COMPRESSED;
    bql.block_on(disk.root().write_with(offset, buffer.source(), flags))
}

/// What QEMU reads in an image.
pub fn qemu_reads(qemu_img: &Tool, path: &Path) -> Vec<u8> {
    let raw = path.with_extension("raw");
    qemu_img.succeed([
        OsStr::new("convert"),
        "-O".as_ref(),
        "raw".as_ref(),
        path.as_ref(),
        raw.as_ref(),
    ]);
    let bytes = std::fs::read(&raw).expect("converted");
    std::fs::remove_file(raw).expect("it was there");
    bytes
}

/// Makes an image in a new file.
pub fn create(bql: &mut BqlGuard, path: &Path, options: &CreateOptions) {
    let _ = std::fs::remove_file(path);
    File::create(path, 0).expect("created");
    let file = File::new(path).open(bql, "").expect("opened");
    let perm = READ_WRITE | Perm::RESIZE;
    let disk = backend(bql, &file, perm).expect("nobody objects");
    let data = options.data_file.as_ref().map(|name| {
        let path = path.parent().expect("a directory").join(name);
        let _ = std::fs::remove_file(&path);
        File::create(&path, 0).expect("created");
        let file = File::new(&path).open(bql, "").expect("opened");
        backend(bql, &file, perm).expect("nobody objects")
    });
    let data = data.as_ref().map(Backend::root);
    bql.block_on(options.write_to(disk.root(), data))
        .expect("made");
}
