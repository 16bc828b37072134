//! Twin of bad.rs: the third thread awaits the request on its own loop.

use block_gs::BqlGuard;
use block_io::aio::EventLoop;
use ui_tests::{SIZE, disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let third = std::thread::spawn(move || {
            let own = EventLoop::new("third").expect("a loop");
            own.block_on(disk.root().length())
        });
        assert_eq!(third.join().expect("no panic")?, SIZE);
        Ok(())
    });
}
