//! Short ways to make nodes and requests.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use block_gs::{Backend, BqlGuard, IoError, Node, NodeBuilder, NodeOptions, Perm};
use block_io::{Buffer, Root, SourceVec, WriteFlags};

use crate::strict::{Setup, Strict};

pub use test_support::in_layer;

/// What a device asks for.
pub const READ_WRITE: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE);

/// What a job or a format asks for that may make its node grow.
pub const GROWING: Perm = READ_WRITE.union(Perm::RESIZE);

/// A strict node.
pub fn strict(
    bql: &mut BqlGuard,
    name: &str,
    bytes: Vec<u8>,
    setup: Setup,
    options: NodeOptions,
) -> (Node, Arc<Strict>) {
    let driver = Arc::new(Strict::new(bytes, setup));
    let builder = NodeBuilder::new(name).options(options);
    let node = builder.open(bql, driver.clone());
    (node.expect("opened"), driver)
}

/// A strict node with a backend that asks for `perm`.
pub fn disk(
    bql: &mut BqlGuard,
    bytes: Vec<u8>,
    setup: Setup,
    options: NodeOptions,
    perm: Perm,
) -> (Backend, Node, Arc<Strict>) {
    let (node, driver) = strict(bql, "", bytes, setup, options);
    (backend(bql, &node, perm), node, driver)
}

/// A backend over `node` that shares everything.
pub fn backend(bql: &mut BqlGuard, node: &Node, perm: Perm) -> Backend {
    let backend = Backend::new(bql, "", perm, Perm::all()).expect("a backend");
    backend.insert(bql, node).expect("inserted");
    backend
}

/// Options with `discard=unmap`.
pub fn unmap() -> NodeOptions {
    NodeOptions {
        unmap: true,
        ..NodeOptions::default()
    }
}

/// Bytes that differ from place to place, none of them zero.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = test_support::pattern(len, seed);
    bytes.iter_mut().for_each(|byte| *byte = (*byte).max(1));
    bytes
}

/// Reads as a parent does, which may go beyond the node.
pub async fn read(root: &Root, offset: u64, len: usize) -> Result<Vec<u8>, IoError> {
    let mut buffer = Buffer::zeroed(len);
    buffer.as_mut_slice().fill(0xaa);
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    request.read(offset, buffer.destination()).await?;
    Ok(buffer.as_slice().to_vec())
}

/// Writes as a parent does, which may make the node grow.
pub async fn write(
    root: &Root,
    offset: u64,
    bytes: &[u8],
    flags: WriteFlags,
) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    request.write_with(offset, buffer.source(), flags).await
}

/// As [`write`], from a vector of `segments` pieces.
pub async fn write_scattered(
    root: &Root,
    offset: u64,
    bytes: &[u8],
    segments: usize,
    flags: WriteFlags,
) -> Result<(), IoError> {
    let piece = bytes.len().div_ceil(segments.max(1)).max(1);
    let buffers: Vec<_> = bytes.chunks(piece).map(Buffer::from).collect();
    let mut vector = SourceVec::new();
    buffers
        .iter()
        .for_each(|buffer| vector.push(buffer.source()));
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    request.write_with(offset, vector.source(), flags).await
}

/// Zeroes as a parent writes them.
pub async fn zeroes(
    root: &Root,
    offset: u64,
    bytes: u64,
    flags: WriteFlags,
) -> Result<(), IoError> {
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    request.write_zeroes(offset, bytes, flags).await
}

/// Discards as a parent does.
pub async fn discard(root: &Root, offset: u64, bytes: u64) -> Result<(), IoError> {
    let in_flight = root.begin().await;
    in_flight.request()?.discard(offset, bytes).await
}

/// Polls `future` once.
pub async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// The errno of a failure.
#[track_caller]
pub fn errno<T: std::fmt::Debug>(outcome: Result<T, IoError>) -> i32 {
    outcome.expect_err("it must fail").errno()
}
