//! Lazy counts: the header says that they may be wrong before they are, and no
//! longer once they are stored; who finds it saying so counts everything anew.

use std::path::Path;

use block_drivers::{Chance, Inject, Injector, RequestKind};
use block_gs::{BqlGuard, GraphError, Node, NodeOptions, ReopenOptions};
use block_io::{Repairs, Request};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};

use crate::crash::workload::{Plan, crash};
use crate::support::{
    Tool, create, disk, flush, in_layer, open, open_with, pattern, qemu_reads, read, write,
};

/// Whether the stored header says that counts may be wrong.
fn says_dirty(path: &Path) -> bool {
    std::fs::read(path).expect("there")[79] & 1 != 0
}

fn lazy() -> CreateOptions {
    CreateOptions {
        lazy_refcounts: true,
        ..CreateOptions::new(8 << 20)
    }
}

fn told(lazy: bool) -> Qcow2Options {
    Qcow2Options {
        lazy_refcounts: Some(lazy),
        ..Default::default()
    }
}

fn end(bql: &mut BqlGuard) {
    bql.poll(block_io::aio::Wait::No);
}

#[test]
fn a_crash_leaves_old_or_new_data() {
    for (seed, at_once) in [(31, 1), (32, 3)] {
        let create = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(1 << 20)
        };
        crash(&Plan {
            rounds: 60 / at_once,
            at_once,
            options: told(true),
            ..Plan::new(seed, create)
        });
    }
}

#[test]
fn a_crash_while_tables_of_counts_grow_leaves_old_or_new_data() {
    let create = CreateOptions {
        cluster_size: 512,
        refcount_bits: 64,
        ..CreateOptions::new(4 << 20)
    };
    crash(&Plan {
        at_once: 3,
        rounds: 20,
        options: told(true),
        ..Plan::new(33, create)
    });
}

#[test]
fn a_crash_while_caches_overflow_leaves_old_or_new_data() {
    let create = CreateOptions {
        cluster_size: 512,
        lazy_refcounts: true,
        ..CreateOptions::new(4 << 20)
    };
    let options = Qcow2Options {
        l2_cache_size: Some(1024),
        ..Default::default()
    };
    crash(&Plan {
        at_once: 3,
        rounds: 20,
        compressed: true,
        options,
        ..Plan::new(34, create)
    });
}

#[test]
fn counts_are_stored_when_the_image_is_closed() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let copy = directory.path().join("copy");
        create(bql, &path, &lazy());
        let node = open(bql, &path, false).expect("opened");
        assert!(!says_dirty(&path), "nothing was written yet");
        let disk = disk(bql, &node);
        let data = pattern(1 << 20, 1);
        write(bql, &disk, 0, &data).expect("written");
        flush(bql, &disk).expect("flushed");
        assert!(says_dirty(&path));
        // QEMU sees that they are missing, and counts anew.
        std::fs::copy(&path, &copy).expect("copied");
        let text = copy.to_str().expect("text");
        let check = qemu_img.run(["check", text]);
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(
            said.contains("refcount=0 reference=1"),
            "counts were stored: {said}"
        );
        qemu_img.succeed(["check", "-q", "-r", "all", text]);
        assert!(!says_dirty(&copy));
        assert!(qemu_reads(&qemu_img, &copy)[..1 << 20] == data);
        // So does whoever opens it here.
        std::fs::copy(&path, &copy).expect("copied");
        let info = open(bql, &copy, true).expect("for reading it need not be repaired");
        assert!(check_of(bql, &info).0 > 0);
        drop(info);
        end(bql);
        assert!(says_dirty(&copy), "nobody has written to it");
        let again = open(bql, &copy, false).expect("repaired");
        assert!(!says_dirty(&copy));
        assert_eq!(check_of(bql, &again), (0, 0));
        drop(again);
        end(bql);
        qemu_img.succeed(["check", "-q", text]);
        // And the image itself is clean once it is closed.
        write(bql, &disk, 4 << 20, &data).expect("written");
        drop((disk, node));
        end(bql);
        assert!(!says_dirty(&path));
        qemu_img.succeed(["check", "-q", path.to_str().expect("text")]);
    });
}

/// Corruptions and leaks.
fn check_of(bql: &mut BqlGuard, node: &Node) -> (u64, u64) {
    let found = node
        .drain(bql)
        .io(async |request: Request<'_>| request.check(Repairs::empty()).await)
        .expect("looked at");
    (found.corruptions, found.leaks)
}

#[test]
fn what_qemu_left_dirty_is_read_as_it_is_and_repaired_to_be_written() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let text = path.to_str().expect("text");
        qemu_img.succeed([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "lazy_refcounts=on",
            text,
            "8M",
        ]);
        let commands = [
            "-c",
            "write -P 0x5a 0 1M",
            "-c",
            "flush",
            "-c",
            "sigraise 9",
            text,
        ];
        qemu_io.run(commands);
        assert!(says_dirty(&path));
        let node = open(bql, &path, true).expect("opened");
        let info = node
            .drain(bql)
            .io(async |request: Request<'_>| request.info().await);
        assert!(info.expect("known").is_dirty);
        {
            let reader = crate::support::backend(bql, &node, block_gs::Perm::CONSISTENT_READ)
                .expect("a reader");
            let seen = read(bql, &reader, 0, 1 << 20).expect("read");
            assert!(seen.iter().all(|byte| *byte == 0x5a));
        }
        drop(node);
        end(bql);
        assert!(says_dirty(&path));
        let node = open(bql, &path, false).expect("repaired");
        assert!(!says_dirty(&path));
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 4 << 20, &[7; 65536]).expect("written");
            let seen = read(bql, &disk, 0, 1 << 20).expect("read");
            assert!(seen.iter().all(|byte| *byte == 0x5a));
        }
        drop(node);
        end(bql);
        qemu_img.succeed(["check", "-q", text]);
    });
}

