//! Rule R3: A device that runs in an iothread does not keep the block layer.
//! QEMU: None recorded. bql_lock() can be called in a callback of a device.
//! Shape: field.
//! Why: Whatever the layer is a field of stays on the main thread with it.

use block_gs::{BlockLayer, nodes};

struct Device {
    layer: BlockLayer,
}

impl Device {
    fn run(&self) {
        self.layer.enter(|bql| assert_eq!(nodes(bql).count(), 0));
    }
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let device = Device { layer };
    let iothread = std::thread::spawn(move || device.run());
    //~^ E0277 "StaysOnItsMainThread"
    //~^^ E0277 "Rc"
    iothread.join().expect("no panic");
}
