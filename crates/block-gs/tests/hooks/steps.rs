//! Steps of drivers' work, and requests that are held at them.

use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_gs::{Backend, BqlGuard};
use block_io::aio::JoinHandle;
use block_io::{Buffer, IoError, Request};

use crate::common::{Mem, backend, filter, in_layer, node, spin_until};
use crate::drive::{Drive, ask, open};

/// Begins a write.
fn write(bql: &BqlGuard, front: &Backend) -> JoinHandle<Result<(), IoError>> {
    let root = front.root().clone();
    bql.context().spawn(async move {
        let buffer = Buffer::from(&[7; 512][..]);
        root.write(0, buffer.source()).await
    })
}

#[test]
fn a_step_is_told_to_the_node_below_and_may_fail_there() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        let (image, _) = open(bql, "image", Drive::of(0), Some(&disk));
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let step = async |request: Request<'_>| request.debug_event("l2_load").await;
        ask(bql, &disk, step).expect("nobody minds");
        ask(bql, &plain, step).expect("it is for debugging only");
        assert_eq!(drive.asked(), ["l2_load"]);
        let front = backend(bql, "front", &image);
        let task = write(bql, &front);
        bql.block_on(task).expect("written");
        // Its driver's step first, then what the layer does at the file itself.
        assert_eq!(drive.asked(), ["write_aio", "pwritev", "pwritev_done"]);
        drive.bytes.lock().expect("no panic").fill(0);
        drive.fails.store(errno::EIO, Ordering::Relaxed);
        let task = write(bql, &front);
        let failed = bql.block_on(task).expect_err("at this step");
        assert_eq!(failed.errno(), errno::EIO);
        assert_eq!(*drive.bytes.lock().expect("no panic"), [0; 512]);
    });
}

#[test]
fn a_request_is_held_at_a_step_until_it_may_go_on() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        let (image, _) = open(bql, "image", Drive::of(0), Some(&disk));
        let front = backend(bql, "front", &image);
        // Asked of the file, not of the image, which has breakpoints too.
        disk.set_breakpoint(bql, "write_aio", "A").expect("set");
        let held = write(bql, &front);
        spin_until(bql, || drive.waiting() == 1);
        assert!(disk.is_suspended(bql, "A") && !disk.is_suspended(bql, "B"));
        assert!(!held.is_finished());
        assert_eq!(*drive.bytes.lock().expect("no panic"), [0; 512]);
        // It holds one request; the next passes.
        let passes = write(bql, &front);
        bql.block_on(passes).expect("written");
        assert!(!held.is_finished());
        let wrong = disk.resume_breakpoint(bql, "B").expect_err("none");
        assert_eq!(wrong.errno(), errno::ENOENT);
        assert!(disk.is_suspended(bql, "A"));
        disk.resume_breakpoint(bql, "A").expect("it goes on");
        bql.block_on(held).expect("written");
        assert!(!disk.is_suspended(bql, "A"));
    });
}

#[test]
fn a_breakpoint_that_is_removed_lets_go_what_it_holds() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        let (above, _) = filter(bql, "above", &disk);
        let (image, _) = open(bql, "image", Drive::of(0), Some(&above));
        let front = backend(bql, "front", &image);
        let unknown = above
            .set_breakpoint(bql, "tea", "A")
            .expect_err("no such step");
        assert_eq!(unknown.errno(), errno::ENOENT);
        // The first node below that has breakpoints keeps it. The image tells
        // its steps to the filter, which keeps them to itself.
        above.set_breakpoint(bql, "write_aio", "A").expect("set");
        let passes = write(bql, &front);
        bql.block_on(passes).expect("written");
        assert!(!drive.asked().iter().any(|step| step == "write_aio"));
        let held = {
            image
                .drain(bql)
                .replace_child("file", &disk)
                .expect("moved");
            write(bql, &front)
        };
        spin_until(bql, || drive.waiting() == 1);
        assert!(above.is_suspended(bql, "A"));
        disk.remove_breakpoint(bql, "A").expect("one");
        bql.block_on(held).expect("written");
        let none = disk.remove_breakpoint(bql, "A").expect_err("none left");
        assert_eq!(none.errno(), errno::ENOENT);
    });
}
