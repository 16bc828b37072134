//! Attacks that take a real file; the others are in `block-gs`, and the table
//! is `design/adversary.md`.

use std::future::{Future, poll_fn};
use std::mem::forget;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;

use block_drivers::File;
use block_gs::{Backend, BqlGuard, Node};
use block_io::{Buffer, Request};
use test_support::in_layer_with_files;

const LENGTH: usize = 8 << 20;

fn in_layer(test: impl FnOnce(&mut BqlGuard, &Path)) {
    in_layer_with_files(|bql, directory| test(bql, directory.path()));
}

fn disk(bql: &mut BqlGuard, path: &Path, bytes: &[u8]) -> (Node, Backend) {
    std::fs::write(path, bytes).expect("written");
    let node = File::at(path).open(bql, "").expect("opened");
    let front = test_support::disk(bql, &node);
    (node, front)
}

/// Polls once.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// The future of a transfer can be forgotten, and its request ended before
/// the transfer is over. The memory belongs to the transfer too.
#[test]
fn a_forgotten_transfer_keeps_its_memory() {
    in_layer(|bql, directory| {
        let (node, front) = disk(bql, &directory.join("disk"), &vec![7; LENGTH]);
        let mut buffer = Buffer::zeroed(LENGTH);
        let root = front.root().clone();
        bql.block_on(async {
            let in_flight = root.begin().await;
            let request = in_flight.request().expect("a node");
            let mut read = request.read(0, buffer.destination());
            let _ = once(&mut read).await;
            forget(read);
            drop(in_flight);
        });
        node.drain(bql).end();
        // Once it is ours again nothing writes into it.
        buffer.reclaim();
        buffer.as_mut_slice().fill(1);
        bql.run_for(std::time::Duration::from_millis(5));
        assert!(buffer.as_slice().iter().all(|&byte| byte == 1));
    });
}

/// A transfer that the owner of a section begins and drops goes on below the
/// gates. The section's next write of the graph waits for it, and so does the
/// next section.
#[test]
fn a_transfer_that_the_owner_has_dropped_is_over_before_the_next_section() {
    in_layer(|bql, directory| {
        let (node, front) = disk(bql, &directory.join("disk"), &vec![0; LENGTH]);
        for round in 1..20u8 {
            let buffer = Buffer::from(&vec![round; LENGTH][..]);
            let mut section = node.drain(bql);
            section.io(async |request: Request<'_>| {
                let mut write = request.write(0, buffer.source());
                let _ = once(&mut write).await;
            });
            // A write of what requests see of the node.
            section.track_overlaps();
            assert_eq!(node.io().in_flight(), 0, "it has been waited for");
            section.end();
            // Whatever it has written, nothing comes after this.
            let last = Buffer::from(&vec![0xff; LENGTH][..]);
            bql.block_on(front.root().write(0, last.source()))
                .expect("written");
            let mut back = Buffer::zeroed(LENGTH);
            bql.block_on(front.root().read(0, back.destination()))
                .expect("read");
            assert!(back.as_slice().iter().all(|&byte| byte == 0xff));
        }
    });
}
