//! Who may look at memory when.

use proptest::prelude::*;

use super::*;

#[test]
fn memory_is_aligned_and_zero() {
    for alignment in [1, 512, 4096, 1 << 16] {
        let buffer = Buffer::with_alignment(1000, alignment);
        assert_eq!(buffer.as_slice().as_ptr() as usize % alignment, 0);
        assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
    }
    assert!(Buffer::zeroed(0).as_slice().is_empty());
}

#[test]
fn split_destinations_do_not_overlap() {
    let mut buffer = Buffer::zeroed(10);
    let (mut a, b) = buffer.destination().split_at(3);
    let (mut b, mut c) = b.split_at(4);
    a.fill(1);
    b.fill(2);
    c.fill(3);
    assert_eq!(buffer.as_slice(), [1, 1, 1, 2, 2, 2, 2, 3, 3, 3]);
}

#[test]
fn an_abandoned_transfer_keeps_its_memory_and_locks_the_buffer() {
    let mut buffer = Buffer::from(&b"old"[..]);
    let mut transfer = buffer.destination().transfer_all();
    assert!(!buffer.is_idle());
    let shown = std::panic::catch_unwind(|| buffer.as_slice().len());
    assert!(shown.is_err(), "the kernel may be writing");
    assert!(buffer.reclaim());
    assert_eq!(buffer.as_slice(), [0, 0, 0]);
    transfer.fill(7);
    drop(transfer);
    assert_eq!(buffer.as_slice(), [0, 0, 0], "the old memory is not ours");
}

#[test]
fn a_transfer_outlives_its_buffer() {
    let mut buffer = Buffer::zeroed(4096);
    let mut transfer = buffer.destination().transfer_all();
    drop(buffer);
    let worker = std::thread::spawn(move || transfer.fill(9));
    worker.join().expect("no panic");
}

#[test]
fn an_outgoing_transfer_lets_others_read_but_not_write() {
    let mut buffer = Buffer::from(&b"data"[..]);
    let transfer = buffer.source().transfer_all();
    assert_eq!(buffer.as_slice(), b"data");
    assert!(!buffer.is_idle());
    drop(transfer);
    buffer.as_mut_slice()[0] = b'D';
    assert_eq!(buffer.as_slice(), b"Data");
}

fn panics(look: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err()
}

#[test]
fn a_lent_range_is_out_of_reach_while_its_transfer_goes_on_and_no_other() {
    let mut buffer = Buffer::zeroed(8);
    let (mut left, mut right) = buffer.destination().split_at(4);
    // As of a future that was leaked: nobody tells.
    let mut transfer = left.reborrow().split_at(2).1.transfer_all();
    let other = right.reborrow().transfer_all();
    assert!(panics(|| left.fill(1)));
    assert!(panics(|| assert_eq!(left.as_source().len(), 4)));
    assert!(panics(|| drop(left.reborrow().transfer_all())));
    let (mut free, mut busy) = left.split_at(2);
    free.fill(1);
    assert!(panics(|| assert!(busy.as_contiguous_mut().is_some())));
    transfer.fill(2);
    drop(transfer);
    assert_eq!(busy.as_contiguous_mut(), Some(&mut [2, 2][..]));
    assert!(panics(|| right.fill(3)));
    drop(other);
    right.fill(3);
    assert_eq!(buffer.as_slice(), [1, 1, 2, 2, 3, 3, 3, 3]);
}

#[test]
fn a_destination_that_is_written_from_keeps_its_bytes() {
    let mut buffer = Buffer::from(&b"data"[..]);
    let mut destination = buffer.destination();
    let source = destination.as_source();
    assert_eq!(source.as_contiguous(), Some(&b"data"[..]));
    let transfer = source.transfer_all();
    assert_eq!(destination.as_source().len(), 4, "reading is fine");
    assert!(panics(|| destination.fill(0)));
    drop(transfer);
    destination.fill(0);
    assert!(buffer.source().is_zero());
}

#[test]
fn a_vector_counts_in_every_memory() {
    let (mut a, mut b) = (Buffer::zeroed(2), Buffer::zeroed(3));
    let transfer = {
        let mut both = DestinationVec::new();
        both.push(a.destination());
        both.push(b.destination());
        both.destination().transfer_all()
    };
    assert!(!a.is_idle() && !b.is_idle());
    assert_eq!(transfer.len(), 5);
    drop(transfer);
    assert!(a.is_idle() && b.is_idle());
    let transfer = {
        let mut both = SourceVec::new();
        both.push(a.source());
        both.push(b.source());
        both.source().transfer_all()
    };
    assert!(!a.is_idle() && !b.is_idle());
    let mut transfer = Some(transfer);
    std::thread::scope(|scope| {
        scope.spawn(|| drop(transfer.take()));
    });
    assert!(a.is_idle() && b.is_idle());
}

#[test]
fn the_array_of_a_moved_vector_stays_where_it_is() {
    let (mut a, mut b) = (Buffer::zeroed(2), Buffer::zeroed(3));
    let mut both = DestinationVec::new();
    both.push(a.destination());
    both.push(b.destination());
    let mut transfer = both.destination().transfer_all();
    let place = |transfer: &mut TransferIn| match transfer.place() {
        Place::Many(array, 2) => array as usize,
        Place::Many(..) | Place::One(..) => panic!("two ranges"),
    };
    let before = place(&mut transfer);
    let mut moved = Box::new(transfer);
    assert_eq!(place(&mut moved), before);
}

