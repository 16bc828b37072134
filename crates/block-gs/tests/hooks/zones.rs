//! Zones: what may be done with them, and where an append ends up.

use block_common::error::errno;
use block_gs::NodeBuilder;
use block_io::{Buffer, IoError, Request, WriteFlags, ZoneOperation, ZoneState};

use crate::common::{Mem, in_layer, node};
use crate::drive::{Drive, ZONE, ask, open};

const SECOND: u64 = ZONE as u64;

/// Appends `bytes` to the zone at `offset`; where they are.
async fn append(request: Request<'_>, offset: u64, bytes: &[u8]) -> Result<u64, IoError> {
    let buffer = Buffer::from(bytes);
    let flags = WriteFlags::empty();
    request.append_to_zone(offset, buffer.source(), flags).await
}

#[test]
fn an_append_says_where_it_went_and_the_next_goes_behind_it() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::zoned(3), None);
        ask(bql, &disk, async |request| {
            let first = Buffer::from(&[1; 600][..]);
            let flags = WriteFlags::empty();
            let at = request.append_to_zone(SECOND, first.source(), flags).await;
            assert_eq!(at.expect("empty"), SECOND);
            assert_eq!(append(request, SECOND, &[2; 424]).await.ok(), Some(1624));
            let zones = request.zones(0, 2).await.expect("known");
            assert_eq!(
                (zones[0].write_pointer, zones[0].state),
                (0, ZoneState::Empty)
            );
            assert_eq!(
                (zones[1].write_pointer, zones[1].state),
                (2048, ZoneState::Full)
            );
            let full = append(request, SECOND, &[3]).await;
            assert_eq!(full.expect_err("full").errno(), errno::EIO);
            let inside = append(request, SECOND + 1, &[3]).await;
            assert_eq!(
                inside.expect_err("no zone begins there").errno(),
                errno::EINVAL
            );
        });
        let bytes = drive.bytes.lock().expect("no panic");
        assert_eq!(bytes[..ZONE], [0; ZONE]);
        assert_eq!(bytes[ZONE..][..600], [1; 600]);
        assert_eq!(bytes[1624..2048], [2; 424]);
    });
}

#[test]
fn zones_are_opened_filled_and_emptied_as_the_drive_is_told() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::zoned(3), None);
        let two = 2 * SECOND;
        let states = ask(bql, &disk, async |request: Request<'_>| {
            let mut states = Vec::new();
            append(request, 0, b"x").await.expect("empty");
            for (operation, offset) in [
                (ZoneOperation::Open, 0),
                (ZoneOperation::Close, SECOND),
                (ZoneOperation::Finish, 0),
                (ZoneOperation::Reset, SECOND),
            ] {
                let done = request.manage_zones(operation, offset, two).await;
                done.expect("whole zones");
                let zones = request.zones(0, 9).await.expect("known");
                states.push(zones.iter().map(|zone| zone.state).collect::<Vec<_>>());
            }
            states
        });
        use ZoneState::{Closed, Empty, ExplicitlyOpen, Full};
        assert_eq!(
            states,
            [
                [ExplicitlyOpen, ExplicitlyOpen, Empty],
                [ExplicitlyOpen, Closed, Closed],
                [Full, Full, Closed],
                [Full, Empty, Empty],
            ]
        );
        assert_eq!(
            drive.asked(),
            [
                "append 1 at 0",
                "Open 2048 at 0",
                "Close 2048 at 1024",
                "Finish 2048 at 0",
                "Reset 2048 at 1024",
            ]
        );
    });
}

#[test]
fn what_cannot_be_done_with_zones_does_not_reach_the_drive() {
    in_layer(|bql| {
        let builder = NodeBuilder::new("locked").read_only(true);
        let locked = builder.open(bql, std::sync::Arc::new(Drive::zoned(1)));
        let locked = locked.expect("opened");
        ask(bql, &locked, async |request: Request<'_>| {
            let reset = request.manage_zones(ZoneOperation::Reset, 0, SECOND).await;
            assert!(matches!(reset, Err(IoError::ReadOnly)), "{reset:?}");
            let appended = append(request, 0, b"x").await;
            assert!(matches!(appended, Err(IoError::ReadOnly)), "{appended:?}");
            assert_eq!(request.zones(0, 1).await.expect("reading is fine").len(), 1);
        });
        let (disk, drive) = open(bql, "disk", Drive::zoned(1), None);
        ask(bql, &disk, async |request: Request<'_>| {
            let far = request.manage_zones(ZoneOperation::Reset, 1 << 63, SECOND);
            assert!(matches!(far.await, Err(IoError::OutOfRange(_))));
            let far = append(request, 1 << 63, b"x").await;
            assert!(matches!(far, Err(IoError::OutOfRange(_))));
        });
        assert_eq!(drive.asked(), [""; 0]);
        // The drive refuses some itself, and others have no zones at all.
        let (plain, _) = node(bql, "plain", Mem::of(4096));
        ask(bql, &disk, async |request: Request<'_>| {
            let half = request.manage_zones(ZoneOperation::Finish, 0, SECOND / 2);
            assert_eq!(half.await.expect_err("half a zone").errno(), errno::EINVAL);
        });
        ask(bql, &plain, async |request: Request<'_>| {
            let none = request.manage_zones(ZoneOperation::Open, 0, SECOND).await;
            assert!(matches!(none, Err(IoError::NotSupported)));
            let none = append(request, 0, b"x").await;
            assert!(matches!(none, Err(IoError::NotSupported)));
        });
    });
}
