//! What drivers know of their images.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use block_drivers::file::Protocol;
use block_drivers::{CopyOnRead, File, NullAio, NullCo, Raw};
use block_gs::{
    Backend, BlockDriver, BqlGuard, GraphError, IoError, Node, NodeBuilder, NodeView, Perm,
};
use block_io::{
    BlockLimits, BlockStatus, Destination, DriverInfo, DriverIo, IoFuture, Preallocation, Request,
    ScsiCommand, ScsiTransfer, Truncation,
};

use crate::support::{READ_WRITE, backend, in_layer, read};

fn ask<T>(bql: &mut BqlGuard, node: &Node, f: impl AsyncFnOnce(Request<'_>) -> T) -> T {
    node.drain(bql).io(f)
}

#[test]
fn a_sparse_file_takes_less_than_its_length() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let mut made = fs::File::create(&path).expect("created");
        made.seek(SeekFrom::Start(8 << 20)).expect("sparse");
        made.write_all(&[1; 65536]).expect("written");
        made.sync_all().expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let raw = Raw::over(&file).open(bql, "raw").expect("opened");
        let filter = CopyOnRead::over(&raw).open(bql, "filter").expect("opened");
        let size = async |request: Request<'_>| request.allocated_size().await;
        let taken = ask(bql, &file, size).expect("known");
        assert!((65536..8 << 20).contains(&taken), "{taken}");
        for above in [&raw, &filter] {
            assert_eq!(ask(bql, above, size).expect("known"), taken);
            let info = ask(bql, above, async |request| request.info().await);
            assert_eq!(info.expect("known"), DriverInfo::default());
            assert!(above.view(bql).has_zero_init(bql));
            assert_eq!(above.view(bql).probe_block_sizes(bql), None);
        }
        let null = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        assert_eq!(ask(bql, &null, size).expect("known"), 0);
        assert!(!null.view(bql).has_zero_init(bql));
    });
}

#[test]
fn file_names_open_the_node_again() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [0; 8192]).expect("written");
        let path = path.display().to_string();
        let file = File::new(&path).open(bql, "file").expect("opened");
        let raw = Raw::over(&file).open(bql, "raw").expect("opened");
        let window = Raw::over(&file).offset(512).size(Some(1024));
        let window = window.open(bql, "window").expect("opened");
        let filter = CopyOnRead::over(&file).open(bql, "filter").expect("opened");
        assert_eq!(file.filename(bql), path);
        let below = format!("{{\"driver\": \"file\", \"filename\": \"{path}\"}}");
        assert_eq!(
            window.filename(bql),
            format!(
                "json:{{\"driver\": \"raw\", \"offset\": 512, \"size\": 1024, \"file\": {below}}}"
            )
        );
        assert_eq!(
            filter.filename(bql),
            format!("json:{{\"driver\": \"copy-on-read\", \"file\": {below}}}")
        );
        assert_eq!(raw.filename(bql), path);
        Raw::set_window(&mut window.drain(bql), 1024, None).expect("moved");
        assert_eq!(
            window.filename(bql),
            format!("json:{{\"driver\": \"raw\", \"offset\": 1024, \"file\": {below}}}")
        );
        let plain = NullCo::new(1 << 30).open(bql, "plain").expect("opened");
        assert_eq!(plain.filename(bql), "null-co://");
        let small = NullAio::new(512).open(bql, "small").expect("opened");
        assert_eq!(
            small.filename(bql),
            "json:{\"driver\": \"null-aio\", \"size\": 512}"
        );
        let info = raw.view(bql).info(bql);
        assert_eq!((info.driver, info.length, info.active), ("raw", 8192, true));
    });
}

