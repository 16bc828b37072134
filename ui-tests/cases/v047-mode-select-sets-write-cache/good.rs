//! Twin of bad.rs: the command awaits that the main loop has set it.

use block_gs::{Backend, BqlGuard, MainLoop};
use ui_tests::{disk, in_main_loop, iothread, null};

const MODE_SELECT: u8 = 0x15;

struct ScsiDisk {
    blk: Backend,
    main: MainLoop,
}

impl ScsiDisk {
    async fn blk_enable_write_cache(&self, wce: bool) {
        let blk = self.blk.clone();
        let set = self.main.call(move |bql| blk.set_write_cache(bql, wce));
        set.await.expect("the main loop");
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
