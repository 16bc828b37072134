//! Reopening while requests run on other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block_gs::IoThread;
use block_io::Buffer;

use crate::common::{backend, in_layer};
use crate::scribe::{Story, open, with_letter};

/// Each read has one letter in it, and none comes after a later one.
#[test]
fn requests_see_what_was_before_or_what_is_after() {
    in_layer(|bql| {
        let story = Story::default();
        let node = open(bql, &story, "node");
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let disk = backend(bql, "disk", &node);
        disk.set_allow_context_change(bql, true);
        let iothread = IoThread::create(bql, "io").expect("a thread");
        node.set_iothread(bql, Some(&iothread)).expect("moved");
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (root, stop, reads) = (disk.root().clone(), stop.clone(), reads.clone());
                iothread.context().spawn(async move {
                    let mut buffer = Buffer::zeroed(4096);
                    let mut last = b'a';
                    while !stop.load(Ordering::Relaxed) {
                        let read = root.read(0, buffer.destination()).await;
                        read.expect("no request fails");
                        let letter = buffer.as_slice()[0];
                        assert!(buffer.as_slice().iter().all(|byte| *byte == letter));
                        assert!(letter >= last, "{letter} after {last}");
                        last = letter;
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for letter in b'b'..=b'y' {
            let before = reads.load(Ordering::Relaxed);
            let plan = with_letter(bql, &node, letter);
            node.drain(bql).reopen(plan).expect("nobody minds");
            crate::common::spin_until(bql, || reads.load(Ordering::Relaxed) > before + 4);
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            bql.block_on(reader);
        }
        node.set_iothread(bql, None).expect("moved back");
    });
}
