//! Each request that a device has, awaited by itself, by the main loop, or
//! later; and what a device can be told about its disk.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_common::error::errno;
use block_gs::{
    Backend, BlockDriver, BqlGuard, GraphError, IoThread, NodeBuilder, NodeOptions, Perm,
};
use block_io::aio::{Wait, run_blocking};
use block_io::{
    BlockLimits, Buffer, Capabilities, Destination, DriverIo, IoError, IoFuture, IoStatus, OnError,
    Operation, Preallocation, Request, ScsiCommand, ScsiReply, ScsiTransfer, Source, Truncation,
    WriteFlags, Zone, ZoneKind, ZoneOperation, ZoneState,
};
use common::{Mem, backend, in_layer, node};

const SIZE: u64 = 1 << 20;
const ZONE: u64 = 64 << 10;

/// A disk of the host with zones and a tray, that takes commands. It keeps
/// nothing, and notes what it is asked.
#[derive(Default)]
struct Host(Mutex<Vec<String>>);

impl Host {
    fn note(&self, words: String) -> IoFuture<'_> {
        self.0.lock().expect("no panic").push(words);
        IoFuture::done()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl DriverIo for Host {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            write_flags: WriteFlags::COMPRESSED | WriteFlags::FUA,
            zero_flags: Some(WriteFlags::empty()),
            discards: true,
            ..Capabilities::default()
        }
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE))
    }

    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        into.fill(0x5a);
        self.note(format!("read {offset}+{}", into.len()))
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.note(format!("write {offset}+{} {flags:?}", from.len()))
    }

    fn write_zeroes<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.note(format!("zero {offset}+{bytes}"))
    }

    fn discard<'r>(&'r self, _request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        self.note(format!("discard {offset}+{bytes}"))
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.note("flush".to_owned())
    }

    fn truncate<'r>(&'r self, _request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        self.note(format!("truncate {}", to.length))
    }

    fn save_vmstate<'r>(
        &'r self,
        _request: Request<'r>,
        position: u64,
        from: Source<'r>,
    ) -> IoFuture<'r> {
        self.note(format!("save {position}+{}", from.len()))
    }

    fn load_vmstate<'r>(
        &'r self,
        _request: Request<'r>,
        position: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        into.fill(1);
        self.note(format!("load {position}+{}", into.len()))
    }

    fn zones<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        most: usize,
    ) -> IoFuture<'r, Vec<Zone>> {
        let starts = (offset..SIZE).step_by(ZONE as usize).take(most);
        let zones = starts.map(|start| Zone {
            start,
            length: ZONE,
            capacity: ZONE,
            write_pointer: start,
            kind: ZoneKind::SequentialRequired,
            state: ZoneState::Empty,
        });
        IoFuture::ready(Ok(zones.collect()))
    }

    fn manage_zones<'r>(
        &'r self,
        _request: Request<'r>,
        operation: ZoneOperation,
        offset: u64,
        bytes: u64,
    ) -> IoFuture<'r> {
        self.note(format!("{operation:?} {offset}+{bytes}"))
    }

    fn append_to_zone<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r, u64> {
        // Something is there already.
        drop(self.note(format!("append {offset}+{}", from.len())));
        IoFuture::ready(Ok(offset + 512))
    }

    fn scsi<'r>(&'r self, _request: Request<'r>, command: ScsiCommand) -> IoFuture<'r, ScsiReply> {
        IoFuture::ready(Ok(ScsiReply {
            data: command.command,
            ..ScsiReply::default()
        }))
    }

    fn eject<'r>(&'r self, _request: Request<'r>, open: bool) -> IoFuture<'r> {
        self.note(format!("eject {open}"))
    }

    fn lock_medium<'r>(&'r self, _request: Request<'r>, locked: bool) -> IoFuture<'r> {
        self.note(format!("lock {locked}"))
    }
}

