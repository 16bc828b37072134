//! Rule R1: A completion called through `dyn` cannot be given a proof that its caller lacks.
//! QEMU: None recorded. A completion is a function pointer, and its comment says where it may
//! run.
//! Shape: trait-object.
//! Why: The proof stands in the signature of the trait, so the caller must bring it too.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use std::sync::atomic::{AtomicBool, Ordering};
use ui_tests::{disk, in_main_loop, iothread, null};

trait Completion: Send {
    fn complete(&self, bql: &BqlGuard, result: Result<(), IoError>);
}

static OK: AtomicBool = AtomicBool::new(false);
struct Report;

impl Completion for Report {
    fn complete(&self, bql: &BqlGuard, result: Result<(), IoError>) {
        OK.store(
            result.is_ok() && bql.main_loop().context().is_main(),
            Ordering::Relaxed,
        );
    }
}

async fn flush(root: Root, completion: Box<dyn Completion>) {
    let result = root.flush().await;
    completion.complete(result);
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
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
