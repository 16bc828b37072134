//! Short ways to attach to a node and to do I/O from the main loop.

use block_gs::{Backend, BqlGuard, GraphError, IoError, Node, Perm};
use block_io::Buffer;

/// What a device that writes but does not resize asks for.
pub const READ_WRITE: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE);

/// What buffers are filled with before a read, to see what it touched.
pub const UNTOUCHED: u8 = 0xaa;

/// A backend over `node` that shares everything. Needs the exclusive proof
/// because it attaches.
///
/// # Errors
/// Those of [`Backend::insert`].
pub fn backend(bql: &mut BqlGuard, node: &Node, perm: Perm) -> Result<Backend, GraphError> {
    let backend = Backend::new(bql, "", perm, Perm::all())?;
    backend.insert(bql, node)?;
    Ok(backend)
}

/// A backend that reads and writes. Needs the exclusive proof as [`backend`]
/// does.
///
/// # Panics
/// When somebody objects.
pub fn disk(bql: &mut BqlGuard, node: &Node) -> Backend {
    backend(bql, node, READ_WRITE).expect("nobody objects")
}

/// Reads `len` bytes at `offset`, within the node. Needs the exclusive proof
/// because the main loop runs meanwhile, as all below do.
///
/// # Errors
/// Those of the request.
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
///
/// # Errors
/// Those of the request.
pub fn read_as_parent(
    bql: &mut BqlGuard,
    disk: &Backend,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, IoError> {
    let mut buffer = untouched(len);
    bql.block_on(async {
        let in_flight = disk.root().begin().await;
        let request = in_flight.request()?;
        request.read(offset, buffer.destination()).await
    })?;
    Ok(buffer.as_slice().to_vec())
}

/// Writes `bytes` at `offset`, within the node.
///
/// # Errors
/// Those of the request.
pub fn write(bql: &mut BqlGuard, disk: &Backend, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    bql.block_on(disk.root().write(offset, buffer.source()))
}

/// Writes as a parent does, which may make the node grow.
///
/// # Errors
/// Those of the request.
pub fn write_as_parent(
    bql: &mut BqlGuard,
    disk: &Backend,
    offset: u64,
    bytes: &[u8],
) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    bql.block_on(async {
        let in_flight = disk.root().begin().await;
        let request = in_flight.request()?;
        request.write(offset, buffer.source()).await
    })
}

/// Makes earlier writes durable.
///
/// # Errors
/// Those of the request.
pub fn flush(bql: &mut BqlGuard, disk: &Backend) -> Result<(), IoError> {
    bql.block_on(disk.root().flush())
}

fn untouched(len: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(len);
    buffer.as_mut_slice().fill(UNTOUCHED);
    buffer
}
