//! Accept A6: What a handle stands for may go meanwhile, and using it is an error and nothing
//! worse.
//! QEMU: a BlockBackend whose medium is taken away while a device keeps it.
//! Why: Handles keep what they name alive, and what is detached is no more below them.

use block_gs::{BqlGuard, FrozenChain, GraphError, Parent};
use block_gs::{EdgeParent, Perm};
use block_io::IoError;
use std::sync::Arc;
use ui_tests::{disk, in_main_loop, iothread, null, overlay};

struct Job;

impl EdgeParent for Job {
    fn describe(&self) -> String {
        "job".into()
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let (disk, io0) = (disk(bql, "disk", &top), iothread(bql, "io0"));
        let root = disk.root().clone();
        disk.remove(bql);
        let read = io0.context().spawn(async move { root.flush().await });
        assert!(matches!(bql.block_on(read), Err(IoError::NoMedium)));
        let parent = Parent::new(bql, Arc::new(Job));
        let edge = parent.attach(bql, "edge", &base, Perm::empty(), Perm::all())?;
        parent.detach(bql, edge)?;
        assert!(matches!(edge.view(bql), Err(GraphError::StaleEdge)));
        let frozen: FrozenChain = top.freeze_chain(bql, &base)?;
        let frozen = std::thread::spawn(move || frozen).join().expect("no panic");
        assert!(top.drain(bql).set_backing(None).is_err());
        frozen.thaw(bql);
        top.drain(bql).set_backing(None)?;
        Ok(())
    });
}
