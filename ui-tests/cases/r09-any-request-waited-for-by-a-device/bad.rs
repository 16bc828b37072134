//! Rule R9: A device in an iothread does not wait for a request with what it has at hand.
//! QEMU: None recorded. blk_pwrite_zeroes() is generated, and polls wherever it is called.
//! Shape: field.
//! Why: The wrapper of all requests takes a `MainOrHome`; a handle of the main loop is none.

use block_gs::{Backend, BqlGuard, MainLoop};
use block_io::WriteFlags;
use ui_tests::{disk, in_main_loop, iothread, null};

struct VirtioBlk {
    blk: Backend,
    main: MainLoop,
}

impl VirtioBlk {
    async fn write_zeroes(mut self) -> u32 {
        let zeroed = self.blk.wait(&mut self.main, async |root| {
            //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread, and `block_gs::MainLoop` is neither"
            root.write_zeroes(0, 4096, WriteFlags::empty()).await
        });
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
