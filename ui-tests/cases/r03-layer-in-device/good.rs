//! Twin of bad.rs: the device keeps a handle of the main loop.

use block_gs::{BlockLayer, MainLoop, nodes};

struct Device {
    main: MainLoop,
}

impl Device {
    fn run(&self) {
        self.main.schedule(|bql| assert_eq!(nodes(bql).count(), 0));
    }
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let device = Device {
        main: layer.main_loop(),
    };
    let iothread = std::thread::spawn(move || device.run());
    iothread.join().expect("no panic");
    layer.enter(|bql| assert_eq!(nodes(bql).count(), 0));
}
