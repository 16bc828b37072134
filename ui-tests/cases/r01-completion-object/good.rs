//! Twin of bad.rs: the trait takes no proof, and the completion asks for nothing.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use std::sync::atomic::{AtomicBool, Ordering};
use ui_tests::{disk, in_main_loop, iothread, null};

trait Completion: Send {
    fn complete(&self, result: Result<(), IoError>);
}

static OK: AtomicBool = AtomicBool::new(false);
struct Report;

impl Completion for Report {
    fn complete(&self, result: Result<(), IoError>) {
        OK.store(result.is_ok(), Ordering::Relaxed);
    }
}

async fn flush(root: Root, completion: Box<dyn Completion>) {
    let result = root.flush().await;
    completion.complete(result);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let flushed = flush(disk.root().clone(), Box::new(Report));
        let flushed = iothread(bql, "io0").context().spawn(flushed);
        bql.block_on(flushed);
        assert!(OK.load(Ordering::Relaxed));
        Ok(())
    });
}
