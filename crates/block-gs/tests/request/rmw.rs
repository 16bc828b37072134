//! Parts of blocks: read, changed, written back.

use std::pin::pin;

use block_gs::{NodeOptions, Perm};
use block_io::{Buffer, IoError, WriteFlags};

use crate::strict::{Call, Kind, Setup};
use crate::support::{GROWING, READ_WRITE, disk, errno, in_layer, pattern, poll_once, read, write};

const EIO: i32 = 5;

/// QEMU 10.0.2 ignores the error and writes back whatever is in its bounce
/// buffer: the write succeeds, and the rest of the block is lost.
#[test]
fn what_cannot_be_read_is_not_overwritten() {
    in_layer(|bql| {
        for (offset, len, after) in [(10, 20, 0), (500, 24, 0), (10, 1500, 1)] {
            let old = pattern(2048, 1);
            let setup = Setup::aligned(512);
            let (disk, _node, driver) =
                disk(bql, old.clone(), setup, NodeOptions::default(), READ_WRITE);
            driver.fail(Kind::Read, after, EIO);
            let new = pattern(len, 2);
            let done = write(disk.root(), offset, &new, WriteFlags::empty());
            assert_eq!(errno(bql.block_on(done)), EIO);
            assert!(driver.bytes() == old);
            let calls = driver.calls();
            assert!(!calls.iter().any(|call| matches!(call, Call::Write(..))));
            let again = write(disk.root(), offset, &new, WriteFlags::empty());
            bql.block_on(again).expect("nothing is left of the failure");
        }
    });
}

/// Two blocks are read in one go where the driver takes that, else one by
/// one, the second only if it lies within the node.
#[test]
fn blocks_beyond_the_end_are_not_read() {
    in_layer(|bql| {
        let mut setup = Setup::aligned(512);
        setup.limits.max_transfer = 512;
        let (disk, node, driver) =
            disk(bql, pattern(512, 1), setup, NodeOptions::default(), GROWING);
        let done = write(disk.root(), 500, &[7; 24], WriteFlags::empty());
        bql.block_on(done).expect("written");
        let write_of = |offset| Call::Write(offset, 512, WriteFlags::empty());
        assert_eq!(
            driver.calls(),
            [Call::Read(0, 512), write_of(0), write_of(512)]
        );
        assert_eq!(node.io().length(), 1024);
    });
}

/// A block that reaches beyond the end can only be written whole, so that
/// takes the permission to grow. QEMU refuses `WRITE` without `RESIZE` on such
/// a node; a length that changes afterwards runs into an assertion there.
#[test]
fn a_padded_write_does_not_grow_without_permission() {
    in_layer(|bql| {
        let setup = Setup::aligned(512);
        let (front, node, driver) = disk(
            bql,
            pattern(1024, 1),
            setup,
            NodeOptions::default(),
            READ_WRITE,
        );
        let other = crate::support::backend(bql, &node, GROWING);
        let shrunk = other.root().truncate(1000, true, Default::default());
        bql.block_on(shrunk).expect("truncated");
        driver.calls();
        let done = bql.block_on(write(front.root(), 900, &[1; 100], WriteFlags::empty()));
        assert!(
            matches!(done, Err(IoError::Permission(Perm::RESIZE))),
            "{done:?}"
        );
        assert!(driver.calls().is_empty());
        assert_eq!(node.io().length(), 1000);
        let done = bql.block_on(write(other.root(), 900, &[1; 100], WriteFlags::empty()));
        done.expect("it may grow");
        assert_eq!(node.io().length(), 1024);
    });
}

