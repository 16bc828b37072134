//! What the tests share: `test-support`, and short ways to make and open images.

mod qemu;
pub mod tape;

use std::path::Path;

use block_drivers::File;
use block_gs::{Backend, BqlGuard, GraphError, IoError, Node, Perm, SnapshotInfo};
use block_io::aio::Wait;
use block_io::{Buffer, CheckResult, Repairs, Request, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};

pub use qemu::{assert_sound, assert_sound_and_reads, beside_qemu_img, qemu_reads, text};
pub use test_support::stored::{COPIED, Stored};
pub use test_support::{
    READ_WRITE, Random, Tool, backend, disk, flush, in_layer_with_files as in_layer, pattern, read,
    write,
};

/// Runs a test in a block layer of its own, at a path where nothing is yet.
#[track_caller]
pub fn at_a_path(test: impl FnOnce(&mut BqlGuard, &Path)) {
    in_layer(|bql, directory| test(bql, &directory.path().join("image")));
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

/// Opens an image and a disk over it, to be written.
pub fn attached(bql: &mut BqlGuard, path: &Path) -> (Node, Backend) {
    let node = open(bql, path, false).expect("opened");
    let disk = disk(bql, &node);
    (node, disk)
}

/// A device called `guest`, which reads and writes.
pub fn guest(bql: &mut BqlGuard, node: &Node) -> Backend {
    guest_with(bql, node, READ_WRITE)
}

/// A device called `guest`, which asks for these permissions.
pub fn guest_with(bql: &mut BqlGuard, node: &Node, perm: Perm) -> Backend {
    let guest = Backend::new(bql, "guest", perm, Perm::all()).expect("a backend");
    guest.insert(bql, node).expect("nobody objects");
    guest
}

/// Drops the last that there is of nodes, and lets the main loop close them.
pub fn close<T>(bql: &mut BqlGuard, last: T) {
    drop(last);
    turn(bql);
}

/// One turn of the main loop, which closes what nobody has any more.
pub fn turn(bql: &mut BqlGuard) {
    bql.poll(Wait::No);
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

/// A small image with clusters of this size, all else as it is by default.
pub fn clusters_of(cluster_size: u64, length: u64) -> CreateOptions {
    CreateOptions {
        cluster_size,
        ..CreateOptions::new(length)
    }
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

/// Makes an image, writes to it, and closes it.
pub fn create_written(
    bql: &mut BqlGuard,
    path: &Path,
    options: &CreateOptions,
    written: &[(u64, &[u8])],
) {
    create(bql, path, options);
    let (node, disk) = attached(bql, path);
    for (offset, bytes) in written {
        write(bql, &disk, *offset, bytes).expect("written");
    }
    close(bql, (disk, node));
}

/// Keeps what an image shows now. Returns by which id.
pub fn take_snapshot(bql: &mut BqlGuard, node: &Node, name: &str) -> Result<String, GraphError> {
    let mut info = SnapshotInfo {
        name: name.to_owned(),
        ..SnapshotInfo::default()
    };
    node.drain(bql).create_snapshot(&mut info)?;
    Ok(info.id)
}

/// Looks for what is wrong with an image, and repairs it as it is told.
pub fn check(bql: &mut BqlGuard, node: &Node, repairs: Repairs) -> Result<CheckResult, IoError> {
    let check = async |request: Request<'_>| request.check(repairs).await;
    node.drain(bql).io(check)
}
