//! Accept A5: I/O code that needs the image has its node activated, and awaits that.
//! QEMU: bdrv_co_activate(), a no_co_wrapper around bdrv_activate().
//! Why: The main loop has the proof, and `call` awaits what it answers.

use block_gs::{BqlGuard, GraphError, MainLoop, Node};
use block_io::Root;
use ui_tests::{Outcome, disk, in_main_loop, iothread, null};

async fn export(main: MainLoop, node: Node, root: Root) -> Result<u64, GraphError> {
    let activated = main.call(move |bql| node.activate(bql)).await;
    activated.unwrap_or(Err(block_io::IoError::Cancelled.into()))?;
    root.flush().await?;
    Ok(root.length().await?)
}

fn case(bql: &mut BqlGuard) -> Outcome {
    let node = null(bql, "node");
    let disk = disk(bql, "disk", &node);
    let io0 = iothread(bql, "io0");
    node.inactivate(bql)?;
    let export = export(bql.main_loop(), node.clone(), disk.root().clone());
    let export = io0.context().spawn(export);
    let length = bql.block_on(export)?;
    assert_eq!(length, node.length(bql));
    assert!(!node.view(bql).is_inactive());
    Ok(())
}

fn main() {
    in_main_loop(case);
}
