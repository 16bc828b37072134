//! Rule R3: The block layer does not lie in a static for everybody to enter.
//! QEMU: None recorded. The lock is a static, and everybody can take it.
//! Shape: static.
//! Why: What a lock in a static holds goes from thread to thread, and `BlockLayer` stays.

use block_gs::{BlockLayer, nodes};
use std::sync::Mutex;

static LAYER: Mutex<Option<BlockLayer>> = Mutex::new(None);
//~^ E0277 "StaysOnItsMainThread"
//~^^ E0277 "Rc"

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    assert_eq!(layer.enter(|bql| nodes(bql).count()), 0);
    *LAYER.lock().expect("no panic") = Some(layer);
}
