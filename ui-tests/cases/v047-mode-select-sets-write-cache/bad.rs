//! Rule R1: The emulation of a command in an iothread does not set what the main loop sets.
//! QEMU: V047, scsi_disk_emulate_command() -> blk_enable_write_cache().
//! Shape: argument.
//! Why: A device holds a `Backend` wherever it runs; its setters take the `BqlGuard` besides.

use block_gs::{Backend, BqlGuard, MainLoop};
use ui_tests::{disk, in_main_loop, iothread, null};

const MODE_SELECT: u8 = 0x15;

struct ScsiDisk {
    blk: Backend,
    main: MainLoop,
}

impl ScsiDisk {
    async fn blk_enable_write_cache(&self, wce: bool) {
        self.blk.set_write_cache(wce);
        //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
        self.main.kick();
    }

    /// What a guest asks for, in the context of its virtqueue.
    async fn scsi_disk_emulate_command(&self, cdb: [u8; 6]) -> bool {
        if cdb[0] == MODE_SELECT {
            self.blk_enable_write_cache(cdb[4] != 0).await;
        }
        self.blk.root().has_write_cache()
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let blk = disk(bql, "disk", &node);
        let disk = ScsiDisk { blk, main };
        let command = async move {
            disk.scsi_disk_emulate_command([MODE_SELECT, 0, 0, 0, 0, 0])
                .await
        };
        let command = iothread(bql, "io0").context().spawn(command);
        assert!(!bql.block_on(command));
        Ok(())
    });
}
