//! The same images in QEMU's own tools.

use std::fs;
use std::path::Path;

use block_drivers::{File, Raw};
use block_gs::{GraphError, Perm};

use crate::support::{Tool, backend, disk, flush, in_layer, pattern, read, write};

/// Options for a raw window of a file, as QEMU's tools take them.
fn window(path: &Path, offset: u64, size: Option<u64>) -> String {
    let size = size.map_or_else(String::new, |size| format!(r#""size":{size},"#));
    format!(
        r#"json:{{"driver":"raw","offset":{offset},{size}"file":{{"driver":"file","filename":"{}"}}}}"#,
        path.display()
    )
}

#[test]
fn qemu_reads_what_we_write() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 1 << 20).expect("created");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let node = Raw::over(&file).open(bql, "raw").expect("opened");
        let disk = disk(bql, &node);
        write(bql, &disk, 4096, &[0xcd; 8192]).expect("written");
        write(bql, &disk, 100_001, &[0xef; 777]).expect("written");
        flush(bql, &disk).expect("flushed");

        let path = path.to_str().expect("text");
        let verify = |command: &str| qemu_io.run(["-f", "raw", "-c", command, path]);
        for command in [
            "read -P 0xcd 4096 8192",
            "read -P 0xef 100001 777",
            "read -P 0 0 4096",
            "read -P 0 12288 87713",
        ] {
            let output = verify(command);
            assert!(output.status.success(), "{command}: {output:?}");
        }
        let output = verify("read -P 0xce 4096 8192");
        assert!(!output.status.success(), "the comparison compares");
    });
}

#[test]
fn we_read_what_qemu_writes() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let name = path.to_str().expect("text");
        qemu_img.succeed(["create", "-f", "raw", name, "3M"]);
        for command in ["write -P 0x11 512 1024", "write -P 0x22 2M 64k"] {
            qemu_io.succeed(["-f", "raw", "-c", command, name]);
        }
        let file = File::new(&path).read_only(true).open(bql, "file");
        let file = file.expect("opened");
        let node = Raw::over(&file).read_only(true).open(bql, "raw");
        let node = node.expect("opened");
        assert_eq!(node.io().length(), 3 << 20);
        let disk = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
        let mut expected = vec![0; 3 << 20];
        expected[512..1536].fill(0x11);
        expected[2 << 20..(2 << 20) + (64 << 10)].fill(0x22);
        assert!(read(bql, &disk, 0, 3 << 20).expect("read") == expected);
    });
}

#[test]
fn qemu_and_we_see_the_same_window() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, pattern(64 << 10, 1)).expect("written");
        let (offset, size) = (5120, 16384);
        let options = window(&path, offset, Some(size));
        qemu_io.succeed(["-c", "write -P 0x77 512 2048", &options]);

        let file = File::new(&path).open(bql, "file").expect("opened");
        let node = Raw::over(&file).offset(offset).size(Some(size));
        let node = node.open(bql, "raw").expect("opened");
        let disk = disk(bql, &node);
        assert_eq!(read(bql, &disk, 512, 2048).expect("read"), [0x77; 2048]);
        write(bql, &disk, 16000, &[0x88; 384]).expect("written");
        let ours = read(bql, &disk, 0, size as usize).expect("read");

        let copy = directory.path().join("copy");
        // Our writer would keep a reader out that does not share the image.
        let arguments = [
            "convert",
            "-U",
            "-O",
            "raw",
            &options,
            copy.to_str().expect("text"),
        ];
        qemu_img.succeed(arguments);
        assert!(fs::read(&copy).expect("read") == ours);
        qemu_io.succeed(["-c", "read -P 0x88 16000 384", &options]);
    });
}

#[test]
fn images_that_we_create_have_the_size_that_qemu_sees() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    File::create(&path, 5 << 30).expect("created");
    let name = path.to_str().expect("text");
    let info = qemu_img.succeed(["info", "-f", "raw", "--output=json", name]);
    assert!(info.contains("\"virtual-size\": 5368709120"), "{info}");
}

#[test]
fn refusals_read_as_qemu_prints_them() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 4096).expect("created");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let compare = |options: &str, ours: Result<block_gs::Node, GraphError>| {
            let ours = ours.expect_err("refused").to_string();
            let output = qemu_io.run(["-c", "length", options]);
            let theirs = String::from_utf8(output.stderr).expect("text");
            let theirs = theirs.trim_end();
            let theirs = theirs.strip_prefix(&format!("qemu-io: can't open device {options}: "));
            assert_eq!(Some(&*ours), theirs, "{options}");
        };
        for (offset, size) in [
            (4097, None),
            (8192, Some(512)),
            (512, Some(4096)),
            (0, Some(8192)),
            (0, Some(1000)),
            (512, Some(100)),
        ] {
            let ours = Raw::over(&file).offset(offset).size(size).open(bql, "");
            compare(&window(&path, offset, size), ours);
        }
        let missing = directory.path().join("missing");
        let ours = File::new(&missing).open(bql, "");
        compare(missing.to_str().expect("text"), ours);
    });
}
