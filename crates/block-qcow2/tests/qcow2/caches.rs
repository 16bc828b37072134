//! Caches of other sizes, and memory of theirs that goes back.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_drivers::File;
use block_gs::{
    BlockDriver, BqlGuard, Drained, GraphError, IoError, IoThread, Node, NodeBuilder, NodeOptions,
    Perm, PreparedReopen, ReopenOptions, ReopenTo, Role, SnapshotInfo,
};
use block_io::aio::{ContextThread, Wait, sleep};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request, Source, Truncation, WriteFlags};
use block_qcow2::{Cached, CreateOptions, Qcow2, Qcow2Image, Qcow2Options};

use crate::support::{
    READ_WRITE, Tool, backend, create, disk, flush, in_layer, open, open_with, pattern, qemu_reads,
    read, write,
};
use crate::writing::Random;

/// What is in memory.
fn cached(bql: &mut BqlGuard, node: &Node) -> Cached {
    let driver = node.driver::<Qcow2>().expect("an image");
    node.drain(bql)
        .io(async |request: Request<'_>| driver.cached(request))
}

fn sizes(l2: u64, entry: Option<u64>, counts: u64) -> Qcow2Options {
    Qcow2Options {
        l2_cache_size: Some(l2),
        l2_cache_entry_size: entry,
        refcount_cache_size: Some(counts),
        cache_clean_interval: Some(0),
        ..Default::default()
    }
}

fn writable(settings: &Qcow2Options) -> ReopenOptions {
    ReopenOptions::new(NodeOptions {
        unmap: true,
        ..NodeOptions::default()
    })
    .settings(settings.clone())
}

fn reopen(bql: &mut BqlGuard, node: &Node, settings: &Qcow2Options) -> Result<(), GraphError> {
    node.drain(bql).reopen(writable(settings))
}

fn clean(qemu_img: &Tool, path: &Path) {
    let check = qemu_img.run(["check", path.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success(), "{said}");
}

#[test]
fn a_reopen_makes_caches_of_other_sizes() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(4 << 30));
        let node = open_with(bql, &path, false, sizes(1 << 20, None, 1 << 20)).expect("opened");
        let found = cached(bql, &node);
        assert_eq!((found.slice_bytes, found.most_blocks), (65536, 16));
        assert!(found.places >= 8, "{found:?}");
        let disk = disk(bql, &node);
        let data = pattern(300_000, 1);
        write(bql, &disk, 1 << 30, &data).expect("written");
        write(bql, &disk, 3 << 30, &data).expect("written");
        assert_eq!(cached(bql, &node).slices, 2);

        reopen(bql, &node, &sizes(0, Some(512), 0)).expect("fewer");
        let found = cached(bql, &node);
        assert_eq!((found.slice_bytes, found.places), (512, 2));
        assert_eq!((found.slices, found.most_blocks), (0, 4));
        assert!(read(bql, &disk, 1 << 30, 300_000).expect("read") == data);
        assert!(read(bql, &disk, 3 << 30, 300_000).expect("read") == data);
        write(bql, &disk, 2 << 30, &data).expect("written");

        for wrong in [
            sizes(0, Some(1000), 0),
            sizes(1 << 20, None, 1 << 60),
            Qcow2Options {
                cache_size: Some(1),
                ..sizes(0, None, 2)
            },
        ] {
            reopen(bql, &node, &wrong).expect_err("cannot be").errno();
            let found = cached(bql, &node);
            assert_eq!((found.slice_bytes, found.places), (512, 2));
            assert_eq!(found.most_blocks, 4);
        }

        reopen(bql, &node, &sizes(1 << 20, Some(4096), 1 << 20)).expect("more");
        let found = cached(bql, &node);
        assert_eq!((found.slice_bytes, found.most_blocks), (4096, 16));
        assert!(found.places >= 128, "{found:?}");
        for offset in [1, 2, 3] {
            assert!(read(bql, &disk, offset << 30, 300_000).expect("read") == data);
        }
    });
}

/// A filter whose reopen is refused after another node's was got ready, or
/// which writes meanwhile.
struct Meddler {
    refuses: bool,
}

