//! Rule R1: A function in between cannot drop the proof that its callee demands.
//! QEMU: V048, V049, scsi_disk_emulate_command() -> blk_lock_medium() -> bdrv_lock_medium().
//! Shape: argument.
//! Why: The proof is an argument at every level, so the mistake shows at the first.

use block_gs::{BqlGuard, Node};
use ui_tests::{in_main_loop, iothread, null};

fn bdrv_lock_medium(bql: &BqlGuard, node: &Node) -> bool {
    node.view(bql).is_writable()
}

fn blk_lock_medium(node: &Node) -> bool {
    bdrv_lock_medium(node)
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (cdrom, main) = (null(bql, "cdrom"), bql.main_loop());
        let scsi_disk_emulate_command = async move {
            drop(main);
            blk_lock_medium(&cdrom)
        };
        let command = iothread(bql, "io0")
            .context()
            .spawn(scsi_disk_emulate_command);
        assert!(bql.block_on(command));
        Ok(())
    });
}
