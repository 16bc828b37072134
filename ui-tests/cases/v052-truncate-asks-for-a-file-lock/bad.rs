//! Rule R12: A request does not change permissions, however deep the first thing it may not do.
//! QEMU: V052, fuse_setattr() -> fuse_do_truncate() -> blk_set_perm() -> bdrv_child_try_set_perm()
//! -> bdrv_refresh_perms() -> bdrv_list_refresh_perms() -> bdrv_node_refresh_perm() ->
//! bdrv_drv_set_perm() -> raw_check_perm() -> raw_handle_perm_lock() -> bdrv_get_flags().
//! Shape: field.
//! Why: The update carries the proof of who asked for it; the flags open for a `&BqlGuard` only.

use block_gs::{BqlCell, BqlGuard, Perm};
use block_io::{IoError, Request, Root};
use std::{cell::Cell, sync::Arc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct RawState {
    read_only: BqlCell<Cell<bool>>,
}

struct PermUpdate<'u> {
    at: Request<'u>,
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
        //~^ E0308 "expected `&BqlGuard`, found `Request<'_>`"
    }
}

async fn fuse_do_truncate(export: Root, raw: Arc<RawState>) -> Result<bool, IoError> {
    let in_flight = export.begin().await;
    let at = in_flight.request()?;
    let update = PermUpdate { at, raw: &raw };
    Ok(update.blk_set_perm(Perm::RESIZE))
}

async fn fuse_setattr(export: Root, raw: Arc<RawState>) -> bool {
    fuse_do_truncate(export, raw).await.unwrap_or(false)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let export = disk(bql, "export", &node);
        let read_only = BqlCell::new(bql, Cell::new(false));
        let raw = Arc::new(RawState { read_only });
        let setattr = fuse_setattr(export.root().clone(), raw);
        let setattr = iothread(bql, "io0").context().spawn(setattr);
        assert!(bql.block_on(setattr));
        Ok(())
    });
}