impl Meddler {
    fn over(bql: &mut BqlGuard, node: &Node, refuses: bool) -> Node {
        let role = Role::FILTERED | Role::PRIMARY;
        let builder = NodeBuilder::new("").child("file", node, role);
        let driver = Arc::new(Meddler { refuses });
        builder.open(bql, driver).expect("opened")
    }
}

impl DriverIo for Meddler {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        request.file().expect("a child").read(offset, into)
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let file = request.file().expect("a child");
        file.write_with(offset, from, flags)
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Meddler {
    fn format_name(&self) -> &'static str {
        "meddler"
    }

    fn is_filter(&self) -> bool {
        true
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        _to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        if self.refuses {
            return Err(GraphError::NoMedium("meddler".into()));
        }
        let buffer = Buffer::from(&[7; 65536][..]);
        section.io(async |request: Request<'_>| {
            request.file()?.write(1 << 20, buffer.source()).await
        })?;
        Ok(Box::new(()))
    }
}

#[test]
fn caches_stay_when_another_node_is_refused() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(4 << 20));
        let node = open_with(bql, &path, false, sizes(0, Some(512), 0)).expect("opened");
        let filter = Meddler::over(bql, &node, true);
        let disk = disk(bql, &node);
        write(bql, &disk, 0, &[1; 4096]).expect("written");
        let before = cached(bql, &node);
        let mut section = node.drain(bql);
        let mut both = section.transaction();
        both.reopen(writable(&sizes(1 << 20, Some(4096), 1 << 20)));
        both.at(&filter);
        both.reopen(ReopenOptions::new(NodeOptions::default()));
        both.commit().expect_err("the filter refuses").errno();
        drop(section);
        assert_eq!(cached(bql, &node), before);
        reopen(bql, &node, &sizes(1 << 20, Some(4096), 1 << 20)).expect("alone");
        assert_eq!(cached(bql, &node).slice_bytes, 4096);
    });
}

#[test]
fn what_changes_while_a_reopen_is_got_ready_is_not_lost() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(4 << 20));
        let node = open_with(bql, &path, false, sizes(0, Some(512), 0)).expect("opened");
        let filter = Meddler::over(bql, &node, false);
        let disk = disk(bql, &filter);
        write(bql, &disk, 0, &[1; 4096]).expect("written");
        let mut section = node.drain(bql);
        let mut both = section.transaction();
        both.reopen(writable(&sizes(1 << 20, Some(4096), 1 << 20)));
        both.at(&filter);
        both.reopen(ReopenOptions::new(NodeOptions::default()));
        both.commit().expect("reopened");
        drop(section);
        assert_eq!(cached(bql, &node).slice_bytes, 4096);
        assert!(read(bql, &disk, 1 << 20, 65536).expect("read") == [7; 65536]);
        drop((disk, filter, node));
        bql.poll(Wait::No);
        clean(&qemu_img, &path);
        let mut model = vec![0; 4 << 20];
        model[..4096].fill(1);
        model[1 << 20..][..65536].fill(7);
        assert!(qemu_reads(&qemu_img, &path) == model);
    });
}

#[test]
fn a_longer_image_gets_larger_caches() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(1 << 20)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        assert_eq!(cached(bql, &node).places, 2);
        let perm = READ_WRITE | Perm::RESIZE;
        let disk = backend(bql, &node, perm).expect("nobody objects");
        write(bql, &disk, 0, &[3; 4096]).expect("written");
        let none = block_io::Preallocation::Off;
        let longer = disk.root().truncate(64 << 20, true, none);
        bql.block_on(longer).expect("longer");
        let wanted = 32;
        for _ in 0..100 {
            bql.poll(Wait::No);
        }
        assert_eq!(cached(bql, &node).places, wanted);
        assert!(read(bql, &disk, 0, 4096).expect("read") == [3; 4096]);
        write(bql, &disk, 60 << 20, &[4; 4096]).expect("written");
        assert!(read(bql, &disk, 60 << 20, 4096).expect("read") == [4; 4096]);
    });
}

/// Runs the main loop until the caches are as they are wanted.
fn until(bql: &mut BqlGuard, node: &Node, wanted: impl Fn(&Cached) -> bool) -> Cached {
    loop {
        let found = cached(bql, node);
        if wanted(&found) {
            return found;
        }
        bql.run_for(Duration::from_millis(20));
    }
}

