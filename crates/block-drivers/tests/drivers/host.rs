//! `file` and `host_device`: opening, making and giving back, on what this
//! host has.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use block_common::Preallocation;
use block_drivers::File;
use block_drivers::file::probe::{Kind, Medium};
use block_drivers::file::space::{
    Extent, Progress, ZeroMode, allocation, punch_hole, set_length, zero_range,
};
use block_drivers::file::{Aio, CreateOptions, FileOptions, Geometry, Protocol};
use block_gs::{BqlGuard, IoError, Perm};
use block_io::Buffer;
use block_io::aio::Engine;

use crate::support::{READ_WRITE, Tool, backend, disk, in_layer, pattern, read, write};

const MIB: u64 = 1 << 20;

/// The error of opening, which succeeds in none of these cases.
fn refusal(bql: &mut BqlGuard, options: FileOptions) -> String {
    let refused = options.open(bql, "");
    refused.expect_err("it cannot be opened so").to_string()
}

#[test]
fn refusals_to_open_read_as_qemu_prints_them() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    in_layer(|bql, directory| {
        let image = directory.path().join("image");
        File::create(&image, 4096).expect("created");
        let directory = directory.path();
        let image_name = image.to_str().expect("text");
        let directory_name = directory.to_str().expect("text");
        let direct = r#","cache":{"direct":true}"#;
        let cases = [
            (File::new("/dev/null"), "file", "/dev/null", ""),
            (File::new(directory), "file", directory_name, ""),
            (File::device(directory), "host_device", directory_name, ""),
            (File::device(&image), "host_device", image_name, ""),
            (
                File::new(&image).aio(Aio::Native),
                "file",
                image_name,
                r#","aio":"native""#,
            ),
            (
                File::new("/proc/cpuinfo").read_only(true).direct(true),
                "file",
                "/proc/cpuinfo",
                direct,
            ),
        ];
        for (options, driver, name, more) in cases {
            let json = format!(r#"json:{{"driver":"{driver}","filename":"{name}"{more}}}"#);
            let mut arguments = vec!["-c", "length", &json];
            if name == "/proc/cpuinfo" {
                arguments.push("-r");
            }
            let output = qemu_io.run(arguments);
            let theirs = String::from_utf8(output.stderr).expect("text");
            let ours = refusal(bql, options);
            let expected = format!("qemu-io: can't open device {json}: {ours}\n");
            assert_eq!(theirs, expected);
        }
    });
}

#[test]
fn what_a_path_is_for_is_seen_from_what_is_there() {
    in_layer(|bql, directory| {
        let image = directory.path().join("image");
        File::create(&image, 4096).expect("created");
        let node = File::at(&image).open(bql, "file").expect("opened");
        assert_eq!(node.view(bql).driver().format_name(), "file");
        let file = node.driver::<File>().expect("just made");
        assert_eq!(file.geometry(bql).kind, Kind::Regular);
        let null = File::at("/dev/null").open(bql, "null").expect("opened");
        assert_eq!(null.view(bql).driver().format_name(), "host_device");
        assert_eq!(null.io().length(), 0);
    });
}

#[test]
fn direct_io_reads_and_writes_whole_blocks_past_the_page_cache() {
    for place in ["/tmp", "/dev/shm"] {
        in_layer(|bql, _| {
            let directory = tempfile::tempdir_in(place).expect("a directory");
            let path = directory.path().join("image");
            let bytes = pattern(1 << 20, 1);
            fs::write(&path, &bytes).expect("written");
            let opened = File::new(&path).direct(true).open(bql, "");
            let node = match opened {
                Err(error) if error.to_string().ends_with("does not support O_DIRECT") => {
                    println!("SKIPPED: {place}: {error}");
                    return;
                }
                opened => opened.expect("opened"),
            };
            let geometry = node.driver::<File>().expect("just made").geometry(bql);
            let block = u64::from(geometry.request_alignment);
            assert!(
                Buffer::zeroed(1)
                    .as_slice()
                    .as_ptr()
                    .addr()
                    .is_multiple_of(geometry.memory_alignment as usize)
            );
            let disk = disk(bql, &node);
            let got = read(bql, &disk, block, 65536).expect("read");
            assert_eq!(got, bytes[block as usize..][..65536]);
            write(bql, &disk, 65536, &pattern(65536, 2)).expect("written");
            assert_eq!(
                fs::read(&path).expect("read")[65536..131_072],
                pattern(65536, 2)
            );
        });
    }
}

