//! Overlays that are written into their backing images.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block_common::error::errno;
use block_drivers::{
    Chance, File, FileOptions, Inject, Injector, NullCo, RequestKind, Stats, commit_all,
};
use block_gs::{
    Backend, BlockDriver, BqlGuard, Drained, GraphError, IoThread, Node, NodeBuilder, Operations,
    Perm, Role, nodes,
};
use block_io::{
    BlockStatus, Buffer, Destination, DriverIo, IoError, IoFuture, Request, Source, WriteFlags,
};

use crate::support::{READ_WRITE, backend, disk, in_layer, keep_busy, meanwhile, read, write};

const BLOCK: u64 = 512;

/// An image in memory, which has blocks of its own on top of what is below.
struct Overlay {
    length: u64,
    blocks: Mutex<BTreeMap<u64, Vec<u8>>>,
    empties: bool,
    fails: AtomicBool,
    emptied: AtomicU64,
}

fn overlay(bql: &mut BqlGuard, name: &str, length: u64, backing: &Node) -> (Node, Arc<Overlay>) {
    overlay_that(bql, name, length, backing, true)
}

fn overlay_that(
    bql: &mut BqlGuard,
    name: &str,
    length: u64,
    backing: &Node,
    empties: bool,
) -> (Node, Arc<Overlay>) {
    let driver = Arc::new(Overlay {
        length,
        blocks: Mutex::default(),
        empties,
        fails: AtomicBool::new(false),
        emptied: AtomicU64::new(0),
    });
    let builder = NodeBuilder::new(name).child("backing", backing, Role::COW);
    let node = builder.open(bql, Arc::clone(&driver) as Arc<dyn BlockDriver>);
    (node.expect("opened"), driver)
}

impl Overlay {
    fn blocks(&self) -> usize {
        self.blocks.lock().expect("no panic").len()
    }
}

impl DriverIo for Overlay {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            block_io::aio::yield_now().await;
            if self.fails.load(Ordering::Relaxed) {
                return Err(IoError::from_errno(errno::EIO));
            }
            let mut bytes = vec![0; into.len()];
            for (place, part) in bytes.chunks_mut(BLOCK as usize).enumerate() {
                let start = offset + place as u64 * BLOCK;
                let own = self.blocks.lock().expect("no panic").get(&start).cloned();
                if let Some(own) = own {
                    part.copy_from_slice(&own);
                    continue;
                }
                let mut below = Buffer::zeroed(BLOCK as usize);
                if let Ok(backing) = request.backing()
                    && start < backing.node().length()
                {
                    backing.read(start, below.destination()).await?;
                }
                part.copy_from_slice(below.as_slice());
            }
            into.copy_from_slice(&bytes);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        let mut bytes = vec![0; from.len()];
        from.copy_to_slice(&mut bytes);
        let mut blocks = self.blocks.lock().expect("no panic");
        for (place, part) in bytes.chunks(BLOCK as usize).enumerate() {
            blocks.insert(offset + place as u64 * BLOCK, part.to_vec());
        }
        IoFuture::done()
    }

    fn block_status<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        _bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let own = self.blocks.lock().expect("no panic").contains_key(&offset);
        IoFuture::ready(Ok(match own {
            true => BlockStatus::data(BLOCK),
            false => BlockStatus::unallocated(BLOCK),
        }))
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.length))
    }
}

