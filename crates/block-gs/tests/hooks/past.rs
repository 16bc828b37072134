//! What was there at the time of a snapshot.

use block_io::{Buffer, IoError, Request, StatusFlags};

use crate::common::{Mem, in_layer, node};
use crate::drive::{Drive, ask, open};

#[test]
fn the_past_is_read_beside_the_present() {
    in_layer(|bql| {
        let drive = Drive::of(1024);
        *drive.past.lock().expect("no panic") = Some(vec![7; 1024]);
        let (disk, drive) = open(bql, "disk", drive, None);
        let mut buffers = [0; 3].map(|_| Buffer::zeroed(512));
        let [past, present, given_up] = &mut buffers;
        ask(bql, &disk, async |request: Request<'_>| {
            let read = request.read_snapshot(512, past.destination()).await;
            read.expect("there");
            request
                .read(512, present.destination())
                .await
                .expect("read");
            request.discard_snapshot(0, 512).await.expect("there");
            let read = request.read_snapshot(0, given_up.destination()).await;
            read.expect("there");
        });
        assert_eq!(past.as_slice(), [7; 512]);
        assert_eq!(present.as_slice(), [0; 512]);
        assert_eq!(given_up.as_slice(), [0; 512]);
        assert_eq!(*drive.bytes.lock().expect("no panic"), [0; 1024]);
    });
}

#[test]
fn what_the_past_holds_is_known_range_by_range() {
    in_layer(|bql| {
        let drive = Drive::of(1024);
        *drive.past.lock().expect("no panic") = Some(vec![7; 1024]);
        let (disk, _) = open(bql, "disk", drive, None);
        ask(bql, &disk, async |request: Request<'_>| {
            request.discard_snapshot(0, 256).await.expect("there");
            let status = request.snapshot_status(0, 1024, true).await;
            let status = status.expect("known");
            assert_eq!(
                (status.bytes, status.flags.contains(StatusFlags::ZERO)),
                (256, true)
            );
            let status = request.snapshot_status(256, 768, true).await;
            let status = status.expect("known");
            assert_eq!(
                (status.bytes, status.flags.contains(StatusFlags::DATA)),
                (768, true)
            );
            let rough = request.snapshot_status(0, 1024, false).await;
            assert_eq!(rough.expect("known").bytes, 1024);
        });
    });
}

#[test]
fn a_node_without_a_past_says_so_and_impossible_ranges_are_not_asked_for() {
    in_layer(|bql| {
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let (disk, _) = open(bql, "disk", Drive::of(512), None);
        let mut buffer = Buffer::zeroed(512);
        for node in [&plain, &disk] {
            ask(bql, node, async |request: Request<'_>| {
                let read = request.read_snapshot(0, buffer.destination()).await;
                assert!(matches!(read, Err(IoError::NotSupported)));
                let discarded = request.discard_snapshot(0, 512).await;
                assert!(matches!(discarded, Err(IoError::NotSupported)));
                let status = request.snapshot_status(0, 512, true).await.map(drop);
                assert!(matches!(status, Err(IoError::NotSupported)));
                let far = request.read_snapshot(1 << 63, buffer.destination()).await;
                assert!(matches!(far, Err(IoError::OutOfRange(_))));
                let far = request.discard_snapshot(u64::MAX, 1).await;
                assert!(matches!(far, Err(IoError::OutOfRange(_))));
            });
        }
    });
}
