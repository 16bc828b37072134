//! Accept A2: A device does about errors, trays and statistics the same wherever it runs.
//! QEMU: V002, V047 to V051: iostatus, write cache, lock, eject and the id of the device, sorted as
//! global state and reached by devices in iothreads.
//! Why: What a device and the monitor both write is atomic, and who it is is shared.

use block_gs::{BqlGuard, DeviceOps};
use block_io::accounting::Kind;
use block_io::{
    BackendEvent, DeviceIdentity, DeviceIo, ErrorAction, IoError, IoStatus, OnError, Operation,
    Root,
};
use std::sync::{Arc, mpsc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct ScsiCd;

impl DeviceIo for ScsiCd {
    fn is_tray_open(&self) -> Option<bool> {
        Some(false)
    }
}

impl DeviceOps for ScsiCd {}

/// What `scsi_disk_emulate_command()` and the completions of a device reach.
async fn emulate(root: Root) -> Result<ErrorAction, IoError> {
    let counted = root.statistics().start(Kind::Flush, 0);
    counted.end_with(&root.flush().await);
    root.lock_medium(true).await?;
    root.eject(true).await?;
    let action = root.action_for(Operation::Write, 5);
    root.error_action(action, Operation::Write, &IoError::Cancelled);
    Ok(action)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        let identity = DeviceIdentity {
            id: "cd0".into(),
            ..DeviceIdentity::default()
        };
        let attached = disk.attach_device(bql, identity, Arc::new(ScsiCd))?;
        let root = disk.root().clone();
        root.set_on_error(OnError::Report, OnError::Stop);
        root.enable_io_status();
        let (tell, told) = mpsc::channel();
        let listening = bql.events().listen(move |event| {
            let BackendEvent::TrayMoved(moved) = event else {
                return;
            };
            tell.send(moved.id.clone()).expect("a receiver");
        });
        let there = io0.context().spawn(emulate(root.clone()));
        for action in [bql.block_on(there)?, bql.block_on(emulate(root.clone()))?] {
            assert_eq!(action, ErrorAction::Stop);
            assert_eq!(told.recv().as_deref(), Ok("cd0"));
        }
        assert_eq!(root.io_status(), IoStatus::Failed);
        assert_eq!(root.statistics().totals(Kind::Flush).operations, 2);
        drop(listening);
        attached.detach(bql);
        Ok(())
    });
}
