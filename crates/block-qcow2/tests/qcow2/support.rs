//! What the tests share: `test-support`, and short ways to make and open images.

use std::ffi::OsStr;
use std::path::Path;

use block_drivers::File;
use block_gs::{Backend, BqlGuard, GraphError, IoError, Node, Perm};
use block_io::{Buffer, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};

pub use test_support::{
    READ_WRITE, Tool, backend, disk, flush, in_layer_with_files as in_layer, pattern, read, write,
};

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
