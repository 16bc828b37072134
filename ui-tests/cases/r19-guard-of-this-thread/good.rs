//! Twin of bad.rs: the main loop is asked.

use block_gs::{BlockLayer, BqlGuard, nodes};

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    let third = std::thread::spawn(move || {
        main.schedule(|bql: &mut BqlGuard| assert_eq!(nodes(bql).count(), 0));
    });
    third.join().expect("no panic");
    layer.enter(|bql| assert_eq!(nodes(bql).count(), 0));
}
