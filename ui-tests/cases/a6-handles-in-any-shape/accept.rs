//! Accept A6: Handles lie in statics, structs, channels and behind `dyn`, across threads and
//! polls.
//! QEMU: bdrv_ref() around everything that is kept; nothing tells a kept pointer from a dead
//! one.
//! Why: They are `Send + Sync + 'static`, and what they stand for is looked up on use.

use block_gs::{Backend, BqlGuard, Node};
use std::any::Any;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;
use ui_tests::{disk, in_main_loop, iothread, null};

static NODE: OnceLock<Node> = OnceLock::new();

struct Device {
    disk: Backend,
    opaque: Arc<dyn Any + Send + Sync>,
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = NODE.get_or_init(|| null(bql, "node"));
        let disk = disk(bql, "disk", node);
        let device = Device {
            disk,
            opaque: Arc::new(node.clone()),
        };
        let (send, receive) = mpsc::channel();
        let carried = iothread(bql, "io0").context().spawn(async move {
            let flushed = device.disk.root().flush().await;
            send.send(device).expect("a receiver");
            flushed
        });
        bql.block_on(carried)?;
        bql.run_for(Duration::ZERO);
        let device = receive.recv()?;
        let opaque: &Node = device.opaque.downcast_ref().expect("a node");
        assert_eq!((opaque, device.disk.node(bql)), (node, Some(node.clone())));
        Ok(())
    });
}
