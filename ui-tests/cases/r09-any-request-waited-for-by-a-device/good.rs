//! Twin of bad.rs: a task awaits the request itself.

use block_gs::{Backend, BqlGuard, MainLoop};
use block_io::WriteFlags;
use ui_tests::{disk, in_main_loop, iothread, null};

struct VirtioBlk {
    blk: Backend,
    main: MainLoop,
}

impl VirtioBlk {
    async fn write_zeroes(self) -> u32 {
        let root = self.blk.root();
        let zeroed = root.write_zeroes(0, 4096, WriteFlags::empty()).await;
        self.main.kick();
        zeroed.map_or(1, |()| 0)
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let blk = disk(bql, "disk", &node);
        let device = VirtioBlk { blk, main };
        let command = device.write_zeroes();
        let command = iothread(bql, "io0").context().spawn(command);
        assert_eq!(bql.block_on(command), 0);
        Ok(())
    });
}
