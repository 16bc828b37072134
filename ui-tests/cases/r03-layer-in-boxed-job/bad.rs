//! Rule R3: A boxed job for a worker thread does not enter the block layer.
//! QEMU: None recorded. bql_lock() can be called by a worker of the thread pool.
//! Shape: trait-object.
//! Why: Boxing hides the type of a closure, not that it must be `Send`.

use block_gs::{BlockLayer, BqlGuard, nodes};

fn count(bql: &mut BqlGuard) {
    assert_eq!(nodes(bql).count(), 0);
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    let job: Box<dyn FnOnce() + Send> = Box::new(move || layer.enter(count));
    //~^ E0277 "StaysOnItsMainThread"
    //~^^ E0277 "Rc"
    std::thread::spawn(job).join().expect("no panic");
    drop(main);
}