#[test]
fn alignment_is_that_of_every_address_and_length() {
    let (mut a, mut b) = (Buffer::zeroed(4096), Buffer::zeroed(1024));
    assert!(a.source().is_aligned(4096) && a.source().is_aligned(512));
    assert!(!a.source().split_at(512).0.is_aligned(4096), "length");
    assert!(!a.source().split_at(256).1.is_aligned(512), "address");
    let mut both = DestinationVec::new();
    both.push(a.destination());
    both.push(b.destination());
    assert!(both.destination().is_aligned(512));
    assert!(!both.destination().is_aligned(4096));
    assert!(both.destination().split_at(4096).0.is_aligned(4096));
    assert!(both.destination().split_at(4096 + 512).1.is_aligned(512));
    assert!(!both.destination().split_at(4096 + 100).0.is_aligned(512));
}

#[test]
fn both_are_small() {
    assert!(size_of::<Destination<'_>>() <= 40);
    assert!(size_of::<Source<'_>>() <= 40);
    assert!(size_of::<Option<TransferIn>>() <= 48);
}

/// A vector of ranges of three buffers, and as many bytes as it has.
fn ranges() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(0), 1..5usize, 1..300usize], 0..20)
}

proptest! {
    #[test]
    fn splitting_and_copying_is_as_with_one_slice(
        lens in ranges(),
        at in any::<prop::sample::Index>(),
        again in any::<prop::sample::Index>(),
        nested in any::<bool>(),
        max in 1..8usize,
    ) {
        let mut buffers: Vec<_> = lens.iter().map(|&len| Buffer::zeroed(len)).collect();
        let total: usize = lens.iter().sum();
        let model: Vec<u8> = (0..total).map(|index| (index % 251) as u8 + 1).collect();
        let at = at.index(total + 1);
        let again = again.index(at + 1);

        let mut parts: Vec<_> = buffers.iter_mut().map(Buffer::destination).collect();
        let mut inner = DestinationVec::new();
        let mut vector = DestinationVec::new();
        if nested {
            parts.drain(..lens.len() / 2).for_each(|part| inner.push(part));
            vector.push(inner.destination());
        }
        parts.into_iter().for_each(|part| vector.push(part));
        prop_assert_eq!(vector.len(), total);

        // Written in three pieces, back to front, by both ways of copying.
        let whole = Buffer::from(&model[..]);
        let (front, mut back) = vector.destination().split_at(at);
        let (mut front, mut middle) = front.split_at(again);
        back.copy_from(whole.source().split_at(at).1);
        middle.copy_from_slice(&model[again..at]);
        front.copy_from(whole.source().split_at(again).0);
        prop_assert_eq!(back.len(), total - at);
        let segments: Vec<_> = middle.segments_mut().map(|segment| segment.to_vec()).collect();
        prop_assert_eq!(segments.concat(), &model[again..at]);
        prop_assert_eq!(middle.segment_count(), segments.len());
        prop_assert!(segments.iter().all(|segment| !segment.is_empty()));
        let contiguous = middle.as_contiguous_mut().map(|bytes| bytes.to_vec());
        prop_assert_eq!(contiguous.is_some(), segments.len() <= 1);
        let first: usize = segments.iter().take(max).map(Vec::len).sum();
        prop_assert_eq!(middle.bytes_of(max), first);
        let limit = first / 2;
        let slices: Vec<_> =
            middle.io_slices(limit, max).iter().map(|slice| slice.to_vec()).collect();
        prop_assert_eq!(slices.concat(), &model[again..again + limit]);
        let transfer: usize = middle.transfer(limit).segments_mut().map(|part| part.len()).sum();
        prop_assert_eq!(transfer, limit);
        middle.advance(limit);
        prop_assert_eq!(middle.as_source().segments().flatten().copied().collect::<Vec<_>>(),
            &model[again + limit..at]);

        // Read back.
        let mut sources = SourceVec::new();
        buffers.iter().for_each(|buffer| sources.push(buffer.source()));
        let mut copied = vec![0; total];
        sources.source().copy_to_slice(&mut copied);
        prop_assert_eq!(&copied, &model);
        let piece = sources.source().split_at(again).1.split_at(at - again).0;
        prop_assert_eq!(piece.segments().collect::<Vec<_>>().concat(), &model[again..at]);
        prop_assert_eq!(piece.transfer(limit).segments().collect::<Vec<_>>().concat(),
            &model[again..again + limit]);
        prop_assert_eq!(piece.is_zero(), again == at);
    }

    #[test]
    fn one_byte_that_is_not_zero_is_found(lens in ranges(), at in any::<prop::sample::Index>()) {
        let mut buffers: Vec<_> = lens.iter().map(|&len| Buffer::zeroed(len)).collect();
        let zero = |buffers: &[Buffer]| {
            let mut sources = SourceVec::new();
            buffers.iter().for_each(|buffer| sources.push(buffer.source()));
            sources.source().is_zero()
        };
        prop_assert!(zero(&buffers));
        let total: usize = lens.iter().sum();
        prop_assume!(total > 0);
        let mut vector = DestinationVec::new();
        buffers.iter_mut().for_each(|buffer| vector.push(buffer.destination()));
        let (_, rest) = vector.destination().split_at(at.index(total));
        rest.split_at(1).0.fill(7);
        prop_assert!(!zero(&buffers));
    }
}
