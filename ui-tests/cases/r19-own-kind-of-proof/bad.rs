//! Rule R19: Nobody adds a third place from which one may wait.
//! QEMU: None recorded. Any function may poll any context.
//! Shape: generic.
//! Why: `MainOrHome` is sealed.

use block_gs::{BqlGuard, MainOrHome, WaitError};
use block_io::aio::{AioContext, EventLoop};
use ui_tests::{SIZE, disk, in_main_loop, null};

struct Anywhere;

impl MainOrHome for Anywhere {
    //~^ E0277 "`Anywhere` is no proof of the main thread or of a home thread"
    fn wait_for<T>(&mut self, _: &AioContext, f: impl Future<Output = T>) -> Result<T, WaitError> {
        Ok(EventLoop::new("anywhere")?.block_on(f))
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(disk.length_blocking(&mut Anywhere)?, SIZE);
        Ok(())
    });
}
