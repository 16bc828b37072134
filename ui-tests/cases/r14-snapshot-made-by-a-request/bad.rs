//! Rule R14: A request does not reach the snapshots of a driver.
//! QEMU: None recorded. bdrv_snapshot_create() is called with the BQL, and asserts no more.
//! Shape: argument.
//! Why: A snapshot is made in a drained section, and a request is none.

use block_gs::{BqlGuard, GraphError, SnapshotInfo, Snapshots};
use block_io::Request;
use ui_tests::{in_main_loop, null};

fn snapshot(driver: &dyn Snapshots, request: &mut Request<'_>) -> Result<SnapshotInfo, GraphError> {
    let mut info = SnapshotInfo::default();
    driver.create(request, &mut info)?;
    //~^ E0308 "expected `&mut Drained<'_>`, found `&mut Request<'_>`"
    Ok(info)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        assert!(node.view(bql).driver().snapshots().is_none());
        let _ = snapshot;
        Ok(())
    });
}
