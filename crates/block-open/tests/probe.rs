//! Images whose format nobody has said.

use std::fs;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use block_common::IoError;
use block_drivers::{Chance, Inject, Injector, Raw, RequestKind};
use block_gs::{Backend, BqlGuard, Node, Perm};
use block_io::aio::sleep;
use block_io::{Buffer, Request};
use block_open::{Driver, OpenError, Opener, Options, Warning, drivers, for_filename, open, probe};
use test_support::{Tool, in_layer};

/// What waits for ever fails, and does not hold the others up.
fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    if wait.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
        panic!("it does not end");
    }
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

fn pairs(text: &str) -> Options {
    Options::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn disk(bql: &mut BqlGuard, node: &Node) -> Backend {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
    let backend = Backend::new(bql, "", perm, Perm::all()).expect("a backend");
    backend.insert(bql, node).expect("inserted");
    backend
}

fn write(bql: &mut BqlGuard, disk: &Backend, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    let buffer = Buffer::from(bytes);
    bql.block_on(disk.root().write(offset, buffer.source()))
}

/// Beginnings of images, made long enough where a format looks further.
fn beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let placed = |parts: &[(usize, &[u8])]| {
        let mut image = vec![0; 512];
        for (at, bytes) in parts {
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    };
    let bochs: &[(usize, &[u8])] = &[
        (0, b"Bochs Virtual HD Image\0"),
        (32, b"Redolog\0"),
        (48, b"Growing\0"),
        (64, &[0, 0, 2, 0]),
    ];
    vec![
        ("zeroes", vec![0; 512]),
        ("nothing", Vec::new()),
        ("luks", b"LUKS\xba\xbe\0\x01".to_vec()),
        ("luks 2", b"LUKS\xba\xbe\0\x02".to_vec()),
        ("qed", b"QED\0".to_vec()),
        ("vpc", b"conectix".to_vec()),
        ("vhdx", b"vhdxfile".to_vec()),
        ("qcow 0", b"QFI\xfb\0\0\0\0".to_vec()),
        ("qcow 1", b"QFI\xfb\0\0\0\x01".to_vec()),
        ("qcow 2", b"QFI\xfb\0\0\0\x02".to_vec()),
        ("qcow 16777218", b"QFI\xfb\x01\0\0\x02".to_vec()),
        ("cut qcow", b"QFI\xfb".to_vec()),
        ("vmdk", b"KDMV".to_vec()),
        ("cowd", b"COWD".to_vec()),
        ("vmdk text", b"# Disk DescriptorFile\nversion=1\nx".to_vec()),
        ("vmdk text, dos", b"#\r\n  \r\nversion=3\r\n".to_vec()),
        ("vmdk text, empty line", b"#\n\nversion=1\n".to_vec()),
        ("vmdk text, indented", b"  version=1\n".to_vec()),
        ("vmdk text, 4", b"version=4\n".to_vec()),
        ("vmdk text, 12", b"version=12\n".to_vec()),
        ("vmdk text, cut", b"version=1".to_vec()),
        ("parallels", placed(&[(0, b"WithoutFreeSpace\x02")])),
        ("parallels ext", placed(&[(0, b"WithouFreSpacExt\x02")])),
        ("parallels 1", placed(&[(0, b"WithoutFreeSpace\x01")])),
        ("vdi", placed(&[(64, b"\x7f\x10\xda\xbe")])),
        ("bochs", placed(bochs)),
        ("bochs, no version", placed(&bochs[..3])),
        (
            "cloop",
            b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
                .to_vec(),
        ),
        ("a script", b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop".to_vec()),
    ]
}

/// QEMU says what it has found only where the rest of the image is in order.
/// Where it is not, it opens the image for raw and for nothing else.
#[test]
fn images_are_taken_for_what_qemu_takes_them_for() {
    let Some(tool) = Tool::find("qemu-img") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    for (label, beginning) in beginnings() {
        for name in ["image", "image.dmg"] {
            let path = directory.path().join(name);
            fs::write(&path, &beginning).expect("written");
            let path = path.to_str().expect("text");
            let info = tool.run(["info", path]);
            let text = String::from_utf8_lossy(&info.stdout);
            let theirs_is_raw = text.contains("file format: raw");
            assert_eq!(
                block_open::probe(&beginning, path) == "raw",
                theirs_is_raw,
                "{label} {name}"
            );
            let said = ["info", "-f", probe(&beginning, path), path];
            let named = tool.run(said);
            assert_eq!(named.stderr, info_error(&tool, path), "{label} {name}");
        }
    }
}

fn info_error(tool: &Tool, path: &str) -> Vec<u8> {
    tool.run(["info", path]).stderr
}

#[test]
fn what_has_no_driver_is_not_opened_as_something_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let name = path.to_str().expect("text");
    in_layer(|bql| {
        for (label, beginning) in beginnings() {
            fs::write(&path, &beginning).expect("written");
            let format = probe(&beginning, name);
            if Driver::find(format).is_some_and(|driver| driver.name != "raw") {
                continue;
            }
            let opened = open(bql, for_filename(name, Options::new()).expect("a path"));
            match format {
                "raw" => assert!(opened.is_ok(), "{label}"),
                _ => {
                    let refused = opened.expect_err(label).to_string();
                    assert_eq!(refused, format!("Unknown driver '{format}'"));
                }
            }
            let said = format!("driver=raw,file.filename={name}");
            assert!(
                open(bql, pairs(&said)).is_ok(),
                "{label}: who says raw, means it"
            );
        }
    });
}

#[test]
fn a_guest_cannot_make_a_probed_image_look_like_one_of_a_format() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let name = path.to_str().expect("text");
    in_layer(|bql| {
        for (label, beginning) in beginnings() {
            fs::write(&path, [0; 4096]).expect("written");
            let node = open(bql, pairs(&format!("file.filename={name}"))).expect("opened");
            assert!(node.driver::<Raw>().expect("raw").is_guarded());
            let disk = disk(bql, &node);
            let mut sector = beginning.clone();
            sector.resize(512, 0);
            let refused = probe(&sector, "") != "raw";
            // Whole, with more behind it, and as far as it goes.
            let longer = [&sector[..], &[1; 700]].concat();
            for bytes in [&sector, &longer, &beginning] {
                let outcome = write(bql, &disk, 0, bytes);
                if bytes.is_empty() {
                    continue;
                }
                match outcome {
                    Ok(()) => assert!(!refused, "{label}"),
                    Err(error) => {
                        assert!(refused, "{label}");
                        assert_eq!(error.errno(), 1);
                        assert_eq!(error.to_string(), "Operation not permitted");
                    }
                }
                let now = fs::read(&path).expect("there");
                assert_eq!(probe(&now, ""), "raw", "{label}");
            }
            // In two steps, which fit together.
            let (first, second) = sector.split_at(5);
            let _ = write(bql, &disk, 0, first);
            let _ = write(bql, &disk, 5, second);
            assert_eq!(
                probe(&fs::read(&path).expect("there"), ""),
                "raw",
                "{label}"
            );
            write(bql, &disk, 512, &sector).expect("only the beginning matters");
        }
    });
}

