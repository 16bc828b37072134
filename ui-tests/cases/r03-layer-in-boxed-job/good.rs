//! Twin of bad.rs: the job asks the main loop.

use block_gs::{BlockLayer, BqlGuard, nodes};

fn count(bql: &mut BqlGuard) {
    assert_eq!(nodes(bql).count(), 0);
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    let job: Box<dyn FnOnce() + Send> = Box::new(move || main.schedule(count));
    std::thread::spawn(job).join().expect("no panic");
    layer.enter(count);
}
