//! The tray of a drive of the host, and commands for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use block_common::error::errno;
use block_io::{IoError, Request, ScsiCommand, ScsiTransfer};

use crate::common::{Mem, backend, in_layer, node};
use crate::drive::{Drive, ask, open};

#[test]
fn the_tray_is_moved_and_locked_by_requests() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        ask(bql, &disk, async |request: Request<'_>| {
            request.lock_medium(true).await.expect("locked");
            request.lock_medium(false).await.expect("unlocked");
            request.eject(true).await.expect("open");
            request.eject(false).await.expect("closed");
        });
        assert_eq!(
            drive.asked(),
            [
                "lock the tray",
                "unlock the tray",
                "open the tray",
                "close the tray"
            ]
        );
        // What the drive says is heard.
        drive.fails.store(errno::EIO, Ordering::Relaxed);
        ask(bql, &disk, async |request: Request<'_>| {
            let locked = request.lock_medium(true).await;
            assert_eq!(locked.expect_err("broken").errno(), errno::EIO);
            let moved = request.eject(true).await;
            assert_eq!(moved.expect_err("broken").errno(), errno::EIO);
        });
    });
}

#[test]
fn a_guest_reaches_the_tray_through_its_root() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        let front = backend(bql, "front", &disk);
        let root = front.root().clone();
        bql.block_on(root.lock_medium(true)).expect("locked");
        bql.block_on(root.eject(true)).expect("open");
        assert_eq!(drive.asked(), ["lock the tray", "open the tray"]);
        front.remove(bql);
        bql.block_on(root.lock_medium(false)).expect("no medium");
        assert_eq!(drive.asked(), [""; 0]);
    });
}

#[test]
fn without_a_tray_nothing_happens() {
    in_layer(|bql| {
        let (plain, _) = node(bql, "plain", Mem::of(512));
        // A format does not pass it on by itself.
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        let (over, _) = open(bql, "over", Drive::of(0), Some(&disk));
        for node in [&plain, &over] {
            ask(bql, node, async |request: Request<'_>| {
                request.lock_medium(true).await.expect("nothing to do");
                request.eject(true).await.expect("nothing to do");
            });
        }
        assert_eq!(drive.asked(), [""; 0]);
    });
}

#[test]
fn a_command_is_answered_by_the_device() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let command = || ScsiCommand {
            command: vec![0x1b, 0, 0, 0, 2, 0],
            transfer: ScsiTransfer::Nothing,
            timeout: Duration::from_secs(1),
        };
        let reply = ask(bql, &disk, async |request: Request<'_>| {
            request.scsi(command()).await
        });
        // A refusal is an answer too.
        let reply = reply.expect("it was sent");
        assert_eq!((reply.status, &reply.sense[..]), (2, &[0x70, 0, 5][..]));
        assert_eq!(drive.asked(), ["command [1b, 00, 00, 00, 02, 00]"]);
        let none = ask(bql, &plain, async |request: Request<'_>| {
            request.scsi(command()).await
        });
        assert!(matches!(none, Err(IoError::NotSupported)));
    });
}