#[test]
fn a_file_that_is_deleted_is_there_while_it_is_open() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [7; 512]).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let raw = Raw::over(&file).open(bql, "raw").expect("opened");
        let device = File::new("/dev/null").protocol(Protocol::HostDevice);
        let device = device.open(bql, "device").expect("opened");
        let delete = async |request: Request<'_>| request.delete_file().await;
        // Which of its files an image can do without, it does not say.
        for node in [&raw, &device] {
            let refused = ask(bql, node, delete);
            assert!(matches!(refused, Err(IoError::NotSupported)));
        }
        assert!(path.exists());
        ask(bql, &file, delete).expect("deleted");
        assert!(!path.exists());
        let disk = backend(bql, &raw, READ_WRITE).expect("nobody objects");
        assert_eq!(read(bql, &disk, 0, 512).expect("it is open"), [7; 512]);
        let name = path.display();
        let words = format!("{name} is not a regular file: No such file or directory");
        let refused = ask(bql, &file, delete).expect_err("gone");
        assert_eq!((refused.errno(), refused.to_string()), (2, words));
        // What is there by now is not what was opened, but has its name.
        fs::create_dir(&path).expect("made");
        let words = format!("{name} is not a regular file: No such file or directory");
        let refused = ask(bql, &file, delete).expect_err("a directory");
        assert_eq!(refused.to_string(), words);
    });
}

#[test]
fn commands_are_for_devices() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [0; 512]).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let device = File::new("/dev/null").protocol(Protocol::HostDevice);
        let device = device.open(bql, "device").expect("opened");
        let raw = Raw::over(&device).open(bql, "raw").expect("opened");
        let window = Raw::over(&file).size(Some(512)).open(bql, "window");
        let window = window.expect("opened");
        let inquiry = async |request: Request<'_>| {
            let command = ScsiCommand {
                command: vec![0x12, 0, 0, 0, 96, 0],
                transfer: ScsiTransfer::FromDevice(96),
                timeout: Duration::from_secs(1),
            };
            request.scsi(command).await
        };
        for node in [&file, &window] {
            let refused = ask(bql, node, inquiry);
            assert!(matches!(refused, Err(IoError::NotSupported)));
        }
        // It reaches the kernel, which says that this is none.
        for node in [&device, &raw] {
            let refused = ask(bql, node, inquiry).expect_err("no such device");
            assert_eq!(refused.to_string(), "Inappropriate ioctl for device");
        }
    });
}

#[test]
fn a_raw_image_takes_whole_sectors() {
    in_layer(|bql, _| {
        let null = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        let raw = Raw::over(&null).open(bql, "raw").expect("opened");
        let measured = |length, input| {
            let measured = raw.view(bql).measure(bql, length, input);
            measured.expect("measured").required
        };
        assert_eq!(measured(1, None), 512);
        assert_eq!(measured(1, Some(null.view(bql))), 1 << 20);
        let refused = null.view(bql).measure(bql, 1, None).expect_err("no image");
        assert_eq!(
            refused.to_string(),
            "Block driver 'null-co' does not support size measurement"
        );
    });
}

#[test]
fn what_another_process_has_changed_is_seen_after_an_activation() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [1; 512]).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let raw = Raw::over(&file)
            .size(None)
            .open(bql, "raw")
            .expect("opened");
        // With a name it is a guest's, which may be told to rest.
        let disk = Backend::new(bql, "disk", READ_WRITE, Perm::CONSISTENT_READ).expect("new");
        disk.insert(bql, &raw).expect("inserted");
        raw.inactivate(bql).expect("nobody minds");
        // The other process opens the file in earnest: no locks are left.
        let other = File::new(&path).open(bql, "other").expect("opened");
        let writer = backend(bql, &other, READ_WRITE | Perm::RESIZE).expect("no locks");
        other
            .drain(bql)
            .io(async |request| {
                request
                    .truncate(1024, true, block_io::Preallocation::Off)
                    .await
            })
            .expect("the other one may");
        drop((writer, other));
        bql.run_for(Duration::from_millis(1));
        raw.activate(bql).expect("nobody minds");
        assert_eq!(raw.length(bql), 1024);
        let end = read(bql, &disk, 1023, 1).expect("read");
        assert_eq!(end, [0]);
    });
}

