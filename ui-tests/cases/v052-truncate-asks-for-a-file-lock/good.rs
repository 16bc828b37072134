//! Twin of bad.rs: the permission is taken when the export is made, in the main loop.

use block_gs::{BqlCell, BqlGuard, Perm};
use block_io::{IoError, Root};
use std::{cell::Cell, sync::Arc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct RawState {
    read_only: BqlCell<Cell<bool>>,
}

struct PermUpdate<'u> {
    at: &'u BqlGuard,
    raw: &'u RawState,
}

impl PermUpdate<'_> {
    fn blk_set_perm(&self, perm: Perm) -> bool {
        self.bdrv_child_try_set_perm(perm)
    }
    fn bdrv_child_try_set_perm(&self, perm: Perm) -> bool {
        self.bdrv_refresh_perms(perm)
    }
    fn bdrv_refresh_perms(&self, perm: Perm) -> bool {
        self.bdrv_list_refresh_perms(perm)
    }
    fn bdrv_list_refresh_perms(&self, perm: Perm) -> bool {
        self.bdrv_node_refresh_perm(perm)
    }
    fn bdrv_node_refresh_perm(&self, perm: Perm) -> bool {
        self.bdrv_drv_set_perm(perm)
    }
    fn bdrv_drv_set_perm(&self, perm: Perm) -> bool {
        self.raw_check_perm(perm)
    }
    fn raw_check_perm(&self, perm: Perm) -> bool {
        self.raw_handle_perm_lock(perm)
    }
    fn raw_handle_perm_lock(&self, perm: Perm) -> bool {
        !self.bdrv_get_flags() || !perm.contains(Perm::RESIZE)
    }
    fn bdrv_get_flags(&self) -> bool {
        self.raw.read_only.get(self.at).get()
    }
}

async fn fuse_do_truncate(export: Root, may_resize: bool) -> Result<bool, IoError> {
    let in_flight = export.begin().await;
    let at = in_flight.request()?;
    Ok(may_resize && at.node().length() > 0)
}

async fn fuse_setattr(export: Root, may_resize: bool) -> bool {
    fuse_do_truncate(export, may_resize).await.unwrap_or(false)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let export = disk(bql, "export", &node);
        let read_only = BqlCell::new(bql, Cell::new(false));
        let raw = Arc::new(RawState { read_only });
        let at_creation = PermUpdate { at: bql, raw: &raw };
        let may_resize = at_creation.blk_set_perm(Perm::RESIZE);
        let setattr = fuse_setattr(export.root().clone(), may_resize);
        let setattr = iothread(bql, "io0").context().spawn(setattr);
        assert!(bql.block_on(setattr));
        Ok(())
    });
}
