//! Twin of bad.rs: the static keeps a handle of the main loop.

use block_gs::{BlockLayer, MainLoop, nodes};
use std::sync::Mutex;

static MAIN: Mutex<Option<MainLoop>> = Mutex::new(None);

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    assert_eq!(layer.enter(|bql| nodes(bql).count()), 0);
    *MAIN.lock().expect("no panic") = Some(layer.main_loop());
}