fn to(read_only: bool) -> NodeOptions {
    NodeOptions {
        read_only,
        ..NodeOptions::default()
    }
}

fn reopen(
    bql: &mut BqlGuard,
    node: &Node,
    read_only: bool,
    options: Qcow2Options,
) -> Result<(), GraphError> {
    let options = ReopenOptions::new(to(read_only)).settings(options);
    node.drain(bql).reopen(options)
}

#[test]
fn counts_become_lazy_and_exact_while_the_image_is_open() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let text = path.to_str().expect("text");
        // Whatever the image says, the option decides.
        create(bql, &path, &lazy());
        let node = open_with(bql, &path, false, told(false)).expect("opened");
        let disk = disk(bql, &node);
        let dirty = |bql: &mut BqlGuard, offset| {
            write(bql, &disk, offset, &[1; 65536]).expect("written");
            flush(bql, &disk).expect("flushed");
            says_dirty(&path)
        };
        assert!(!dirty(bql, 0));
        // Nobody says anything any more: the image decides.
        reopen(bql, &node, false, Qcow2Options::default()).expect("reopened");
        assert!(dirty(bql, 1 << 20));
        reopen(bql, &node, false, told(false)).expect("reopened");
        assert!(!says_dirty(&path));
        qemu_img.succeed(["check", "-q", "-U", text]);
        assert!(!dirty(bql, 2 << 20));
        qemu_img.succeed(["check", "-q", "-U", text]);
        // One that cannot be takes nothing with it.
        let wrong = Qcow2Options {
            overlap_check: Some("blubb".into()),
            ..told(true)
        };
        let refused = reopen(bql, &node, false, wrong);
        refused.expect_err("no such check").errno();
        assert!(!dirty(bql, 3 << 20));
        reopen(bql, &node, false, told(true)).expect("reopened");
        assert!(dirty(bql, 4 << 20));
        // Writers leave before it is opened for reading only.
        drop(disk);
        end(bql);
        reopen(bql, &node, true, told(true)).expect("reopened");
        assert!(!says_dirty(&path));
        qemu_img.succeed(["check", "-q", "-U", text]);
    });
}

#[test]
fn old_images_cannot_have_lazy_counts() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let old = CreateOptions {
            version: 2,
            ..CreateOptions::new(1 << 20)
        };
        create(bql, &path, &old);
        let text =
            "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level";
        let refused = open_with(bql, &path, false, told(true)).expect_err("too old");
        assert_eq!(refused.to_string(), text);
        let node = open(bql, &path, false).expect("opened");
        let refused = reopen(bql, &node, false, told(true)).expect_err("too old");
        assert_eq!(refused.to_string(), text);
    });
}

#[test]
fn a_flush_that_fails_leaves_the_image_dirty_and_the_node_as_it_is() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &lazy());
        let injector = Injector::new(1);
        let file = block_drivers::File::new(&path)
            .open(bql, "")
            .expect("opened");
        let file = Inject::over(&file)
            .injector(&injector)
            .open(bql, "")
            .expect("opened");
        let node = Qcow2Image::read(bql, &file).expect("an image");
        let node = node.open(bql, "").expect("opened");
        let disk = disk(bql, &node);
        write(bql, &disk, 0, &[1; 65536]).expect("written");
        flush(bql, &disk).expect("flushed");
        assert!(says_dirty(&path));
        for kind in [RequestKind::Flush, RequestKind::Write] {
            write(bql, &disk, 1 << 20, &[1; 65536]).expect("written");
            injector.set_errors(kind, Chance::ALWAYS, 5);
            let refused = reopen(bql, &node, false, told(false)).expect_err("not stored");
            assert!(
                refused.to_string().contains("Input/output error"),
                "{refused}"
            );
            injector.stop();
            assert!(says_dirty(&path));
            flush(bql, &disk).expect("flushed");
        }
        // Only the counts are left.
        injector.set_errors(RequestKind::Write, Chance::ALWAYS, 5);
        let refused = reopen(bql, &node, false, told(false)).expect_err("not stored");
        let text = "Failed to disable lazy refcounts: Input/output error";
        assert_eq!(refused.to_string(), text);
        injector.stop();
        // It is lazy still, and works.
        write(bql, &disk, 2 << 20, &[2; 65536]).expect("written");
        flush(bql, &disk).expect("flushed");
        assert!(says_dirty(&path));
        reopen(bql, &node, false, told(false)).expect("reopened");
        assert!(!says_dirty(&path));
        let text = path.to_str().expect("text");
        qemu_img.succeed(["check", "-q", "-U", text]);
        drop((disk, node));
        end(bql);
        qemu_img.succeed(["check", "-q", text]);
    });
}

