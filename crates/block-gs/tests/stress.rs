//! Requests from several iothreads while the graph changes under them: each
//! sees the old child or the new one, nothing is lost, and every drained
//! section is as empty as it promises.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use block_gs::{IoThread, drain_all, drain_many};
use block_io::Buffer;
use block_io::aio::yield_now;
use common::{Mem, backend, filter, in_layer, node};

const SIZE: usize = 64 * 1024;

#[test]
fn the_graph_changes_under_running_requests() {
    in_layer(|bql| {
        // Each of these is a copy of the others, so that any of them is right.
        let pattern: Vec<u8> = (0..SIZE).map(|i| (i / 512) as u8).collect();
        let copies: Vec<_> = (0..4)
            .map(|i| {
                let (copy, driver) = node(bql, &format!("copy{i}"), Mem::of(SIZE));
                *driver.bytes.lock().expect("no panic") = pattern.clone();
                copy
            })
            .collect();
        let (top, _) = filter(bql, "top", &copies[0]);
        let front = backend(bql, "front", &top);
        let threads: Vec<_> = (0..2)
            .map(|i| IoThread::create(bql, &format!("io{i}")).expect("an iothread"))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let in_section = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|i| {
                let (root, stop) = (front.root().clone(), Arc::clone(&stop));
                let (in_section, done) = (Arc::clone(&in_section), Arc::clone(&done));
                threads[i % 2].context().spawn(async move {
                    let mut buffer = Buffer::zeroed(4096);
                    let mut at = i * 7919;
                    while !stop.load(Ordering::Relaxed) {
                        at = (at * 31 + 17) % (SIZE - 4096);
                        let in_flight = root.begin().await;
                        assert!(!in_section.load(Ordering::Acquire), "begun in a section");
                        let request = in_flight.request().expect("a node");
                        let read = request.read(at as u64, buffer.destination());
                        read.await.expect("read");
                        for (i, &byte) in buffer.as_slice().iter().enumerate() {
                            assert_eq!(byte, ((at + i) / 512) as u8, "at {}", at + i);
                        }
                        assert!(!in_section.load(Ordering::Acquire), "running in a section");
                        drop(in_flight);
                        done.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                    }
                })
            })
            .collect();
        for step in 0..600 {
            let next = &copies[step % copies.len()];
            match step % 5 {
                0 => {
                    let mut section = top.drain(bql);
                    in_section.store(true, Ordering::Release);
                    section.replace_child("file", next).expect("replaced");
                    in_section.store(false, Ordering::Release);
                }
                1 => {
                    let (extra, _) = filter(bql, "extra", &top);
                    top.drain(bql).replace_with(&extra).expect("inserted");
                    bql.run_for(Duration::from_micros(300));
                    extra.drain(bql).drop_filter().expect("dropped");
                    drop(extra);
                    bql.run_for(Duration::from_micros(100));
                }
                2 => {
                    let mut section = drain_many(bql, copies.iter().cloned());
                    in_section.store(true, Ordering::Release);
                    section.also(&top).end();
                    in_section.store(false, Ordering::Release);
                }
                3 => {
                    let section = drain_all(bql);
                    in_section.store(true, Ordering::Release);
                    std::thread::sleep(Duration::from_micros(200));
                    in_section.store(false, Ordering::Release);
                    section.end();
                }
                _ => {
                    front.replace(bql, next).expect("replaced");
                    bql.run_for(Duration::from_micros(200));
                    front.replace(bql, &top).expect("replaced");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            bql.block_on(task);
        }
        assert!(done.load(Ordering::Relaxed) > 100);
        assert_eq!(top.view(bql).quiesce_count(), 0);
        assert_eq!(front.root().in_flight(), 0);
        assert_eq!(front.root().quiesce_count(), 0);
    });
}
