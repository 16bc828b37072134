//! Zero writes and discards: cut, padded, found out, allowed.

use block_drivers::Raw;
use block_gs::{Backend, BqlGuard, DetectZeroes, Node, NodeOptions};
use block_io::WriteFlags;

use crate::strict::{Call, Kind, Setup, Strict};
use crate::support::{
    GROWING, READ_WRITE, backend, discard, disk, errno, in_layer, pattern, strict, unmap, write,
    zeroes,
};

const NONE: WriteFlags = WriteFlags::empty();
const MAY_UNMAP: WriteFlags = WriteFlags::MAY_UNMAP;

fn native() -> Setup {
    let mut setup = Setup::default();
    setup.capabilities.zero_flags = Some(MAY_UNMAP);
    setup.capabilities.discards = true;
    setup
}

#[test]
fn zero_writes_begin_and_end_where_the_driver_does_them_best() {
    in_layer(|bql| {
        let mut setup = native();
        setup.limits.request_alignment = 16;
        setup.limits.zero_alignment = 128;
        setup.limits.max_zeroes = 400;
        let (disk, _node, driver) = disk(
            bql,
            pattern(2048, 1),
            setup,
            NodeOptions::default(),
            READ_WRITE,
        );
        bql.block_on(zeroes(disk.root(), 100, 1000, NONE))
            .expect("zeroes");
        let zero = |offset, bytes| Call::Zeroes(offset, bytes, NONE);
        assert_eq!(
            driver.calls(),
            [
                Call::Read(96, 16),
                Call::Write(96, 16, NONE),
                zero(112, 16),
                zero(128, 384),
                zero(512, 384),
                zero(896, 128),
                zero(1024, 64),
                Call::Read(1088, 16),
                Call::Write(1088, 16, NONE),
            ]
        );
        let (bytes, old) = (driver.bytes(), pattern(2048, 1));
        assert!(bytes[..100] == old[..100] && bytes[1100..] == old[1100..]);
        assert!(bytes[100..1100].iter().all(|&byte| byte == 0));
    });
}

/// The longest zero write is a limit, the alignment a wish.
#[test]
fn no_zero_write_or_discard_is_longer_than_allowed() {
    in_layer(|bql| {
        let mut setup = native();
        setup.limits.zero_alignment = 1024;
        setup.limits.max_zeroes = 100;
        setup.limits.discard_alignment = 512;
        setup.limits.max_discard = 700;
        let (disk, _node, driver) = disk(bql, pattern(2048, 1), setup, unmap(), READ_WRITE);
        bql.block_on(zeroes(disk.root(), 1000, 250, NONE))
            .expect("zeroes");
        let zero = |offset, bytes| Call::Zeroes(offset, bytes, NONE);
        assert_eq!(
            driver.calls(),
            [
                zero(1000, 24),
                zero(1024, 100),
                zero(1124, 100),
                zero(1224, 26)
            ]
        );
        bql.block_on(discard(disk.root(), 0, 2048))
            .expect("discarded");
        let at = |offset| Call::Discard(offset, 512);
        assert_eq!(driver.calls(), [at(0), at(512), at(1024), at(1536)]);
    });
}

#[test]
fn a_driver_that_cannot_gets_zeroes_to_write() {
    in_layer(|bql| {
        let mut setup = native();
        setup.unable = 3;
        setup.limits.max_transfer = 300;
        let (disk, node, driver) = disk(bql, pattern(512, 1), setup, unmap(), GROWING);
        bql.block_on(zeroes(disk.root(), 100, 612, MAY_UNMAP))
            .expect("zeroes");
        let piece = |offset, bytes| Call::Write(offset, bytes, NONE);
        assert_eq!(
            driver.calls(),
            [piece(100, 300), piece(400, 300), piece(700, 12)]
        );
        assert_eq!((node.io().length(), driver.bytes().len()), (712, 712));
        // An error other than "cannot" is an error.
        driver.fail(Kind::Write, 1, 28);
        assert_eq!(errno(bql.block_on(zeroes(disk.root(), 0, 712, NONE))), 28);
    });
}

fn zero_flags(driver: &Strict) -> Vec<WriteFlags> {
    let calls = driver.calls();
    let flags = calls.iter().filter_map(|call| match call {
        Call::Zeroes(_, _, flags) => Some(*flags),
        _ => None,
    });
    flags.collect()
}

fn detecting(detect_zeroes: DetectZeroes) -> NodeOptions {
    NodeOptions {
        detect_zeroes,
        ..unmap()
    }
}

fn over(bql: &mut BqlGuard, below: &Node, options: NodeOptions) -> Node {
    let raw = Raw::over(below).options(options);
    raw.open(bql, "").expect("opened")
}

