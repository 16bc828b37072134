//! Twin of bad.rs: the state is a handle of the main loop.

use block_gs::{BlockLayer, nodes};

fn start<T: Send + 'static>(state: T, run: fn(T)) {
    let thread = std::thread::spawn(move || run(state));
    thread.join().expect("no panic");
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    assert_eq!(layer.enter(|bql| nodes(bql).count()), 0);
    start(layer.main_loop(), |main| main.kick());
}