/// Nor does it need to be resized for it.
#[test]
fn a_probed_image_of_any_length_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    fs::write(&path, [0; 1000]).expect("written");
    let name = path.to_str().expect("text");
    in_layer(|bql| {
        let node = open(bql, for_filename(name, Options::new()).expect("a name"));
        let node = node.expect("opened");
        assert!(node.driver::<Raw>().expect("raw").is_guarded());
        let perm = Perm::CONSISTENT_READ | Perm::WRITE;
        let disk = Backend::new(bql, "", perm, Perm::all()).expect("a backend");
        disk.insert(bql, &node).expect("nobody minds");
        write(bql, &disk, 990, &[1; 10]).expect("to the end");
        let refused = write(bql, &disk, 0, b"QFI\xfb\0\0\0\x03").expect_err("as ever");
        assert_eq!(refused.errno(), 1);
        write(bql, &disk, 100, &[1; 900]).expect("to the end");
    });
    assert_eq!(
        fs::read(&path).expect("there"),
        [[0; 100].as_slice(), &[1; 900]].concat()
    );
}

#[test]
fn an_image_that_is_said_to_be_raw_takes_any_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    fs::write(&path, [0; 4096]).expect("written");
    let mut opener = Opener::new();
    in_layer(|bql| {
        let options = format!("driver=raw,file.filename={}", path.display());
        let node = opener.open(bql, pairs(&options)).expect("opened");
        assert!(!node.driver::<Raw>().expect("raw").is_guarded());
        let disk = disk(bql, &node);
        write(bql, &disk, 0, b"QFI\xfb\0\0\0\x03").expect("written");
    });
    assert_eq!(opener.take_warnings(), []);
}

#[test]
fn the_warning_is_qemus() {
    let Some(tool) = Tool::find("qemu-io") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    fs::write(&path, [0; 4096]).expect("written");
    let name = path.to_str().expect("text");
    for (more, read_only) in [(&[][..], false), (&["-r"], true)] {
        for name in [name, "null-co://"] {
            let line = more.iter().copied().chain(["-c", "length", name]);
            let theirs = tool.run(line).stderr;
            let theirs = String::from_utf8(theirs).expect("text");
            let mut opener = Opener::new();
            in_layer(|bql| {
                let mut options = for_filename(name, Options::new()).expect("a name");
                options.set("read-only", read_only);
                opener.open(bql, options).expect("opened");
            });
            let ours: String = opener
                .take_warnings()
                .iter()
                .map(|warning| format!("{warning}\n"))
                .collect();
            assert_eq!(ours, theirs);
            assert_eq!(ours.is_empty(), read_only);
            assert_eq!(opener.take_warnings(), [], "they are said once");
        }
    }
}