#[test]
fn what_nobody_uses_gives_its_memory_back() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(8 << 30));
        let never = sizes(1 << 20, Some(65536), 1 << 20);
        let often = Qcow2Options {
            cache_clean_interval: Some(1),
            ..never.clone()
        };
        let node = open_with(bql, &path, false, never.clone()).expect("opened");
        let disk = disk(bql, &node);
        for gigabyte in 0..8 {
            write(bql, &disk, gigabyte << 30, &[gigabyte as u8; 4096]).expect("written");
        }
        flush(bql, &disk).expect("flushed");
        let before = cached(bql, &node);
        assert_eq!((before.slices, before.cleanings), (8, 0));
        assert!(before.blocks > 0);

        reopen(bql, &node, &often).expect("reopened");
        assert_eq!(cached(bql, &node).slices, 8, "it has the same caches");
        until(bql, &node, |now| now.slices == 0 && now.blocks == 0);
        for gigabyte in 0..8 {
            let found = read(bql, &disk, gigabyte << 30, 4096).expect("read");
            assert!(found == [gigabyte as u8; 4096]);
        }
        assert_eq!(cached(bql, &node).slices, 8);
        // What is not stored stays.
        write(bql, &disk, 1 << 20, &[9; 4096]).expect("written");
        until(bql, &node, |now| now.slices == 1);
        assert!(read(bql, &disk, 1 << 20, 4096).expect("read") == [9; 4096]);
        flush(bql, &disk).expect("flushed");
        until(bql, &node, |now| now.slices == 0 && now.blocks == 0);

        reopen(bql, &node, &never).expect("reopened");
        read(bql, &disk, 0, 4096).expect("read");
        let stopped = cached(bql, &node);
        bql.run_for(Duration::from_millis(2500));
        assert_eq!(cached(bql, &node), stopped, "nobody looks any more");
    });
}

#[test]
fn memory_goes_back_wherever_the_node_is_at_home() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(8 << 30));
        let often = Qcow2Options {
            cache_clean_interval: Some(1),
            ..sizes(1 << 20, Some(65536), 1 << 20)
        };
        let node = open_with(bql, &path, false, often).expect("opened");
        let disk = disk(bql, &node);
        let thread = IoThread::create(bql, "elsewhere").expect("a thread");
        for gigabyte in 0..8 {
            write(bql, &disk, gigabyte << 30, &[1; 4096]).expect("written");
        }
        flush(bql, &disk).expect("flushed");
        disk.set_iothread(bql, Some(&thread)).expect("moved");
        until(bql, &node, |now| now.slices == 0 && now.blocks == 0);
        // In a drained section nobody looks.
        read(bql, &disk, 0, 4096).expect("read");
        let driver = node.driver::<Qcow2>().expect("an image");
        let mut section = node.drain(bql);
        let before = section.io(async |request: Request<'_>| driver.cached(request));
        let pause = async || sleep(Duration::from_millis(2500)).await;
        section.block_on(pause());
        let after = section.io(async |request: Request<'_>| driver.cached(request));
        assert_eq!(after, before);
        drop(section);
        until(bql, &node, |now| now.slices == 0);
        disk.set_iothread(bql, None).expect("moved");
        read(bql, &disk, 0, 4096).expect("read");
        until(bql, &node, |now| now.slices == 0);
        drop((disk, node));
        bql.poll(Wait::No);
        thread.remove(bql).expect("nobody is there");
    });
}

