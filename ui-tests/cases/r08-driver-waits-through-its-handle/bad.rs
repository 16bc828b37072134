//! Rule R8: A driver that keeps a handle of the main loop does not wait through it.
//! QEMU: V042, a generated co_wrapper polls outside a coroutine, and its caller has to know
//! where it is.
//! Shape: field.
//! Why: The handle is everybody's; what blocks takes a proof of the caller.

use block_gs::{Backend, BqlGuard, MainLoop};
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

struct Nbd {
    main: MainLoop,
    disk: Backend,
}

impl Nbd {
    async fn length(mut self) -> u64 {
        let length = self.disk.length_blocking(&mut self.main);
        //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
        length.expect("a length")
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let nbd = Nbd {
            main: bql.main_loop(),
            disk,
        };
        let length = iothread(bql, "io0").context().spawn(nbd.length());
        assert_eq!(bql.block_on(length), SIZE);
        Ok(())
    });
}