#[test]
fn an_image_that_cannot_be_read_is_taken_for_nothing() {
    in_layer(|bql| {
        let injector = Injector::new(1);
        injector.set_errors(RequestKind::Read, Chance::ALWAYS, 5);
        let null = open(bql, pairs("driver=null-co")).expect("opened");
        let bad = Inject::over(&null).injector(&injector).open(bql, "bad");
        let _bad = bad.expect("opened");
        let refused = open(bql, pairs("file=bad")).expect_err("unreadable");
        let message = "Could not read image for determining its format: Input/output error";
        assert_eq!(
            (refused.to_string().as_str(), refused.errno()),
            (message, 5)
        );
        open(bql, pairs("driver=raw,file=bad")).expect("who says raw, means it");
    });
}

#[test]
fn an_image_is_looked_at_while_its_file_is_quiesced() {
    within_a_minute(|| {
        in_layer(|bql| {
            let file = pairs("driver=null-co,size=1M,read-zeroes=on,node-name=f");
            let file = open(bql, file).expect("opened");
            let main = bql.main_loop();
            let probing = bql.context().clone().spawn(async move {
                let probe = |bql: &mut BqlGuard| {
                    let image = open(bql, pairs("file=f"))?;
                    let driver = image.view(bql).driver().format_name();
                    Ok::<_, OpenError>((driver, image.length(bql)))
                };
                main.call(probe).await
            });
            let mut section = file.drain(bql);
            // Whose it is goes on only when the image is open.
            section.io(async |_: Request<'_>| sleep(Duration::from_millis(10)).await);
            section.end();
            let opened = bql.block_on(probing).expect("called");
            let (driver, length) = opened.expect("opened");
            assert_eq!((driver, length), ("raw", 1 << 20));
        });
    });
}

#[test]
fn what_has_no_contents_is_raw() {
    in_layer(|bql| {
        let mut opener = Opener::new();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image");
        fs::write(&path, b"").expect("written");
        let options = format!("file.filename={},read-only=on", path.display());
        let node = opener
            .open(bql, pairs(&options))
            .expect("an empty image is raw");
        assert_eq!(node.view(bql).driver().format_name(), "raw");
        assert!(opener.take_warnings().is_empty(), "nobody can write to it");
        let options = pairs("node-name=top,file.driver=null-co");
        let node = opener
            .open(bql, options)
            .expect("a device without contents is raw");
        let [warning] = &opener.take_warnings()[..] else {
            panic!("one warning");
        };
        assert_eq!(*warning, Warning::ProbedRaw("null-co://".into()));
        assert_eq!(node.name(), "top");
    });
}

#[test]
fn an_opener_opens_with_what_it_is_allowed() {
    in_layer(|bql| {
        let mut opener = Opener::new().allow_only(&["null-co"], &["raw"]);
        assert!(opener.is_restricted());
        let raw = Driver::find("raw").expect("there");
        assert!(opener.allows(raw, true) && !opener.allows(raw, false));
        let mut refused = |text: &str| {
            let error = opener.open(bql, pairs(text)).expect_err(text);
            assert_eq!(error.errno(), 95);
            error.to_string()
        };
        assert_eq!(
            refused("driver=null-aio"),
            "Driver 'null-aio' is not whitelisted"
        );
        assert_eq!(
            refused("driver=null-aio,read-only=on"),
            "Driver 'null-aio' is not whitelisted"
        );
        assert_eq!(
            refused("driver=raw,file.driver=null-co"),
            "Driver 'raw' can only be used for read-only devices"
        );
        assert_eq!(
            refused("file.driver=null-co"),
            "Driver 'raw' can only be used for read-only devices",
            "also when it was found out"
        );
        assert_eq!(
            refused("driver=raw,read-only=on,file.driver=null-aio"),
            "Driver 'null-aio' is not whitelisted"
        );
        opener
            .open(bql, pairs("driver=raw,read-only=on,file.driver=null-co"))
            .expect("read only");
        let node = opener
            .open(
                bql,
                pairs("driver=raw,auto-read-only=on,file.driver=null-co"),
            )
            .expect("it may become read-only");
        assert!(!node.view(bql).is_writable());
        opener.open(bql, pairs("driver=null-co")).expect("allowed");

        let mut anything = Opener::new().allow_only(&[], &[]);
        assert!(!anything.is_restricted());
        assert!(
            drivers()
                .iter()
                .all(|driver| anything.allows(driver, false))
        );
        anything
            .open(bql, pairs("driver=null-aio"))
            .expect("opened");
    });
}

#[test]
fn no_driver_here_compresses() {
    let compress: Vec<&str> = drivers()
        .iter()
        .filter(|driver| driver.can_compress())
        .map(|driver| driver.name)
        .collect();
    assert!(
        !compress.contains(&"raw") && !compress.contains(&"file"),
        "{compress:?}"
    );
}
