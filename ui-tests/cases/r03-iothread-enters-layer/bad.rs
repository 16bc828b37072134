//! Rule R3: An iothread cannot take the BQL.
//! QEMU: None recorded. bql_lock() can be called in an iothread; a main thread that drains it
//! would wait for it.
//! Shape: thread.
//! Why: `BlockLayer`, the only thing that can be entered, stays on the thread that made it.

use block_gs::BlockLayer;
use ui_tests::null;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    std::thread::scope(|scope| {
        let iothread = scope.spawn(|| layer.enter(|bql| null(bql, "node")));
        //~^ E0277 "StaysOnItsMainThread` cannot be shared between threads safely"
        //~^^ E0277 "UnsafeCell"
        //~^^^ E0277 "Rc"
        //~^^^^ E0277 "Cell"
        drop((iothread.join().expect("a node"), main));
    });
}
