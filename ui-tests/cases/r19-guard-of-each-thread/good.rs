//! Twin of bad.rs: the thread keeps a handle, which it was given.

use block_gs::{BlockLayer, MainLoop, nodes};
use std::cell::OnceCell;

thread_local! {
    static MAIN: OnceCell<MainLoop> = const { OnceCell::new() };
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    MAIN.with(|main| drop(main.set(layer.main_loop())));
    layer.enter(|bql| assert_eq!(nodes(bql).count(), 0));
}