impl BlockDriver for Overlay {
    fn format_name(&self) -> &'static str {
        "overlay"
    }

    fn supports_backing(&self) -> bool {
        true
    }

    fn refresh_limits(
        &self,
        _bql: &BqlGuard,
        limits: &mut block_io::BlockLimits,
    ) -> Result<(), GraphError> {
        limits.request_alignment = BLOCK as u32;
        Ok(())
    }

    fn make_empty(&self, section: &mut Drained<'_>) -> Result<(), GraphError> {
        assert!(section.node().view(section).quiesce_count() > 0);
        if !self.empties {
            return Err(GraphError::Refused {
                message: "overlay does not support emptying image files".into(),
                errno: errno::ENOTSUP,
            });
        }
        self.blocks.lock().expect("no panic").clear();
        self.emptied.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn base(directory: &tempfile::TempDir, length: usize) -> (std::path::PathBuf, FileOptions) {
    let path = directory.path().join("base");
    fs::write(&path, vec![b'.'; length]).expect("written");
    (path.clone(), File::new(path))
}

fn block(letter: u8) -> [u8; BLOCK as usize] {
    [letter; BLOCK as usize]
}

/// One letter a block.
fn letters(path: &std::path::Path) -> String {
    let bytes = fs::read(path).expect("read");
    let blocks = bytes.chunks(BLOCK as usize);
    blocks
        .map(|block| match block[0] {
            0 => '0',
            letter => char::from(letter),
        })
        .collect()
}

/// Names, and whether they are written.
fn picture(bql: &BqlGuard) -> Vec<(String, bool, Perm)> {
    let seen = nodes(bql);
    seen.map(|node| {
        (
            node.name().to_owned(),
            node.is_writable(),
            node.cumulative_perm(),
        )
    })
    .collect()
}

#[test]
fn what_the_overlay_has_goes_to_a_base_that_is_read_only_before_and_after() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 2048);
        let base = file.read_only(true).open(bql, "base").expect("opened");
        let (top, driver) = overlay(bql, "top", 4096, &base);
        let disk = disk(bql, &top);
        write(bql, &disk, 512, &block(b'a')).expect("written");
        write(bql, &disk, 3072, &block(b'b')).expect("written");
        let before = picture(bql);

        block_drivers::commit(bql, &top).expect("nobody minds");
        assert_eq!(letters(&path), ".a..00b0", "it has grown");
        assert_eq!(driver.blocks(), 0);
        assert_eq!(driver.emptied.load(Ordering::Relaxed), 1);
        bql.poll(block_io::aio::Wait::No);
        assert_eq!(
            picture(bql),
            before,
            "read-only again, and nothing in between"
        );
        assert_eq!(read(bql, &disk, 512, 512).expect("read"), block(b'a'));

        // And again, with what came later.
        write(bql, &disk, 0, &block(b'c')).expect("written");
        block_drivers::commit(bql, &top).expect("nobody minds");
        assert_eq!(letters(&path), "ca..00b0");
        assert!(!base.view(bql).is_writable());
    });
}

#[test]
fn an_image_that_cannot_be_emptied_keeps_what_it_has() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 2048);
        let base = file.open(bql, "base").expect("opened");
        let (top, driver) = overlay_that(bql, "top", 2048, &base, false);
        let disk = disk(bql, &top);
        write(bql, &disk, 0, &block(b'a')).expect("written");
        block_drivers::commit(bql, &top).expect("nobody minds");
        assert_eq!((letters(&path).as_str(), driver.blocks()), ("a...", 1));
        assert!(base.view(bql).is_writable(), "as it was");
    });
}

#[test]
fn nothing_is_committed_where_somebody_objects() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 2048);
        let base = file.read_only(true).open(bql, "base").expect("opened");
        let error = block_drivers::commit(bql, &base).expect_err("no backing image");
        assert_eq!(error.errno(), errno::ENOTSUP);

        let (top, driver) = overlay(bql, "top", 2048, &base);
        let disk = disk(bql, &top);
        write(bql, &disk, 0, &block(b'a')).expect("written");
        let before = picture(bql);
        let unchanged = |bql: &mut BqlGuard| {
            bql.poll(block_io::aio::Wait::No);
            assert_eq!(picture(bql), before);
            assert_eq!((letters(&path).as_str(), driver.blocks()), ("....", 1));
        };

        let blocker = top.block_operations(bql, Operations::COMMIT_SOURCE, "the test");
        let error = block_drivers::commit(bql, &top).expect_err("blocked");
        assert_eq!(error.to_string(), "Node 'top' is busy: the test");
        blocker.unblock(bql);
        unchanged(bql);

        // Somebody reads the base and wants it to stay as it is.
        let reader = Backend::new(bql, "", Perm::CONSISTENT_READ, Perm::all() - Perm::WRITE);
        let reader = reader.expect("a backend");
        reader.insert(bql, &base).expect("nobody writes");
        let error = block_drivers::commit(bql, &top).expect_err("not shared");
        assert!(
            matches!(error, GraphError::PermissionConflict { .. }),
            "{error}"
        );
        reader.remove(bql);
        unchanged(bql);

        let chain = top.freeze_chain(bql, &base).expect("not frozen");
        let error = block_drivers::commit(bql, &top).expect_err("a job relies on it");
        assert!(matches!(error, GraphError::FrozenChild { .. }), "{error}");
        chain.thaw(bql);
        unchanged(bql);

        driver.fails.store(true, Ordering::Relaxed);
        let error = block_drivers::commit(bql, &top).expect_err("the overlay cannot be read");
        assert_eq!(error.errno(), errno::EIO);
        unchanged(bql);
    });
}

#[test]
fn a_base_that_cannot_be_reopened_is_not_committed_into() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 2048);
        let base = file.read_only(true).open(bql, "base").expect("opened");
        let (top, _) = overlay(bql, "top", 2048, &base);
        fs::remove_file(path).expect("removed");
        let error = block_drivers::commit(bql, &top).expect_err("it is gone");
        assert_eq!(error.errno(), errno::EACCES);
        assert!(error.to_string().starts_with("Could not open "), "{error}");
        assert!(!base.view(bql).is_writable());
    });
}