#[test]
fn a_snapshot_of_what_is_not_counted_is_refused() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(4 << 20));
        let node = open(bql, &path, false).expect("opened");
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &[1; 4096]).expect("written");
        }
        drop(node);
        bql.poll(Wait::No);
        let mut image = fs::read(&path).expect("read");
        let at = |image: &[u8], offset: usize| {
            let bytes = image[offset..offset + 8].try_into().expect("eight");
            (u64::from_be_bytes(bytes) & 0x00ff_ffff_ffff_fe00) as usize
        };
        let l2 = at(&image, at(&image, 40));
        // Somewhere the table of counts has nothing for.
        let entry: u64 = 8 << 30 | 1 << 63;
        image[l2 + 8..l2 + 16].copy_from_slice(&entry.to_be_bytes());
        fs::write(&path, &image).expect("written");
        let node = open(bql, &path, false).expect("opened");
        let mut info = SnapshotInfo {
            name: "s".into(),
            ..Default::default()
        };
        let refused = node.drain(bql).create_snapshot(&mut info);
        let text = refused.expect_err("it would count nothing").to_string();
        assert!(text.contains("nothing counts"), "{text}");
        drop(node);
        bql.poll(Wait::No);
        let after = fs::read(&path).expect("read");
        assert!(after[..112] == image[..112], "the header is as it was");
    });
}

/// Passes everything on, and keeps some requests waiting.
#[derive(Default)]
struct Held {
    /// Writes there wait, and fail when they are let go.
    places: Mutex<Vec<u64>>,
    /// The next read there waits, and is done when it is let go.
    read: Mutex<Option<u64>>,
    /// It waits.
    reads: AtomicBool,
    waiting: AtomicU64,
}

impl Held {
    fn over(bql: &mut BqlGuard, file: &Node) -> Node {
        let role = Role::FILTERED | Role::PRIMARY;
        let held = NodeBuilder::new("").child("file", file, role);
        held.open(bql, Arc::new(Held::default())).expect("opened")
    }

    /// Runs the main loop until a request waits.
    fn until_waiting(&self, bql: &mut BqlGuard) {
        while self.waiting.load(Ordering::Relaxed) == 0 {
            bql.run_for(Duration::from_millis(1));
        }
    }
}

impl DriverIo for Held {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        let file = request.file().expect("a child");
        let is_held = |place: &mut u64| offset == *place;
        let mut read = self.read.lock().expect("nobody panics");
        if read.take_if(is_held).is_none() {
            return file.read(offset, into);
        }
        self.reads.store(true, Ordering::Relaxed);
        IoFuture::new(async move {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            while self.reads.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
            file.read(offset, into).await
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let is_held = move || {
            let places = self.places.lock().expect("nobody panics");
            places.iter().any(|place| offset / 4096 == place / 4096)
        };
        if !is_held() {
            let file = request.file().expect("a child");
            return file.write_with(offset, from, flags);
        }
        IoFuture::new(async move {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            while is_held() {
                sleep(Duration::from_millis(1)).await;
            }
            Err(IoError::from_errno(5))
        })
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let file = request.file().expect("a child");
        IoFuture::new(async move { file.truncate(to.length, to.exact, to.preallocation).await })
    }

    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        request.file().expect("a child").flush()
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Held {
    fn format_name(&self) -> &'static str {
        "held"
    }

    fn is_filter(&self) -> bool {
        true
    }
}

/// Where the second-level tables of an image are.
fn tables(path: &Path) -> Vec<u64> {
    let image = fs::read(path).expect("read");
    let word = |at: usize| u64::from_be_bytes(image[at..at + 8].try_into().expect("eight"));
    let entries = u32::from_be_bytes(image[36..40].try_into().expect("four")) as usize;
    let first = word(40) as usize;
    let table = (0..entries).map(|index| word(first + index * 8) & 0x00ff_ffff_ffff_fe00);
    table.collect()
}

#[test]
fn places_are_free_again_when_their_tables_went_while_they_were_stored() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(8 << 20)
        };
        create(bql, &path, &options);
        let file = File::new(&path).open(bql, "").expect("opened");
        let held = Held::over(bql, &file);
        let image = Qcow2Image::read(bql, &held).expect("an image");
        let image = image.settings(sizes(0, Some(4096), 0));
        let node = image.open(bql, "").expect("opened");
        assert_eq!(cached(bql, &node).places, 2);
        let perm = READ_WRITE | Perm::RESIZE;
        let disk = backend(bql, &node, perm).expect("nobody objects");
        for offset in [4 << 20, 6 << 20] {
            write(bql, &disk, offset, &[1; 4096]).expect("written");
        }
        flush(bql, &disk).expect("flushed");
        for offset in [4 << 20, 6 << 20] {
            write(bql, &disk, offset + 8192, &[2; 4096]).expect("written");
        }
        let driver = held.driver::<Held>().expect("it is one");
        *driver.places.lock().expect("nobody panics") = tables(&path).split_off(2);
        let root = disk.root();
        let flushed = root.clone();
        let flushed = bql
            .context()
            .spawn(async move { flushed.flush().await.is_err() });
        driver.until_waiting(bql);
        let shorter = root.clone();
        let none = block_io::Preallocation::Off;
        let shorter = bql
            .context()
            .spawn(async move { shorter.truncate(2 << 20, true, none).await });
        // It waits for its turn to store what it has done.
        bql.run_for(Duration::from_millis(200));
        driver.places.lock().expect("nobody panics").clear();
        assert!(bql.block_on(flushed), "it was not stored");
        bql.block_on(shorter).expect("shorter");
        for offset in [0, 1 << 20] {
            write(bql, &disk, offset, &[3; 4096]).expect("written");
            assert!(read(bql, &disk, offset, 4096).expect("read") == [3; 4096]);
        }
        flush(bql, &disk).expect("flushed");
    });
}

