//! Accept A2: I/O code is generic over drivers, and calls them through `dyn`.
//! QEMU: bs->drv->bdrv_co_preadv(), a table of function pointers.
//! Why: The request is an argument like any other, and says for whom the driver works.

use block_gs::BqlGuard;
use block_io::{Activity, DriverIo, IoError, Request};
use ui_tests::{Overlay, SIZE, in_main_loop, null, overlay};

async fn through_dyn(driver: &dyn DriverIo, request: Request<'_>) -> Result<u64, IoError> {
    driver.length(request).await
}

async fn generic<D: DriverIo>(driver: &D, request: Request<'_>) -> Result<u64, IoError> {
    driver.length(request).await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let counted = Activity::try_begin(top.io()).expect("not quiesced");
        let request = counted.request();
        assert_eq!(bql.block_on(through_dyn(top.io().driver(), request))?, SIZE);
        assert_eq!(bql.block_on(generic(&Overlay, request))?, SIZE);
        Ok(())
    });
}