#[test]
fn every_backend_with_a_backing_image_is_committed() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 1024);
        let base = file.read_only(true).open(bql, "base").expect("opened");
        let (top, driver) = overlay(bql, "top", 1024, &base);
        let filter = Stats::over(&top).open(bql, "filter").expect("opened");
        let with_overlay = disk(bql, &filter);
        let null = NullCo::new(512).open(bql, "null").expect("opened");
        let _without = disk(bql, &null);
        let _empty = Backend::new(bql, "", READ_WRITE, Perm::all()).expect("a backend");
        write(bql, &with_overlay, 512, &block(b'a')).expect("written");
        commit_all(bql).expect("nobody minds");
        assert_eq!((letters(&path).as_str(), driver.blocks()), (".a", 0));

        write(bql, &with_overlay, 0, &block(b'b')).expect("written");
        let reader = backend(bql, &base, Perm::CONSISTENT_READ).expect("nobody objects");
        let shared = Perm::all() - Perm::WRITE;
        reader
            .set_perm(bql, Perm::CONSISTENT_READ, shared)
            .expect("nobody writes");
        let error = commit_all(bql).expect_err("not shared");
        assert!(
            matches!(error, GraphError::PermissionConflict { .. }),
            "{error}"
        );
        assert_eq!(driver.blocks(), 1);
    });
}

/// Nothing that a guest writes meanwhile is lost: it is either committed or
/// still in the overlay.
#[test]
fn what_is_written_meanwhile_waits() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 64 * 512);
        let base = file.read_only(true).open(bql, "base").expect("opened");
        let (top, _) = overlay(bql, "top", 64 * 512, &base);
        let disk = disk(bql, &top);
        disk.set_allow_context_change(bql, true);
        let iothread = IoThread::create(bql, "io").expect("a thread");
        top.set_iothread(bql, Some(&iothread)).expect("moved");
        let root = disk.root().clone();
        let guest = iothread.context().spawn(async move {
            for round in 0..50u64 {
                let letter = b'A' + (round % 26) as u8;
                let place = (round * 7) % 64 * 512;
                let written = Buffer::from(&block(letter)[..]);
                root.write(place, written.source()).await.expect("written");
                let mut seen = Buffer::zeroed(512);
                root.read(place, seen.destination()).await.expect("read");
                assert_eq!(seen.as_slice(), block(letter), "round {round}");
            }
        });
        for _ in 0..10 {
            block_drivers::commit(bql, &top).expect("nobody minds");
        }
        bql.block_on(guest);
        top.set_iothread(bql, None).expect("moved back");
        block_drivers::commit(bql, &top).expect("nobody minds");
        let seen = read(bql, &disk, 0, 64 * 512).expect("read");
        assert_eq!(seen, fs::read(&path).expect("read"));
        let expected = (0..50u64).filter(|round| {
            letters(&path).as_bytes()[((round * 7) % 64) as usize] == b'A' + (round % 26) as u8
        });
        assert_eq!(expected.count(), 50);
    });
}

#[test]
fn the_overlay_keeps_what_the_base_does_not_have_for_good() {
    in_layer(|bql, directory| {
        let (_, file) = base(directory, 4096);
        let file = file.open(bql, "file").expect("opened");
        let injector = Injector::new(1);
        let inject = Inject::over(&file).injector(&injector);
        let base = inject.open(bql, "base").expect("opened");
        let (top, driver) = overlay(bql, "top", 4096, &base);
        let disk = disk(bql, &top);
        write(bql, &disk, 0, &block(b'a')).expect("written");
        injector.set_errors(RequestKind::Flush, Chance::ALWAYS, errno::EIO);
        let error = block_drivers::commit(bql, &top).expect_err("it cannot be flushed");
        assert_eq!((error.errno(), driver.blocks()), (errno::EIO, 1));

        injector.set_errors(RequestKind::Flush, Chance::NEVER, errno::EIO);
        block_drivers::commit(bql, &top).expect("it can");
        assert_eq!(driver.blocks(), 0);
    });
}