fn write_zero_bytes(bql: &mut BqlGuard, disk: &Backend, driver: &Strict) -> Vec<WriteFlags> {
    bql.block_on(write(disk.root(), 10, &[0; 100], NONE))
        .expect("written");
    let mut almost = [0; 100];
    almost[99] = 1;
    bql.block_on(write(disk.root(), 10, &almost, NONE))
        .expect("written");
    let flags = zero_flags(driver);
    bql.block_on(write(disk.root(), 109, &[0; 1], NONE))
        .expect("written");
    driver.calls();
    assert!(driver.bytes()[10..110].iter().all(|&byte| byte == 0));
    flags
}

#[test]
fn zeroes_are_found_out_where_it_was_asked_for() {
    in_layer(|bql| {
        for (detect, expected) in [
            (DetectZeroes::Off, vec![]),
            (DetectZeroes::On, vec![NONE]),
            (DetectZeroes::Unmap, vec![MAY_UNMAP]),
        ] {
            for level in 0..3 {
                let at = |here| match here == level {
                    true => detecting(detect),
                    false => unmap(),
                };
                let (node, driver) = strict(bql, "", pattern(512, 1), native(), at(0));
                let middle = over(bql, &node, at(1));
                let top = over(bql, &middle, at(2));
                let disk = backend(bql, &top, READ_WRITE);
                let got = write_zero_bytes(bql, &disk, &driver);
                assert_eq!(got, expected, "{detect:?} at {level}");
                // And switched off again.
                let node = [&node, &middle, &top][level];
                node.drain(bql).set_detect_zeroes(DetectZeroes::Off);
                assert!(write_zero_bytes(bql, &disk, &driver).is_empty());
                node.drain(bql).set_detect_zeroes(detect);
                assert_eq!(write_zero_bytes(bql, &disk, &driver), expected);
            }
        }
        // A driver that cannot do it better gets the bytes.
        let options = detecting(DetectZeroes::On);
        let (disk, _node, driver) =
            disk(bql, pattern(512, 1), Setup::default(), options, READ_WRITE);
        bql.block_on(write(disk.root(), 0, &[0; 10], NONE))
            .expect("written");
        assert_eq!(driver.calls(), [Call::Write(0, 10, NONE)]);
    });
}

#[test]
fn space_is_given_back_only_if_every_layer_agrees() {
    in_layer(|bql| {
        for keeper in 0..4 {
            let at = |here| NodeOptions {
                unmap: here != keeper,
                ..NodeOptions::default()
            };
            let (node, driver) = strict(bql, "", pattern(512, 1), native(), at(0));
            let middle = over(bql, &node, at(1));
            let top = over(bql, &middle, at(2));
            let disk = backend(bql, &top, READ_WRITE);
            let agreed = keeper == 3;
            let in_flight = bql.block_on(disk.root().begin());
            let request = in_flight.request().expect("a node");
            assert_eq!(request.may_unmap(), agreed, "{keeper}");
            drop(in_flight);
            let done = bql.block_on(zeroes(disk.root(), 0, 100, MAY_UNMAP));
            done.expect("zeroes");
            let expected = if agreed { MAY_UNMAP } else { NONE };
            assert_eq!(zero_flags(&driver), [expected], "{keeper}");
            bql.block_on(discard(disk.root(), 0, 100)).expect("a hint");
            assert_eq!(driver.calls().len(), usize::from(agreed), "{keeper}");
            // Another way down that does not pass the one that objects.
            let other = backend(bql, &node, READ_WRITE);
            bql.block_on(discard(other.root(), 0, 100)).expect("a hint");
            assert_eq!(driver.calls().len(), usize::from(keeper != 0), "{keeper}");
        }
    });
}

#[test]
fn discards_are_hints() {
    in_layer(|bql| {
        let mut setup = native();
        setup.limits.discard_alignment = 128;
        let (disk, node, driver) = disk(bql, pattern(1000, 1), setup, unmap(), GROWING);
        let root = disk.root();
        let at = Call::Discard;
        // Heads and tails go to the driver, which may refuse them.
        bql.block_on(discard(root, 100, 500)).expect("discarded");
        assert_eq!(driver.calls(), [at(100, 28), at(128, 384), at(512, 88)]);
        let bytes = driver.bytes();
        assert!(bytes[128..512].iter().all(|&byte| byte == 0));
        assert!(bytes[..128] == pattern(1000, 1)[..128]);
        // Nothing beyond the end.
        bql.block_on(discard(root, 896, 500)).expect("discarded");
        assert_eq!(driver.calls(), [at(896, 104)]);
        bql.block_on(discard(root, 1000, 500))
            .expect("nothing there");
        bql.block_on(discard(root, 0, 0)).expect("nothing");
        assert!(driver.calls().is_empty());
        assert_eq!(node.io().length(), 1000);
        // Other errors are errors, and end it.
        driver.fail(Kind::Discard, 1, 5);
        assert_eq!(errno(bql.block_on(discard(root, 100, 500))), 5);
        assert_eq!(driver.calls(), [at(100, 28), at(128, 384)]);
        // One that cannot is not told again.
        driver.fail(Kind::Discard, 0, 95);
        let refused = bql.block_on(discard(root, 0, 128));
        assert_eq!(refused.map_or_else(|error| error.errno(), |()| 0), 0);
    });
}
