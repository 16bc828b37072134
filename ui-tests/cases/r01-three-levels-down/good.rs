//! Twin of bad.rs: every level passes the proof on, and the caller has it.

use block_gs::{BqlGuard, Node};
use ui_tests::{in_main_loop, iothread, null};

fn bdrv_lock_medium(bql: &BqlGuard, node: &Node) -> bool {
    node.view(bql).is_writable()
}

fn blk_lock_medium(bql: &BqlGuard, node: &Node) -> bool {
    bdrv_lock_medium(bql, node)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (cdrom, main) = (null(bql, "cdrom"), bql.main_loop());
        let scsi_disk_emulate_command = async move {
            main.call(move |bql| blk_lock_medium(bql, &cdrom))
                .await
                .expect("the main loop")
        };
        let command = iothread(bql, "io0")
            .context()
            .spawn(scsi_disk_emulate_command);
        assert!(bql.block_on(command));
        Ok(())
    });
}