#[test]
fn an_overlay_that_gets_another_base_before_it_is_drained_keeps_both() {
    in_layer(|bql, directory| {
        let (_, file) = base(directory, 4096);
        let one = file.read_only(true).open(bql, "one").expect("opened");
        let two = NullCo::new(4096).open(bql, "two").expect("opened");
        let (top, driver) = overlay(bql, "top", 4096, &one);
        let disk = disk(bql, &top);
        write(bql, &disk, 0, &block(b'a')).expect("written");
        keep_busy(bql, &disk);
        let (main, changed, to) = (bql.main_loop(), top.clone(), two.clone());
        let change = bql.context().clone().spawn(async move {
            let set = move |bql: &mut BqlGuard| changed.drain(bql).set_backing(Some(&to));
            main.call(set).await
        });
        let error = block_drivers::commit(bql, &top).expect_err("it has another base");
        assert_eq!(error.errno(), errno::EBUSY);
        let changed = bql.block_on(change).expect("the main loop is here");
        changed.expect("nobody minds");
        let backing = top.view(bql).cow_node().map(|node| node.node(bql));
        assert_eq!((backing, driver.blocks()), (Some(two), 1));
        assert!(one.view(bql).is_read_only(), "as it was");
        block_drivers::commit(bql, &top).expect("nothing changes this time");
        assert_eq!(driver.blocks(), 0);
    });
}

/// An image that a device uses in an iothread stays there, and is committed all
/// the same.
#[test]
fn an_overlay_is_committed_where_it_is() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 4096);
        let below = file.open(bql, "base").expect("opened");
        let (top, driver) = overlay(bql, "top", 4096, &below);
        let disk = disk(bql, &top);
        let iothread = IoThread::create(bql, "io").expect("an iothread");
        disk.set_iothread(bql, Some(&iothread)).expect("moved");
        write(bql, &disk, 0, &block(b'a')).expect("written");
        block_drivers::commit(bql, &top).expect("committed");
        assert_eq!(driver.blocks(), 0);
        assert!(letters(&path).starts_with('a'));
        assert_eq!(below.io().context().name(), "io");
    });
}

/// Also between the look at the chain and the change of it.
#[test]
fn an_overlay_that_gets_another_base_at_the_last_moment_keeps_both() {
    in_layer(|bql, directory| {
        let (_, file) = base(directory, 4096);
        let one = file.open(bql, "one").expect("opened");
        let two = NullCo::new(4096).open(bql, "two").expect("opened");
        let (top, driver) = overlay(bql, "top", 4096, &one);
        let disk = disk(bql, &top);
        write(bql, &disk, 0, &block(b'a')).expect("written");
        let (changed, to) = (top.clone(), two.clone());
        let _device = meanwhile(bql, &disk, move |bql| {
            let set = changed.drain(bql).set_backing(Some(&to));
            set.expect("nobody minds");
        });
        let error = block_drivers::commit(bql, &top).expect_err("it has another base");
        assert_eq!(error.errno(), errno::EBUSY);
        let backing = top.view(bql).cow_node().map(|node| node.node(bql));
        assert_eq!((backing, driver.blocks()), (Some(two), 1));
    });
}

/// Between reading and emptying, too.
#[test]
fn an_overlay_that_gets_another_base_while_it_is_copied_is_not_emptied() {
    in_layer(|bql, directory| {
        let (path, file) = base(directory, 2048);
        let one = file.open(bql, "one").expect("opened");
        let two = NullCo::new(2048).open(bql, "two").expect("opened");
        let (top, driver) = overlay(bql, "top", 2048, &one);
        let disk = disk(bql, &top);
        write(bql, &disk, 0, &block(b'a')).expect("written");
        let (main, context) = (bql.main_loop(), bql.context().clone());
        let mut change = None;
        let commit = block_drivers::Commit::of(&top).progress(|_, _| {
            let (main, changed, to) = (main.clone(), top.clone(), two.clone());
            change.get_or_insert_with(|| {
                context.spawn(async move {
                    let set = move |bql: &mut BqlGuard| changed.drain(bql).set_backing(Some(&to));
                    main.call(set).await
                })
            });
        });
        let error = commit.run(bql).expect_err("it has another base");
        assert_eq!(error.errno(), errno::EBUSY);
        let changed = bql.block_on(change.expect("it was copied"));
        changed
            .expect("the main loop is here")
            .expect("nobody minds");
        let backing = top.view(bql).cow_node().map(|node| node.node(bql));
        assert_eq!((backing, driver.blocks()), (Some(two), 1));
        assert_eq!(letters(&path), "a...");
    });
}

#[test]
fn a_base_of_another_process_does_not_become_read_only() {
    in_layer(|bql, _| {
        let base = NullCo::new(4096).open(bql, "base").expect("opened");
        let (top, _) = overlay(bql, "top", 4096, &base);
        top.inactivate(bql).expect("nobody minds");
        assert!(base.view(bql).is_inactive());
        let error = block_drivers::commit(bql, &top).expect_err("it cannot be written");
        assert!(matches!(error, GraphError::InactiveChild { .. }), "{error}");
        assert!(!base.view(bql).is_read_only());
    });
}
