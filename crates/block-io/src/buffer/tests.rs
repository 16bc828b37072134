//! Who may look at memory when.

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