#[test]
fn a_table_is_not_used_anew_while_somebody_reads_it() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(2 << 20)
        };
        create(bql, &path, &options);
        let data = pattern(4096, 1);
        let node = open(bql, &path, false).expect("opened");
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &data).expect("written");
        }
        drop(node);
        bql.poll(Wait::No);
        // The table is used once, and nothing says so.
        let table = tables(&path)[0];
        let mut image = fs::read(&path).expect("read");
        let l1 = u64::from_be_bytes(image[40..48].try_into().expect("eight")) as usize;
        image[l1..l1 + 8].copy_from_slice(&table.to_be_bytes());
        fs::write(&path, &image).expect("written");

        let file = File::new(&path).open(bql, "").expect("opened");
        let held = Held::over(bql, &file);
        let image = Qcow2Image::read(bql, &held).expect("an image");
        let image = image.settings(sizes(1 << 20, Some(512), 0));
        let node = image.open(bql, "").expect("opened");
        let disk = disk(bql, &node);
        let driver = held.driver::<Held>().expect("it is one");
        *driver.read.lock().expect("nobody panics") = Some(table);
        let root = disk.root().clone();
        let asked = bql
            .context()
            .spawn(async move { root.is_allocated_above(None, 0, 4096).await.is_ok() });
        driver.until_waiting(bql);
        // Another slice of the table: the table is moved.
        for number in 0..8 {
            write(bql, &disk, (1 << 20) + number * 4096, &[7; 4096]).expect("written");
            flush(bql, &disk).expect("flushed");
            flush(bql, &disk).expect("flushed");
        }
        assert_ne!(tables(&path)[0], table);
        driver.reads.store(false, Ordering::Relaxed);
        assert!(bql.block_on(asked), "there is data");
        assert!(read(bql, &disk, 0, 4096).expect("read") == data);
    });
}

/// How an image is made, and how far apart its clusters are used.
struct Shape {
    options: CreateOptions,
    stride: u64,
}

