//! A header over a valid image: one byte says which, the last 32 what is done
//! with it, all between are put over its beginning.

use block_qcow2::format::header::Header;

use crate::image::exercise;
use crate::plan::Plan;
use crate::skeleton::skeleton;

pub(super) fn run(input: &[u8]) {
    let (rest, plan) = Plan::at_end(input, 32);
    let mut head = Plan::new(rest);
    let skeleton = skeleton(head.byte());
    let size = skeleton.header.cluster_size() as usize;
    let mut bytes = skeleton.bytes.clone();
    let over = head.bytes(size);
    bytes[..over.len()].copy_from_slice(over);
    survives(&bytes[..size]);
    exercise(&bytes, plan);
}

/// A header that is read and written is read as the same.
fn survives(head: &[u8]) {
    let Ok(mut header) = Header::parse(head) else {
        return;
    };
    if header.cluster_size() as usize != head.len() || header.read_extensions(head).is_err() {
        return;
    }
    let Ok(mut written) = header.write() else {
        return;
    };
    written.resize(head.len(), 0);
    let mut again = Header::parse(&written).expect("what was written is a header");
    again.read_extensions(&written).expect("with extensions");
    assert_eq!(again.write().ok(), header.write().ok());
}
