//! Rule R3: A helper that starts threads with a state does not take the block layer.
//! QEMU: None recorded. The lock is a static, and everybody can take it.
//! Shape: generic.
//! Why: The bound that such a helper needs is `Send`.

use block_gs::{BlockLayer, nodes};

fn start<T: Send + 'static>(state: T, run: fn(T)) {
    let thread = std::thread::spawn(move || run(state));
    thread.join().expect("no panic");
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    assert_eq!(layer.enter(|bql| nodes(bql).count()), 0);
    start(layer, |layer| drop(layer.enter(|bql| nodes(bql).count())));
    //~^ E0277 "StaysOnItsMainThread"
    //~^^ E0277 "Rc"
}
