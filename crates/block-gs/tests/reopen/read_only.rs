//! From writable to read-only and back.

use block_gs::{Backend, Heritage, NodeOptions, Perm, Role};
use block_io::{Buffer, IoError};

use crate::common::in_layer;
use crate::scribe::{Story, Trouble, open, open_with};

const WRITER: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE);

#[test]
fn a_node_is_written_once_it_is_writable_and_no_longer_when_it_is_not() {
    in_layer(|bql| {
        let story = Story::default();
        let options = NodeOptions {
            read_only: true,
            ..NodeOptions::default()
        };
        let node = open_with(bql, &story, "node", Trouble::None, options, None);
        let disk = Backend::new(bql, "disk", WRITER, Perm::all()).expect("a backend");
        let refused = disk.insert(bql, &node).expect_err("read-only");
        assert_eq!(refused.to_string(), "Block node is read-only");

        node.set_read_only(bql, false).expect("nobody minds");
        disk.insert(bql, &node).expect("writable");
        let buffer = Buffer::zeroed(512);
        bql.block_on(disk.root().write(0, buffer.source()))
            .expect("written");

        let refused = node
            .set_read_only(bql, true)
            .expect_err("there is a writer");
        let text = "Read-only block node 'node' cannot support read-write users";
        assert_eq!(refused.to_string(), text);
        bql.block_on(disk.root().write(0, buffer.source()))
            .expect("written");

        disk.set_perm(bql, Perm::CONSISTENT_READ, Perm::all())
            .expect("less");
        node.set_read_only(bql, true).expect("nobody writes");
        assert!(!node.view(bql).is_writable() && !node.io().is_writable());
        let refused = bql.block_on(disk.root().write(0, buffer.source()));
        assert!(matches!(
            refused,
            Err(IoError::ReadOnly | IoError::Permission(_))
        ));
        node.set_read_only(bql, true).expect("it is already");
    });
}

#[test]
fn what_was_described_within_a_node_follows_it_and_a_backing_image_does_not() {
    in_layer(|bql| {
        let story = Story::default();
        let file = open(bql, &story, "file");
        let role = ("file", &file, Role::DATA | Role::METADATA);
        let options = NodeOptions::default();
        let image = open_with(bql, &story, "image", Trouble::None, options, Some(role));
        let states = |bql: &block_gs::BqlGuard| {
            [&image, &file].map(|node| node.view(bql).options().read_only)
        };
        image.set_read_only(bql, true).expect("nobody minds");
        assert_eq!(states(bql), [true, false], "it was not described within");
        image.set_read_only(bql, false).expect("nobody minds");

        let heritage = |read_only| {
            Some(Heritage {
                from: image.clone(),
                read_only,
            })
        };
        file.set_heritage(bql, heritage(true));
        assert!(file.view(bql).inherits_from(image.view(bql)));
        image.set_read_only(bql, true).expect("nobody minds");
        assert_eq!(states(bql), [true, true]);
        image.set_read_only(bql, false).expect("nobody minds");
        assert_eq!(states(bql), [false, false]);
        file.set_heritage(bql, heritage(false));
        image.set_read_only(bql, true).expect("nobody minds");
        assert_eq!(states(bql), [true, false], "somebody has said otherwise");

        let base = open(bql, &story, "base");
        base.set_heritage(bql, heritage(true));
        image.set_read_only(bql, false).expect("nobody minds");
        image.drain(bql).set_backing(Some(&base)).expect("attached");
        image.set_read_only(bql, true).expect("nobody minds");
        assert!(!base.view(bql).options().read_only);
    });
}

#[test]
fn a_description_stays_with_its_node() {
    in_layer(|bql| {
        let story = Story::default();
        let node = open(bql, &story, "node");
        assert_eq!(node.view(bql).description::<String>(), None);
        node.set_description(bql, "what it is".to_owned());
        let description = node.view(bql).description::<String>();
        assert_eq!(description.map(String::as_str), Some("what it is"));
        assert_eq!(node.view(bql).description::<u32>(), None);
    });
}
