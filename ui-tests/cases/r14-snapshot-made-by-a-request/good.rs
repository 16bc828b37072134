//! Twin of bad.rs: who asks for a snapshot has drained the node.

use block_gs::{BqlGuard, Drained, GraphError, SnapshotInfo, Snapshots};
use ui_tests::{in_main_loop, null};

fn snapshot(driver: &dyn Snapshots, section: &mut Drained<'_>) -> Result<SnapshotInfo, GraphError> {
    let mut info = SnapshotInfo::default();
    driver.create(section, &mut info)?;
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