#[test]
fn direct_io_reads_zeroes_behind_an_end_inside_a_block() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        for engine in [Engine::Threads, Engine::IoUring] {
            fs::write(&path, pattern(8192, 1)).expect("written");
            let options = File::new(&path).direct(true).engine(Some(engine));
            let node = match options.open(bql, "") {
                Err(error) if error.to_string().ends_with("does not support O_DIRECT") => {
                    println!("SKIPPED: {error}");
                    return;
                }
                opened => opened.expect("opened"),
            };
            let disk = disk(bql, &node);
            // Behind the node's back, so that the request is not cut too.
            fs::write(&path, pattern(5000, 1)).expect("written");
            match read(bql, &disk, 0, 8192) {
                Err(IoError::Os(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                    println!("SKIPPED: {error}");
                }
                got => {
                    let got = got.expect("read");
                    assert_eq!(got[..5000], pattern(5000, 1), "{engine:?}");
                    assert!(got[5000..].iter().all(|&byte| byte == 0), "{engine:?}");
                }
            }
        }
    });
}

#[test]
fn native_is_the_best_engine_of_a_file_opened_for_direct_io() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, pattern(8192, 1)).expect("written");
        for aio in [Aio::Threads, Aio::Native, Aio::IoUring] {
            let options = File::new(&path).direct(aio == Aio::Native).aio(aio);
            match options.open(bql, "") {
                Ok(node) => {
                    let disk = disk(bql, &node);
                    assert_eq!(read(bql, &disk, 0, 8192).expect("read"), pattern(8192, 1));
                }
                Err(error) => {
                    let text = error.to_string();
                    let known = text.starts_with("aio=io_uring was specified, but is not")
                        || text.ends_with("filesystem does not support O_DIRECT");
                    assert!(known, "{text}");
                    println!("SKIPPED: {text}");
                }
            }
        }
    });
}

#[test]
fn auto_read_only_opens_for_writing_when_a_writer_comes() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, b"contents").expect("written");
        let node = File::new(&path).auto_read_only(true).open(bql, "");
        let node = node.expect("opened");
        let reader = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
        let writer = backend(bql, &node, READ_WRITE).expect("a writer");
        write(bql, &writer, 0, b"C").expect("written");
        assert_eq!(read(bql, &reader, 0, 8).expect("read"), b"Contents");
        drop(writer);
        let writer = backend(bql, &node, READ_WRITE).expect("another one");
        write(bql, &writer, 7, b"S").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"ContentS");
    });
}

#[test]
fn auto_read_only_refuses_the_writer_of_what_cannot_be_written() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, b"contents").expect("written");
        let node = File::new(&path).auto_read_only(true).open(bql, "");
        let node = node.expect("opened");
        // Permissions would not do: root writes whatever they say.
        fs::rename(&path, directory.path().join("elsewhere")).expect("renamed");
        let error = backend(bql, &node, READ_WRITE).expect_err("not there");
        let path = path.display();
        let text = format!("Could not open '{path}': No such file or directory");
        assert_eq!(error.to_string(), text);
        let reader = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
        assert_eq!(read(bql, &reader, 0, 8).expect("read"), b"contents");
    });
}

#[test]
fn images_take_the_space_that_qemu_gives_them() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    for place in ["/tmp", "/dev/shm"] {
        let directory = tempfile::tempdir_in(place).expect("a directory");
        for mode in [
            Preallocation::Off,
            Preallocation::Falloc,
            Preallocation::Full,
        ] {
            let ours = directory.path().join(format!("{mode}-ours"));
            let options = CreateOptions::default().preallocation(mode).nocow(true);
            let progress = Progress::default();
            options.create(&ours, 3 * MIB, &progress).expect("created");
            let theirs = directory.path().join(format!("{mode}-theirs"));
            let name = theirs.to_str().expect("text");
            let option = format!("preallocation={mode}");
            qemu_img.succeed(["create", "-f", "raw", "-o", &option, name, "3M"]);
            let look = |path: &Path| {
                let file = fs::File::open(path).expect("there");
                file.sync_all().expect("synced");
                let metadata = file.metadata().expect("metadata");
                (metadata.len(), metadata.blocks(), metadata.mode())
            };
            assert_eq!(look(&ours), look(&theirs), "{place} {mode}");
            let expected = if mode == Preallocation::Full {
                3 * MIB
            } else {
                0
            };
            assert_eq!(progress.done(), expected);
        }
    }
}

#[test]
fn refusals_to_create_leave_nothing_behind() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let create = |options: CreateOptions, path: &Path, size| {
        let outcome = options.create(path, size, &Progress::default());
        outcome.expect_err("it cannot be created").to_string()
    };
    let plain = CreateOptions::default();
    let missing = directory.path().join("missing/image");
    assert_eq!(
        create(plain, &missing, 512),
        format!(
            "Could not create '{}': No such file or directory",
            missing.display()
        )
    );
    let over = plain.overwrite(true);
    assert_eq!(
        create(over, directory.path(), 512),
        format!(
            "Could not create '{}': Is a directory",
            directory.path().display()
        )
    );
    assert_eq!(
        create(over, Path::new("/dev/null"), 512),
        "Could not create '/dev/null': Operation not supported"
    );
    let huge = directory.path().join("huge");
    let falloc = plain.preallocation(Preallocation::Falloc);
    let text = create(falloc, &huge, 1 << 60);
    assert!(
        text.starts_with("Could not preallocate new data: "),
        "{text}"
    );
    assert!(!huge.exists());
}

