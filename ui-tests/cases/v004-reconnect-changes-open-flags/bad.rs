//! Rule R1: The coroutine that reconnects does not take along what the driver was opened with.
//! QEMU: V004, nbd_co_do_establish_connection() -> nbd_handle_updated_info() ->
//! bdrv_apply_auto_read_only().
//! Shape: async.
//! Why: `opened` lends its guard for the call; a coroutine of another thread cannot hold it.

use block_gs::{BlockDriver, BqlCell, BqlGuard, NodeBuilder};
use block_io::{Destination, DriverIo, IoError, IoFuture, IoNode, Request, aio::AioContext};
use std::{cell::Cell, sync::Arc};
use ui_tests::{SIZE, in_main_loop, iothread};

type Flags = Arc<BqlCell<Cell<bool>>>;

struct Nbd {
    reconnects_in: AioContext,
    read_only: Flags,
}

fn bdrv_apply_auto_read_only(bql: &BqlGuard, read_only: &Flags) {
    read_only.get(bql).set(true);
}

fn nbd_handle_updated_info(bql: &BqlGuard, read_only: Flags) {
    bdrv_apply_auto_read_only(bql, &read_only);
}

async fn nbd_co_do_establish_connection(bql: &BqlGuard, read_only: Flags) {
    nbd_handle_updated_info(bql, read_only);
}

impl DriverIo for Nbd {
    fn read<'r>(&'r self, _: Request<'r>, _at: u64, _into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE))
    }
}

impl BlockDriver for Nbd {
    fn format_name(&self) -> &'static str {
        "nbd"
    }

    fn opened(&self, bql: &BqlGuard, _node: &Arc<IoNode>) {
        let connect = nbd_co_do_establish_connection(bql, self.read_only.clone());
        drop(self.reconnects_in.spawn(connect));
        //~^ "future cannot be sent between threads safely"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let read_only = Arc::new(BqlCell::new(bql, Cell::new(false)));
        let nbd = Nbd {
            reconnects_in: iothread(bql, "io0").context().clone(),
            read_only: read_only.clone(),
        };
        NodeBuilder::new("nbd").open(bql, Arc::new(nbd))?;
        bql.poll_until(|bql| read_only.get(bql).get());
        Ok(())
    });
}