impl BlockDriver for Host {
    fn format_name(&self) -> &'static str {
        "host"
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.request_alignment = 512;
        limits.max_transfer = 128 << 10;
        limits.max_segments = 64;
        limits.max_hw_transfer = 32 << 10;
        limits.max_hw_segments = 16;
        Ok(())
    }
}

fn host(bql: &mut BqlGuard) -> (Backend, Arc<Host>) {
    let driver = Arc::new(Host::default());
    let options = NodeOptions {
        unmap: true,
        ..NodeOptions::default()
    };
    let builder = NodeBuilder::new("host").options(options);
    let node = builder.open(bql, driver.clone());
    let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
    let disk = Backend::over(bql, "disk", &node.expect("opened"), perm, Perm::all());
    (disk.expect("a backend"), driver)
}

fn inquiry() -> ScsiCommand {
    ScsiCommand {
        command: vec![0x12, 0, 0, 0, 36, 0],
        transfer: ScsiTransfer::FromDevice(36),
        timeout: Duration::from_secs(1),
    }
}

#[test]
fn what_only_a_disk_of_the_host_knows_is_asked_of_it() {
    in_layer(|bql| {
        let (disk, driver) = host(bql);
        let root = disk.root().clone();
        let data = Buffer::zeroed(512);
        bql.block_on(async {
            let reply = root.scsi(inquiry()).await?;
            assert_eq!(reply.data, inquiry().command);
            let zones = root.zones(ZONE, 2).await?;
            let starts = zones.iter().map(|zone| zone.start);
            assert_eq!(Vec::from_iter(starts), [ZONE, 2 * ZONE]);
            root.manage_zones(ZoneOperation::Open, ZONE, ZONE).await?;
            let beyond = root.manage_zones(ZoneOperation::Reset, SIZE, ZONE).await;
            assert!(matches!(beyond, Err(IoError::BeyondEnd { .. })));
            let at = root.append_to_zone(ZONE, data.source()).await?;
            assert_eq!(at, ZONE + 512);
            root.write_compressed(0, data.source()).await
        })
        .expect("no error");
        let asked = [
            "Open 65536+65536".to_owned(),
            "append 65536+512".to_owned(),
            format!("write 0+512 {:?}", WriteFlags::COMPRESSED),
        ];
        assert_eq!(driver.take(), asked);
        let node = disk.node(bql).expect("inserted");
        assert!(node.view(bql).supports_compressed_writes());
        disk.remove(bql);
        let gone = bql.block_on(root.scsi(inquiry()));
        assert!(matches!(gone, Err(IoError::NoMedium)));
        let gone = bql.block_on(root.manage_zones(ZoneOperation::Close, 0, ZONE));
        assert!(matches!(gone, Err(IoError::NoMedium)));
    });
}

