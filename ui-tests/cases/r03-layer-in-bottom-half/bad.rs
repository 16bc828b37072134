//! Rule R3: A bottom half of an iothread does not take the BQL.
//! QEMU: None recorded. bql_lock() can be called in a bottom half of an iothread.
//! Shape: closure.
//! Why: The bottom half is sent there, and `BlockLayer` is not `Send`.

use block_gs::{BlockLayer, nodes};
use block_io::aio::ContextThread;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let io0 = ContextThread::spawn("io0").expect("a thread");
    let main = layer.main_loop();
    io0.context()
        .schedule(move |_| drop(layer.enter(|bql| nodes(bql).count())));
    //~^ E0277 "StaysOnItsMainThread"
    //~^^ E0277 "Rc"
    main.kick();
    assert!(io0.stop().is_ok());
}
