//! Twin of bad.rs: what only the main loop may touch is in a `BqlCell`.

use block_gs::{BqlCell, BqlGuard};
use block_io::{Destination, DriverIo, IoFuture, Request};
use ui_tests::in_main_loop;

struct Driver {
    opened: BqlCell<usize>,
}

impl DriverIo for Driver {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

fn opened(driver: &Driver, bql: &BqlGuard) -> usize {
    *driver.opened.get(bql)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let driver = Driver {
            opened: BqlCell::new(bql, 3),
        };
        assert_eq!(opened(&driver, bql), 3);
        Ok(())
    });
}