#[test]
fn what_cannot_be_repaired_when_it_becomes_writable_is_not_written() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &lazy());
        let node = open(bql, &path, false).expect("opened");
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &[1; 65536]).expect("written");
            flush(bql, &disk).expect("flushed");
        }
        let dirty = std::fs::read(&path).expect("read");
        drop(node);
        end(bql);
        std::fs::write(&path, &dirty).expect("written");
        assert!(says_dirty(&path));
        let injector = Injector::new(1);
        let file = block_drivers::File::new(&path)
            .open(bql, "")
            .expect("opened");
        let file = Inject::over(&file)
            .injector(&injector)
            .open(bql, "")
            .expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let node = image.read_only(true).open(bql, "").expect("opened");
        injector.set_errors(RequestKind::Write, Chance::ALWAYS, 5);
        reopen(bql, &node, false, told(true)).expect("what follows does not count");
        injector.stop();
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 1 << 20, &[1; 512])
                .expect_err("not repaired")
                .errno();
        }
        end(bql);
        assert!(says_dirty(&path));
        reopen(bql, &node, true, told(true)).expect("reopened");
        assert!(says_dirty(&path));
        reopen(bql, &node, false, told(true)).expect("repaired");
        assert!(!says_dirty(&path));
        let disk = disk(bql, &node);
        write(bql, &disk, 1 << 20, &[2; 512]).expect("written");
        assert_eq!(read(bql, &disk, 0, 65536).expect("read"), [1; 65536]);
    });
}

#[test]
fn counts_that_are_in_memory_only_are_not_forgotten() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &lazy());
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
        let data = pattern(1 << 20, 1);
        write(bql, &disk, 0, &data).expect("written");
        flush(bql, &disk).expect("flushed");
        node.drain(bql)
            .io(async |request: Request<'_>| request.invalidate_cache().await)
            .expect("nothing to do");
        write(bql, &disk, 4 << 20, &pattern(1 << 20, 2)).expect("written");
        assert!(read(bql, &disk, 0, 1 << 20).expect("read") == data);
        drop((disk, node));
        end(bql);
        qemu_img.succeed(["check", "-q", path.to_str().expect("text")]);
    });
}

#[test]
fn an_amendment_makes_counts_exact_before_it_says_so() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    use block_common::Value;
    for (key, value) in [("lazy_refcounts", "off"), ("compat", "0.10")] {
        in_layer(|bql, directory| {
            let path = directory.path().join("image");
            create(bql, &path, &lazy());
            let node = open(bql, &path, false).expect("opened");
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &[1; 65536]).expect("written");
            flush(bql, &disk).expect("flushed");
            assert!(says_dirty(&path));
            let options = Value::map([(key, Value::from(value))]);
            node.drain(bql)
                .amend_options(&options, false)
                .expect("amended");
            let text = path.to_str().expect("text");
            assert!(value == "0.10" || !says_dirty(&path));
            qemu_img.succeed(["check", "-q", "-U", text]);
            write(bql, &disk, 1 << 20, &[1; 65536]).expect("written");
            flush(bql, &disk).expect("flushed");
            qemu_img.succeed(["check", "-q", "-U", text]);
        });
    }
}

/// An amendment decides for the time being; when the length changes the user's
/// option counts again, as it does in QEMU.
#[test]
fn an_amendment_and_an_option_may_say_different_things() {
    use block_common::Value;
    for option in [true, false] {
        in_layer(|bql, directory| {
            let path = directory.path().join("image");
            create(bql, &path, &CreateOptions::new(8 << 20));
            let node = open_with(bql, &path, false, told(option)).expect("opened");
            let perm = crate::support::READ_WRITE | block_gs::Perm::RESIZE;
            let disk = crate::support::backend(bql, &node, perm).expect("nobody objects");
            let dirty = |bql: &mut BqlGuard, offset| {
                write(bql, &disk, offset, &[1; 65536]).expect("written");
                flush(bql, &disk).expect("flushed");
                says_dirty(&path)
            };
            assert_eq!(dirty(bql, 0), option);
            let said = if option { "off" } else { "on" };
            let options = Value::map([("lazy_refcounts", Value::from(said))]);
            let amended = node.drain(bql).amend_options(&options, false);
            amended.expect("amended");
            for _ in 0..10 {
                end(bql);
            }
            assert_eq!(dirty(bql, 1 << 20), !option);
            let longer = disk
                .root()
                .truncate(9 << 20, true, block_io::Preallocation::Off);
            bql.block_on(longer).expect("longer");
            for _ in 0..10 {
                end(bql);
            }
            // All is stored where counts were lazy.
            assert!(!says_dirty(&path));
            assert_eq!(dirty(bql, 2 << 20), option);
        });
    }
}