#[test]
fn the_main_loop_waits_for_every_request_that_a_device_has() {
    in_layer(|bql| {
        let (disk, driver) = host(bql);
        let data = Buffer::zeroed(512);
        let none = WriteFlags::empty();
        disk.wait(bql, async |root| root.write_zeroes(0, 1024, none).await)
            .expect("zeroed");
        disk.wait(bql, async |root| root.discard(512, 1024).await)
            .expect("discarded");
        disk.wait(bql, async |root| {
            root.write_compressed(512, data.source()).await
        })
        .expect("written");
        let off = Preallocation::Off;
        disk.wait(bql, async |root| root.truncate(SIZE, true, off).await)
            .expect("it has that length");
        disk.wait(bql, async |root| root.save_vmstate(7, data.source()).await)
            .expect("saved");
        let mut loaded = Buffer::zeroed(4);
        disk.wait(bql, async |root| {
            root.load_vmstate(8, loaded.destination()).await
        })
        .expect("loaded");
        assert_eq!(loaded.as_slice(), [1; 4]);
        disk.wait(bql, async |root| {
            root.manage_zones(ZoneOperation::Finish, 0, ZONE).await
        })
        .expect("finished");
        disk.wait(bql, async |root| root.eject(true).await)
            .expect("ejected");
        disk.wait(bql, async |root| root.lock_medium(true).await)
            .expect("locked");
        assert_eq!(
            driver.take(),
            [
                "zero 0+1024".to_owned(),
                "discard 512+1024".to_owned(),
                format!("write 512+512 {:?}", WriteFlags::COMPRESSED),
                format!("truncate {SIZE}"),
                "save 7+512".to_owned(),
                "load 8+4".to_owned(),
                "Finish 0+65536".to_owned(),
                "eject true".to_owned(),
                "lock true".to_owned(),
            ]
        );
        let mut told = Vec::new();
        disk.wait(bql, async |root| {
            root.make_zero(none, |done, of| told.push((done, of))).await
        })
        .expect("erased");
        assert_eq!(told.last(), Some(&(SIZE, SIZE)));

        let at = disk.wait(bql, async |root| {
            root.append_to_zone(0, data.source()).await
        });
        assert_eq!(at.expect("appended"), 512);
        let zones = disk.wait(bql, async |root| root.zones(0, 100).await);
        assert_eq!(zones.expect("reported").len() as u64, SIZE / ZONE);
        let reply = disk.wait(bql, async |root| root.scsi(inquiry()).await);
        assert_eq!(reply.expect("answered").data.len(), 6);
        let sectors = disk.wait(bql, async |root| root.sectors().await);
        assert_eq!(sectors.expect("known"), SIZE / 512);
        let here = disk.wait(bql, async |root| {
            let is_there = root.is_inserted().await && root.is_available().await;
            Ok((is_there, root.geometry().await))
        });
        assert_eq!(here.expect("known"), (true, SIZE / 512));
    });
}

#[test]
fn every_request_is_started_now_and_heard_of_later() {
    in_layer(|bql| {
        let (disk, driver) = host(bql);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        disk.set_allow_context_change(bql, true);
        disk.set_iothread(bql, Some(&thread)).expect("moved");
        let root = || disk.root().clone();
        let none = WriteFlags::empty();

        let (of, mut into) = (root(), Buffer::zeroed(512));
        let read = disk.root().spawn(async move {
            of.read(0, into.destination()).await?;
            Ok::<_, IoError>(into.as_slice()[511])
        });
        assert_eq!(bql.block_on(read).expect("read"), 0x5a);
        let (of, from) = (root(), Buffer::zeroed(512));
        let written = disk
            .root()
            .spawn(async move { of.write_with(512, from.source(), none).await });
        bql.block_on(written).expect("written");
        let of = root();
        let zeroed = disk
            .root()
            .spawn(async move { of.write_zeroes(0, 4096, none).await });
        bql.block_on(zeroed).expect("zeroed");
        let of = root();
        let discarded = disk.root().spawn(async move { of.discard(0, 4096).await });
        bql.block_on(discarded).expect("discarded");
        let of = root();
        let flushed = disk.root().spawn(async move { of.flush().await });
        bql.block_on(flushed).expect("flushed");
        let of = root();
        let managed = disk
            .root()
            .spawn(async move { of.manage_zones(ZoneOperation::Reset, 0, ZONE).await });
        bql.block_on(managed).expect("reset");
        assert_eq!(
            driver.take(),
            [
                "read 0+512".to_owned(),
                format!("write 512+512 {none:?}"),
                "zero 0+4096".to_owned(),
                "discard 0+4096".to_owned(),
                "flush".to_owned(),
                "Reset 0+65536".to_owned(),
            ]
        );

        let (of, from) = (root(), Buffer::zeroed(512));
        let appended = disk
            .root()
            .spawn(async move { of.append_to_zone(ZONE, from.source()).await });
        assert_eq!(bql.block_on(appended).expect("appended"), ZONE + 512);
        let of = root();
        let zones = disk.root().spawn(async move { of.zones(0, 3).await });
        assert_eq!(bql.block_on(zones).expect("reported").len(), 3);
        let of = root();
        let reply = disk.root().spawn(async move { of.scsi(inquiry()).await });
        assert_eq!(bql.block_on(reply).expect("answered").status, 0);
    });
}

