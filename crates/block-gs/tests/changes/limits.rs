//! Limits that a driver finds anew.

use std::sync::atomic::Ordering;

use block_gs::{BqlGuard, Node, Role};
use block_io::Request;

use crate::common::{Mem, above, filter, in_layer, node};

fn longest(bql: &BqlGuard, node: &Node) -> u64 {
    node.view(bql).limits().max_transfer
}

#[test]
fn limits_are_asked_for_again_all_the_way_up() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(512));
        let (image, _) =
            above(bql, "image", Mem::of(512), "file", &disk, Role::IMAGE).expect("opened");
        let (top, _) = filter(bql, "top", &image);
        let before = [&disk, &image, &top].map(|node| longest(bql, node));
        driver.max_transfer.store(65536, Ordering::Relaxed);
        assert_eq!(longest(bql, &disk), before[0], "nobody has asked");
        let mut drained = disk.drain(bql);
        drained.refresh_limits().expect("they can be");
        let seen = drained.io(async |request: Request<'_>| request.limits().max_transfer);
        assert_eq!(seen, 65536);
        drop(drained);
        for node in [&disk, &image, &top] {
            assert_eq!(longest(bql, node), 65536, "{}", node.name());
        }
        // A limit that is lifted is lifted above too.
        driver.max_transfer.store(0, Ordering::Relaxed);
        let mut drained = disk.drain(bql);
        drained.refresh_limits().expect("they can be");
        drop(drained);
        let after = [&disk, &image, &top].map(|node| longest(bql, node));
        assert_eq!(after, before);
    });
}

#[test]
fn limits_that_somebody_above_refuses_are_nobodys() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(512));
        let (pass, _) = filter(bql, "pass", &disk);
        let picky = Mem {
            least_transfer: 4096,
            ..Mem::of(512)
        };
        let (image, _) = above(bql, "image", picky, "file", &pass, Role::IMAGE).expect("opened");
        let before = [&disk, &pass, &image].map(|node| longest(bql, node));
        driver.max_transfer.store(512, Ordering::Relaxed);
        let mut drained = disk.drain(bql);
        let refused = drained.refresh_limits().expect_err("too short");
        assert_eq!(
            refused.to_string(),
            "the test driver needs longer transfers"
        );
        let seen = drained.io(async |request: Request<'_>| request.limits().max_transfer);
        assert_eq!(seen, before[0], "requests go on as before");
        drop(drained);
        let after = [&disk, &pass, &image].map(|node| longest(bql, node));
        assert_eq!(after, before);
        // A change that fails for another reason forgets them as well.
        let (other, _) = node(bql, "other", Mem::of(512));
        let refused = pass.drain(bql).replace_child("file", &image);
        assert!(refused.is_err());
        assert_eq!(longest(bql, &pass), before[1]);
        pass.drain(bql)
            .replace_child("file", &other)
            .expect("this one will do");
        assert_eq!(longest(bql, &image), before[2]);
    });
}