/// A loop device over a file, for as long as it is kept.
struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    fn over(file: &Path) -> Option<LoopDevice> {
        let mut command = Command::new("losetup");
        let output = command.args(["-f", "--show"]).arg(file).output();
        match output {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).expect("text");
                let path = PathBuf::from(path.trim_end());
                Some(LoopDevice { path })
            }
            _ => {
                println!("SKIPPED: no loop device can be had here");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

#[test]
fn a_block_device_is_read_written_zeroed_and_discarded() {
    in_layer(|bql, directory| {
        let below = directory.path().join("below");
        let bytes = pattern(4 << 20, 1);
        fs::write(&below, &bytes).expect("written");
        let Some(device) = LoopDevice::over(&below) else {
            return;
        };
        let path = &device.path;
        assert_eq!(Protocol::for_path(path), Protocol::HostDevice);
        let refused = refusal(bql, File::new(path));
        assert!(refused.ends_with("to be a regular file"), "{refused}");

        let node = File::device(path).direct(true).open(bql, "");
        let node = node.expect("opened");
        assert_eq!(node.io().length(), 4 * MIB);
        let geometry = node.driver::<File>().expect("just made").geometry(bql);
        assert_eq!(geometry.kind, Kind::BlockDevice);
        assert_eq!(geometry.medium, Medium::Disk);
        assert_eq!(geometry.logical_block, Some(512));
        assert!(geometry.request_alignment >= 512, "{geometry:?}");
        assert!(
            geometry.max_transfer.is_some_and(|max| max >= 4096),
            "{geometry:?}"
        );
        assert!(geometry.max_segments.is_some(), "{geometry:?}");
        let disk = disk(bql, &node);
        assert_eq!(
            read(bql, &disk, 4096, 65536).expect("read"),
            bytes[4096..69632]
        );
        write(bql, &disk, 8192, &pattern(4096, 2)).expect("written");
        assert_eq!(
            read(bql, &disk, 8192, 4096).expect("read"),
            pattern(4096, 2)
        );

        let mut file = fs::File::options().read(true).write(true).open(path);
        let file = file.as_mut().expect("opened");
        let geometry = Geometry::probe(&*file, false).expect("probed");
        assert_eq!(geometry.request_alignment, 1);
        spaces(file, &bytes);
    });
}

/// What can be done with the space of a device of 4 MiB.
fn spaces(device: &mut fs::File, bytes: &[u8]) {
    const KIND: Kind = Kind::BlockDevice;
    device.write_all(bytes).expect("written");
    device.sync_all().expect("synced");
    assert_eq!(allocation(&*device, 0, MIB), Extent::Data(MIB));
    assert_eq!(allocation(&*device, 4 * MIB, MIB), Extent::Beyond);

    let mut expected = bytes.to_vec();
    for (offset, unmap, slow) in [(0, false, true), (MIB, true, true), (2 * MIB, true, false)] {
        let mode = ZeroMode { unmap, slow };
        match zero_range(&*device, KIND, offset, 65536, mode) {
            Err(IoError::NotSupported) if !slow => continue,
            outcome => outcome.expect("zeroed"),
        }
        expected[offset as usize..][..65536].fill(0);
    }
    let mode = ZeroMode {
        unmap: false,
        slow: false,
    };
    let refused = zero_range(&*device, KIND, 0, 65536, mode);
    assert!(matches!(refused, Err(IoError::NotSupported)));
    // The blocks of the device do not divide it: for the caller to write.
    let mode = ZeroMode { slow: true, ..mode };
    let refused = zero_range(&*device, KIND, 100, 200, mode);
    assert!(matches!(refused, Err(IoError::NotSupported)));
    let mut got = vec![0; bytes.len()];
    device.read_exact_at(&mut got, 0).expect("read");
    assert!(got == expected);

    // A loop device punches its file, which then reads as zeroes.
    punch_hole(&*device, KIND, 3 * MIB, MIB).expect("discarded");
    device.read_exact_at(&mut got, 0).expect("read");
    expected[3 << 20..].fill(0);
    assert!(got == expected);

    let progress = Progress::default();
    let set = |new, exact| {
        let mode = Preallocation::Off;
        set_length(&*device, KIND, new, exact, mode, &progress).map_err(|error| error.to_string())
    };
    assert_eq!(set(4 * MIB, true), Ok(()));
    assert_eq!(set(MIB, false), Ok(()));
    let refused = set(MIB, true).expect_err("shorter");
    assert_eq!(refused, "Cannot resize device files");
    let refused = set(8 * MIB, false).expect_err("longer");
    assert_eq!(refused, "Cannot grow device files");
}