/// Requests of several threads to clusters of their own, in slices that they
/// share, while the caches change in both directions and give memory back.
fn random_requests(shape: &Shape) {
    const THREADS: u64 = 3;
    const CLUSTERS: u64 = 40;
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    let cluster = shape.options.cluster_size;
    let step = shape.stride * cluster;
    let place = move |thread: u64, number: u64| (number * THREADS + thread) * step;
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &shape.options);
        let turns = [
            (0, Some(512), 0),
            (1 << 20, Some(cluster), 1 << 20),
            (4096, Some(cluster.min(2048)), 4096),
            (32 << 20, None, 0),
            (0, Some(cluster), 1 << 20),
        ];
        let turns = turns.map(|(l2, entry, counts)| Qcow2Options {
            cache_clean_interval: Some(1),
            ..sizes(l2, entry, counts)
        });
        let node = open_with(bql, &path, false, turns[0].clone()).expect("opened");
        let disk = disk(bql, &node);
        let threads: Vec<ContextThread> = (0..THREADS)
            .map(|number| ContextThread::spawn(&format!("t{number}")).expect("a thread"))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let root = disk.root();
        let work = threads.iter().zip(0..).map(|(thread, me)| {
            let (root, stop) = (root.clone(), Arc::clone(&stop));
            thread.context().spawn(async move {
                let mut random = Random(me + 1);
                let mut model = vec![vec![0u8; cluster as usize]; CLUSTERS as usize];
                for step in 0u64.. {
                    if step > 300 && stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let number = random.next(CLUSTERS);
                    let offset = place(me, number);
                    let known = &mut model[number as usize];
                    match random.next(16) {
                        0..8 => {
                            let sectors = cluster / 512;
                            let first = random.next(sectors);
                            let count = 1 + random.next(sectors - first);
                            let range = (first * 512) as usize..((first + count) * 512) as usize;
                            let bytes = pattern(range.len(), step << 8 | me);
                            let buffer = Buffer::from(&*bytes);
                            let written = root.write(offset + first * 512, buffer.source());
                            written.await.expect("written");
                            known[range].copy_from_slice(&bytes);
                        }
                        8..12 => {
                            let mut buffer = Buffer::zeroed(cluster as usize);
                            let read = root.read(offset, buffer.destination());
                            read.await.expect("read");
                            assert!(buffer.as_slice() == known, "{me}: {number} in {step}");
                        }
                        12 => {
                            let flags = WriteFlags::MAY_UNMAP;
                            let zeroed = root.write_zeroes(offset, cluster, flags);
                            zeroed.await.expect("zeroed");
                            known.fill(0);
                        }
                        13 | 14 => {
                            root.discard(offset, cluster).await.expect("given up");
                            known.fill(0);
                        }
                        _ => root.flush().await.expect("flushed"),
                    }
                }
                model
            })
        });
        let work: Vec<_> = work.collect();
        let start = cached(bql, &node).cleanings;
        for turn in 0.. {
            reopen(bql, &node, &turns[turn % turns.len()]).expect("reopened");
            bql.run_for(Duration::from_millis(5));
            if turn > 40 && cached(bql, &node).cleanings >= start + 2 {
                break;
            }
            if work.iter().any(|work| work.is_finished()) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let models: Vec<_> = work.into_iter().map(|work| bql.block_on(work)).collect();
        drop((disk, node));
        bql.poll(Wait::No);
        for thread in threads {
            let _ = thread.stop();
        }
        clean(&qemu_img, &path);
        let found = qemu_reads(&qemu_img, &path);
        let mut model = vec![0; found.len()];
        for (me, clusters) in (0..).zip(models) {
            for (number, known) in (0..).zip(clusters) {
                let at = place(me, number) as usize;
                model[at..at + known.len()].copy_from_slice(&known);
            }
        }
        assert!(found == model);
    });
}

#[test]
fn requests_while_caches_of_tiny_clusters_change() {
    for (bits, stride) in [(16, 5), (64, 30)] {
        random_requests(&Shape {
            options: CreateOptions {
                cluster_size: 512,
                refcount_bits: bits,
                ..CreateOptions::new(4 << 20)
            },
            stride,
        });
    }
}

#[test]
fn requests_while_caches_of_narrow_counts_change() {
    for bits in [1, 2, 4] {
        random_requests(&Shape {
            options: CreateOptions {
                cluster_size: 4096,
                refcount_bits: bits,
                ..CreateOptions::new(16 << 20)
            },
            stride: 20,
        });
    }
}

#[test]
fn requests_while_caches_of_wide_counts_change() {
    for bits in [8, 32] {
        random_requests(&Shape {
            options: CreateOptions {
                cluster_size: 1024,
                refcount_bits: bits,
                ..CreateOptions::new(8 << 20)
            },
            stride: 60,
        });
    }
}

#[test]
fn requests_while_caches_of_subclusters_change() {
    random_requests(&Shape {
        options: CreateOptions {
            cluster_size: 16384,
            extended_l2: true,
            ..CreateOptions::new(128 << 20)
        },
        stride: 60,
    });
}

#[test]
fn requests_while_caches_of_usual_clusters_change() {
    random_requests(&Shape {
        options: CreateOptions::new(256 << 20),
        stride: 30,
    });
}