/// An ordinary write that overlaps waits for the whole of it, and so does a
/// read: it would see the block half changed if the driver writes in pieces.
#[test]
fn what_overlaps_waits_in_order() {
    in_layer(|bql| {
        let setup = Setup {
            turns: 2,
            exclusive: true,
            ..Setup::aligned(512)
        };
        let old = pattern(1024, 1);
        let (disk, _node, driver) =
            disk(bql, old.clone(), setup, NodeOptions::default(), READ_WRITE);
        let root = disk.root();
        bql.block_on(async {
            let mut first = pin!(write(root, 10, &[1; 20], WriteFlags::empty()));
            let mut second = pin!(write(root, 20, &[2; 20], WriteFlags::empty()));
            let mut third = pin!(read(root, 0, 512));
            let mut apart = pin!(read(root, 512, 512));
            assert!(poll_once(first.as_mut()).await.is_pending());
            assert!(poll_once(second.as_mut()).await.is_pending());
            assert!(poll_once(third.as_mut()).await.is_pending());
            assert!(poll_once(apart.as_mut()).await.is_pending());
            apart.await.expect("read").truncate(0);
            first.await.expect("written");
            assert!(poll_once(third.as_mut()).await.is_pending());
            second.await.expect("written");
            let got = third.await.expect("read");
            let mut expected = old[..512].to_vec();
            expected[10..20].fill(1);
            expected[20..40].fill(2);
            assert!(got == expected);
        });
        driver.content();
    });
}

#[test]
fn serialising_requests_are_alone_and_can_refuse_to_wait() {
    in_layer(|bql| {
        let setup = Setup {
            turns: 3,
            ..Setup::default()
        };
        let (disk, node, _driver) = disk(
            bql,
            pattern(1024, 1),
            setup,
            NodeOptions::default(),
            READ_WRITE,
        );
        let root = disk.root();
        let serialising = WriteFlags::SERIALISING;
        let at_once = serialising | WriteFlags::NO_WAIT;
        // Nobody tracks what is in flight, so nobody could say.
        let refused = bql.block_on(write(root, 0, &[1; 10], serialising));
        assert_eq!(errno(refused), 22);
        node.drain(bql).track_overlaps();
        bql.block_on(async {
            let mut plain = pin!(write(root, 0, &[1; 10], WriteFlags::empty()));
            assert!(poll_once(plain.as_mut()).await.is_pending());
            let busy = write(root, 5, &[2; 10], at_once).await;
            assert!(matches!(busy, Err(IoError::Busy)));
            assert_eq!(errno(busy), 16);
            write(root, 10, &[2; 10], at_once).await.expect("apart");
            let mut alone = pin!(write(root, 5, &[3; 10], serialising));
            assert!(poll_once(alone.as_mut()).await.is_pending());
            // It waits for the serialising one, which came before.
            let mut later = pin!(write(root, 0, &[4; 10], WriteFlags::empty()));
            assert!(poll_once(later.as_mut()).await.is_pending());
            plain.await.expect("written");
            assert!(poll_once(later.as_mut()).await.is_pending());
            alone.await.expect("written");
            later.await.expect("written");
            let got = read(root, 0, 20).await.expect("read");
            assert_eq!(got[..15], [[4; 10].as_slice(), &[3; 5]].concat());
        });
        // As it began.
        bql.block_on(write(root, 0, &[5; 1024], at_once))
            .expect("alone");
    });
}

/// The buffer is made of whole blocks, also where blocks are longer than
/// buffers usually are.
#[test]
fn scattered_requests_in_huge_blocks_stay_aligned() {
    in_layer(|bql| {
        let block = 32 << 20;
        let mut setup = Setup::aligned(block);
        setup.limits.max_segments = 1;
        let size = block as usize;
        let (disk, _node, driver) = disk(
            bql,
            vec![0; size],
            setup,
            NodeOptions::default(),
            READ_WRITE,
        );
        let (front, back) = (Buffer::from(&[1; 1000][..]), Buffer::zeroed(size - 1000));
        let mut whole = block_io::SourceVec::new();
        whole.push(front.source());
        whole.push(back.source());
        bql.block_on(disk.root().write(0, whole.source()))
            .expect("written");
        let (mut front, mut back) = (Buffer::zeroed(2000), Buffer::zeroed(size - 2000));
        let mut into = block_io::DestinationVec::new();
        into.push(front.destination());
        into.push(back.destination());
        bql.block_on(disk.root().read(0, into.destination()))
            .expect("read");
        drop(into);
        assert_eq!(front.as_slice()[999..1001], [1, 0]);
        assert!(driver.calls().len() >= 2);
    });
}