/// As `file` is on a generic SCSI device, of which there may be none here.
struct Generic;

impl DriverIo for Generic {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(4096))
    }
}

impl BlockDriver for Generic {
    fn format_name(&self) -> &'static str {
        "generic"
    }

    fn is_scsi_generic(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        Some(true)
    }
}

#[test]
fn a_device_that_takes_commands_only_is_known_through_raw_and_has_no_window() {
    in_layer(|bql, directory| {
        let device = NodeBuilder::new("sg").open(bql, Arc::new(Generic));
        let device = device.expect("opened");
        let raw = Raw::over(&device).open(bql, "raw").expect("opened");
        let filter = CopyOnRead::over(&raw).open(bql, "filter").expect("opened");
        for node in [&device, &raw, &filter] {
            let view = node.view(bql);
            assert!(NodeView::is_scsi_generic(view, bql), "{node:?}");
        }
        let reader = backend(bql, &filter, Perm::CONSISTENT_READ).expect("nobody objects");
        assert!(reader.is_scsi_generic(bql));
        let windows = [
            Raw::over(&device).offset(512),
            Raw::over(&device).size(Some(512)),
        ];
        for window in windows {
            let refused = window.open(bql, "window").expect_err("it has no bytes");
            let said = "Cannot use offset/size with SCSI generic devices";
            assert_eq!(refused.to_string(), said);
            assert_eq!(refused.errno(), 22);
        }
        let too_far = Raw::over(&device).offset(8192).open(bql, "window");
        let said = too_far.expect_err("beyond the end").to_string();
        assert!(said.starts_with("Offset (8192)"), "{said}");

        let path = directory.path().join("image");
        File::create(&path, 4096).expect("created");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let image = Raw::over(&file).open(bql, "image").expect("opened");
        assert!(!image.view(bql).is_scsi_generic(bql));
        let empty = Backend::new(bql, "", Perm::empty(), Perm::all()).expect("a backend");
        assert!(!empty.is_scsi_generic(bql));
    });
}

/// Stores bytes in blocks of 512, and ends anywhere.
struct Blocks(AtomicU64);

impl DriverIo for Blocks {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        into.fill(0);
        IoFuture::done()
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.0.load(Ordering::Relaxed)))
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        self.0.store(to.length, Ordering::Relaxed);
        IoFuture::done()
    }

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        _bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let rest = self.0.load(Ordering::Relaxed) - offset;
        let status = BlockStatus::data(rest).stored_at(request.node(), offset);
        IoFuture::ready(Ok(status))
    }
}

impl BlockDriver for Blocks {
    fn format_name(&self) -> &'static str {
        "blocks"
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.request_alignment = 512;
        Ok(())
    }
}

/// The data that was found first ends within the block that is asked for next.
#[test]
fn data_that_comes_after_what_was_the_end_is_found() {
    in_layer(|bql, _| {
        let blocks = NodeBuilder::new("blocks").open(bql, Arc::new(Blocks(AtomicU64::new(700))));
        let node = blocks.expect("opened");
        let perm = READ_WRITE | Perm::RESIZE;
        let device = backend(bql, &node, perm).expect("nobody objects");
        let data = |bql: &mut BqlGuard, offset, bytes| {
            let asked = async |request: Request<'_>| {
                let status = request.block_status(offset, bytes, true).await?;
                let at = status.at.map(|(_, start)| start);
                Ok::<_, IoError>((status.bytes, at))
            };
            ask(bql, &node, asked).expect("known")
        };
        assert_eq!(data(bql, 0, 700), (700, Some(0)));
        let grown = device.root().truncate(2048, false, Preallocation::Off);
        bql.block_on(grown).expect("longer");
        assert_eq!(data(bql, 600, 50), (50, Some(600)), "as it was");
        assert_eq!(data(bql, 800, 100), (100, Some(800)));
        assert_eq!(data(bql, 0, 2048), (2048, Some(0)));
    });
}
