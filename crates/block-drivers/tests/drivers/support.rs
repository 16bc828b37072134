//! What the tests share: `test-support`, and devices that are busy at the right time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_drivers::NullCo;
use block_gs::{Attachment, Backend, BqlGuard, DeviceOps, Node};
use block_io::aio::sleep;
use block_io::{DeviceIdentity, DeviceIo};

pub use test_support::{
    READ_WRITE, Tool, UNTOUCHED, backend, disk, flush, in_layer_with_files as in_layer, pattern,
    read, read_as_parent, write, write_as_parent,
};

/// A request of `disk` that takes a while: who drains it polls.
pub fn keep_busy(bql: &mut BqlGuard, disk: &Backend) {
    let root = disk.root().clone();
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let busy = bql.context().clone().spawn(async move {
        let _in_flight = root.begin().await;
        begins.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(50)).await;
    });
    while !begun.load(Ordering::Relaxed) {
        bql.run_for(Duration::from_millis(1));
    }
    drop(busy);
}

/// What the main loop does when an operation waits there for the first time
/// after a section was opened over a backend: the device lets go of a node whose
/// end takes a while, and hands over a job for that time.
struct Meanwhile(Mutex<Option<(Node, Job)>>);

type Job = Box<dyn FnOnce(&mut BqlGuard) + Send>;

impl DeviceIo for Meanwhile {}

impl DeviceOps for Meanwhile {
    fn drained_begin(&self, bql: &BqlGuard) {
        if let Some((node, job)) = self.0.lock().expect("no panic").take() {
            drop(node);
            bql.main_loop().schedule(job);
        }
    }
}

/// Runs `job` in the first change that somebody tries in a section over `disk`,
/// after he has looked and before he writes.
pub fn meanwhile(
    bql: &mut BqlGuard,
    disk: &Backend,
    job: impl FnOnce(&mut BqlGuard) + Send + 'static,
) -> Attachment {
    let slow = NullCo::new(512).latency(Duration::from_millis(5));
    let slow = slow.open(bql, "slow").expect("opened");
    let device = Meanwhile(Mutex::new(Some((slow, Box::new(job)))));
    let attached = disk.attach_device(bql, DeviceIdentity::default(), Arc::new(device));
    attached.expect("it has none")
}
