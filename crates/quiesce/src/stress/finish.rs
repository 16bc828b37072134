//! The last checks: everything is quiet, the files are right, and nothing is
//! left behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use block_gs::{BqlGuard, backends, drain_all, nodes};
use block_io::Buffer;

use super::disk::{Disk, Held};

/// How long what ends by itself may take: worker threads wait ten seconds for
/// more to do.
const PATIENCE: Duration = Duration::from_secs(25);

/// With all tasks ended: gates are idle, and each disk reads as it must.
/// Returns how many bytes were right.
pub fn check_disks(bql: &mut BqlGuard, disks: &[Held]) -> Result<u64, String> {
    drain_all(bql).end();
    for backend in backends(bql) {
        let root = backend.root();
        if root.in_flight() != 0 || root.quiesce_count() != 0 {
            let (counted, closed) = (root.in_flight(), root.quiesce_count());
            let name = backend.name();
            return Err(format!(
                "'{name}' has {counted} requests, closed {closed} times"
            ));
        }
    }
    for node in nodes(bql) {
        if node.quiesce_count() != 0 {
            return Err(format!("'{}' sleeps on", node.name()));
        }
    }
    let mut right = 0;
    for held in disks {
        let disk = &held.disk;
        let mut model = disk.model();
        let mut buffer = Buffer::zeroed(model.len() as usize);
        bql.block_on(disk.root.read(0, buffer.destination()))
            .map_err(|error| format!("'{}', read in the end: {error}", disk.name))?;
        let seen = model.observe(0, buffer.as_slice(), true);
        seen.map_err(|mismatch| format!("'{}', read in the end: {mismatch}", disk.name))?;
        bql.block_on(disk.root.flush())
            .map_err(|error| format!("'{}', flushed in the end: {error}", disk.name))?;
        if disk.active.load(Ordering::SeqCst) != 0 {
            return Err(format!("'{}' has active requests in the end", disk.name));
        }
        right += model.len();
    }
    Ok(right)
}

/// With the block layer gone: the files are as they must be. Returns how many
/// bytes were right.
pub fn check_files<'d>(disks: impl Iterator<Item = &'d Disk>) -> Result<u64, String> {
    disks.map(|disk| disk.check_file(true)).sum()
}

/// What a process has open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    descriptors: usize,
    threads: usize,
}

impl Footprint {
    /// Of this process, now.
    pub fn take() -> Footprint {
        let count = |dir| fs::read_dir(dir).map_or(0, Iterator::count);
        Footprint {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
        }
    }

    /// Nothing has been added since; threads are given time to end.
    pub fn check(self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let now = Footprint::take();
            if now.descriptors <= self.descriptors && now.threads <= self.threads {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("left behind: {self:?} became {now:?}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// No file in `dir` is locked.
pub fn check_locks(dir: &Path) -> Result<(), String> {
    let Ok(locks) = fs::read_to_string("/proc/locks") else {
        return Ok(());
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries {
        let inode = entry.metadata().map_or(0, |metadata| metadata.ino());
        let ends = format!(":{inode}");
        let is_of = |line: &&str| line.split_whitespace().any(|word| word.ends_with(&ends));
        if let Some(line) = locks.lines().find(is_of) {
            return Err(format!(
                "'{}' is still locked: {line}",
                entry.path().display()
            ));
        }
    }
    Ok(())
}
