//! Backends that move, with a job below or without a node for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use block_gs::{Backend, IoThread, Perm};
use scenarios::{Failing, Job, Manner, SIZE, backend, in_layer, node};

/// `/attach/blockjob`
#[test]
fn attach_blockjob() {
    in_layer(|bql| {
        let home = IoThread::create(bql, "io0").expect("a thread");
        let (disk, _) = node(bql, "base", Manner::of(SIZE));
        let front = backend(bql, "blk", &disk);
        let main_thread = std::thread::current().id();
        let prepared = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&prepared);
        let job = Job::start(bql, &[&disk], Failing::Nothing, move |_| {
            assert_eq!(std::thread::current().id(), main_thread);
            done.store(true, Ordering::Relaxed);
        });
        for to in [Some(&home), None, Some(&home)] {
            front.set_iothread(bql, to).expect("moved");
            let context = to.map_or_else(|| bql.context().clone(), |to| to.context().clone());
            assert_eq!(job.context(), context);
            assert_eq!(disk.io().context(), context);
            job.wait_for_rounds(bql, 3);
        }
        assert!(!prepared.load(Ordering::Relaxed));
        assert_eq!(job.complete(bql), 0);
        assert!(prepared.load(Ordering::Relaxed));
        assert_eq!(job.strays(), 0, "its code ran in its context only");
    });
}

/// `/attach/preserve_blk_ctx`
#[test]
fn attach_preserve_blk_ctx() {
    in_layer(|bql| {
        let home = IoThread::create(bql, "io0").expect("a thread");
        let perm = Perm::CONSISTENT_READ | Perm::WRITE;
        let front = Backend::new(bql, "blk", perm, Perm::all()).expect("a backend");
        front.set_iothread(bql, Some(&home)).expect("moved");
        let (disk, _) = node(bql, "base", Manner::of(SIZE));
        let (there, here) = (home.context().clone(), bql.context().clone());
        for _ in 0..2 {
            front.insert(bql, &disk).expect("inserted");
            assert_eq!(disk.io().context(), there);
            assert_eq!(front.root().context(), there);
            front.remove(bql);
            assert_eq!(disk.io().context(), here);
            assert_eq!(front.root().context(), there);
        }
    });
}
