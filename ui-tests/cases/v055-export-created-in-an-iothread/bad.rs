//! Rule R14: The callback that creates an export runs where global state may be changed.
//! QEMU: V055, blk_exp_add() -> BlockExportDriver.create() -> fuse_export_create() ->
//! blk_get_perm(), blk_set_perm().
//! Shape: trait-object.
//! Why: Whether the BQL is held there was disputed; the callback's `&mut BqlGuard` settles it.

use block_gs::{Backend, BqlGuard, GraphError, IoThread, Perm};
use std::sync::{Arc, mpsc};
use ui_tests::{disk, in_main_loop, iothread, null};

trait BlockExportDriver: Send + Sync {
    fn create(&self, bql: &mut BqlGuard, blk: &Backend) -> Result<Perm, GraphError>;
}

fn blk_get_perm(bql: &BqlGuard, blk: &Backend) -> Perm {
    blk.perms(bql).perm
}

fn blk_set_perm(bql: &mut BqlGuard, blk: &Backend, perm: Perm) -> Result<(), GraphError> {
    blk.set_perm(bql, perm, Perm::all())
}

fn fuse_export_create(bql: &mut BqlGuard, blk: &Backend) -> Result<Perm, GraphError> {
    let perm = blk_get_perm(bql, blk) | Perm::RESIZE;
    blk_set_perm(bql, blk, perm)?;
    Ok(perm)
}

struct FuseExport;

impl BlockExportDriver for FuseExport {
    fn create(&self, bql: &mut BqlGuard, blk: &Backend) -> Result<Perm, GraphError> {
        fuse_export_create(bql, blk)
    }
}

fn blk_exp_add(bql: &mut BqlGuard, io0: &IoThread, blk: Backend) -> Result<Perm, GraphError> {
    let driver: Arc<dyn BlockExportDriver> = Arc::new(FuseExport);
    let (report, created) = mpsc::channel();
    io0.context()
        .schedule(move |home| report.send(driver.create(home, &blk)).expect("a receiver"));
    //~^ E0308 "expected `&mut BqlGuard`, found `&mut HomeThread<'_>`"
    created.recv().expect("a reply")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let export = disk(bql, "export", &node);
        let perm = blk_exp_add(bql, &io0, export.clone())?;
        assert!(perm.contains(Perm::RESIZE));
        assert_eq!(export.perms(bql).perm, perm);
        Ok(())
    });
}