#[test]
fn a_guest_is_shown_what_its_disk_can_take() {
    in_layer(|bql| {
        let (disk, _) = host(bql);
        let limits = bql.block_on(disk.root().limits());
        assert_eq!(limits.requests.request_alignment, 512);
        assert_eq!(limits.requests.max_transfer, 128 << 10);
        assert_eq!(limits.requests.max_segments, 64);
        assert_eq!(limits.guest_max_transfer, 32 << 10, "that of the hardware");
        assert_eq!(limits.guest_max_segments, 16);
    });
}

#[test]
fn errors_are_treated_as_was_said_and_the_first_one_stays() {
    in_layer(|bql| {
        let (disk, _) = host(bql);
        let root = disk.root();
        assert_eq!(root.on_error(Operation::Read), OnError::Report);
        assert_eq!(root.on_error(Operation::Write), OnError::Enospc);
        root.set_on_error(OnError::Stop, OnError::Ignore);
        assert_eq!(root.on_error(Operation::Read), OnError::Stop);
        assert_eq!(root.on_error(Operation::Write), OnError::Ignore);

        root.note_failure(errno::EIO);
        assert_eq!(root.io_status(), IoStatus::Ok, "nobody keeps it");
        root.enable_io_status();
        root.note_failure(errno::ENOSPC);
        root.note_failure(errno::EIO);
        assert_eq!(root.io_status(), IoStatus::NoSpace);
        root.reset_io_status();
        root.note_failure(errno::EIO);
        assert_eq!(root.io_status(), IoStatus::Failed);
    });
}

#[test]
fn the_main_loop_turns_the_write_cache_off_and_on() {
    in_layer(|bql| {
        let (disk, driver) = host(bql);
        let data = Buffer::zeroed(512);
        let write = |bql: &mut BqlGuard| {
            let write = disk.root().write(0, data.source());
            bql.block_on(write).expect("written");
            driver.take()
        };
        let without = [format!("write 0+512 {:?}", WriteFlags::FUA)];
        let with = [format!("write 0+512 {:?}", WriteFlags::empty())];
        assert!(disk.root().has_write_cache());
        assert_eq!(write(bql), with);
        disk.set_write_cache(bql, false);
        assert!(!disk.root().has_write_cache());
        assert_eq!(write(bql), without);
        disk.set_write_cache(bql, true);
        assert_eq!(write(bql), with);
    });
}

#[test]
fn a_backend_is_there_as_long_as_somebody_has_a_handle() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(512));
        let backend = backend(bql, "disk", &node);
        let other = backend.clone();
        assert_eq!(backend.references(), 2);
        drop(backend);
        while bql.poll(Wait::No) {}
        assert_eq!(other.references(), 1);
        assert!(Backend::find(bql, "disk").is_some());
        drop(other);
        while bql.poll(Wait::No) {}
        assert!(Backend::find(bql, "disk").is_none());
        assert_eq!(node.view(bql).parents().count(), 0);
    });
}

#[test]
fn whoever_waits_runs_the_main_loop_until_somebody_is_done_or_time_is_up() {
    in_layer(|bql| {
        let main = bql.main_loop();
        // Another thread needs the main loop before it can answer.
        let asked = run_blocking(move || {
            let (answer, question) = std::sync::mpsc::channel();
            main.schedule(move |bql| {
                // Nobody hears it if the thread is gone.
                let _ = answer.send(bql.context().is_main());
            });
            question.recv()
        });
        assert_eq!(bql.block_on(asked), Ok(true));

        let turns = Arc::new(Mutex::new(0));
        let count = Arc::clone(&turns);
        bql.main_loop()
            .schedule(move |_| *count.lock().expect("no panic") += 1);
        let begun = std::time::Instant::now();
        bql.run_for(Duration::from_millis(2));
        assert!(
            begun.elapsed() >= Duration::from_millis(2),
            "nobody is done"
        );
        assert_eq!(*turns.lock().expect("no panic"), 1);
    });
}
