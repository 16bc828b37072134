//! Errors of the device at any moment: what fails leaves old or new data,
//! nothing is wrong afterwards but leaks, and work goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use block_drivers::blkdebug::{Blkdebug, EVENTS, InjectError};
use block_gs::{Backend, BqlGuard, Node, Perm, SnapshotInfo, SnapshotKey};
use block_io::{IoError, Preallocation, Repairs, Request, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Options};

use super::model::{filled, numbers};
use super::recorder::{Disk, EIO, ENOSPC, Fate, Fault, SECTOR, cut_off, cuts};
use super::workload::{image_at, image_over, look_at, make, only_flags, said_by};
use crate::support::{READ_WRITE, Tool, backend, in_layer, read, write};
use crate::writing::Random;

/// What may be in each sector.
type Allowed = Vec<Vec<u64>>;

struct Running {
    node: Node,
    device: Backend,
    random: Random,
    cluster: u64,
    snapshots: bool,
    value: u64,
    allowed: Allowed,
    /// And if whatever was not flushed may be lost.
    kept: Allowed,
    /// Snapshots that may be there, and what they may show; whether they must
    /// be.
    taken: BTreeMap<String, (Allowed, bool)>,
}

impl Running {
    fn new(
        bql: &mut BqlGuard,
        node: Node,
        create: &CreateOptions,
        seed: u64,
        snapshots: bool,
    ) -> Running {
        let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
        Running {
            node,
            device,
            random: Random(seed),
            cluster: create.cluster_size / SECTOR,
            snapshots,
            value: 0,
            allowed: vec![vec![0]; (create.size / SECTOR) as usize],
            kept: vec![vec![0]; (create.size / SECTOR) as usize],
            taken: BTreeMap::new(),
        }
    }

    /// Goes on with another node for the same image.
    fn reopened(self, bql: &mut BqlGuard, open: impl FnOnce(&mut BqlGuard) -> Node) -> Running {
        let Running { node, device, .. } = self;
        drop((node, device));
        bql.poll(block_io::aio::Wait::No);
        let node = open(bql);
        let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
        Running {
            node,
            device,
            ..self
        }
    }

    fn size(&self) -> u64 {
        self.node.io().length() / SECTOR
    }

    /// `outcome` is that of making sectors what `values` says.
    fn note(&mut self, from: u64, values: &[u64], outcome: Result<(), IoError>) {
        for (allowed, value) in self.allowed[from as usize..].iter_mut().zip(values) {
            if outcome.is_ok() {
                allowed.clear();
            }
            allowed.push(*value);
        }
        for (kept, value) in self.kept[from as usize..].iter_mut().zip(values) {
            kept.push(*value);
        }
    }

    fn step(&mut self, bql: &mut BqlGuard) {
        let size = self.size();
        let from = self.random.next(size);
        let most = [1, 9, 100][self.random.next(3) as usize];
        let to = (from + 1 + self.random.next(most)).min(size);
        let (offset, bytes) = (from * SECTOR, (to - from) * SECTOR);
        self.value += 1;
        let value = self.value;
        let root = self.device.root().clone();
        let kind = self.random.next(if self.snapshots { 16 } else { 12 });
        match kind {
            0..=4 => {
                let values = vec![value; (to - from) as usize];
                let outcome = write(bql, &self.device, offset, filled(&values).as_slice());
                self.note(from, &values, outcome);
            }
            5 if size.is_multiple_of(self.cluster) => {
                let from = from / self.cluster * self.cluster;
                let values = vec![value; self.cluster as usize];
                let buffer = filled(&values);
                let flags = WriteFlags::COMPRESSED;
                let outcome = bql.block_on(root.write_with(from * SECTOR, buffer.source(), flags));
                self.note(from, &values, outcome);
            }
            6 | 7 => {
                let flags = [WriteFlags::MAY_UNMAP, WriteFlags::empty()];
                let flags = flags[value as usize % 2];
                let outcome = bql.block_on(root.write_zeroes(offset, bytes, flags));
                self.note(from, &vec![0; (to - from) as usize], outcome);
            }
            8 => {
                // What a discard leaves is up to the image.
                let outcome = bql.block_on(root.discard(offset, bytes));
                drop(outcome);
                self.note(
                    from,
                    &vec![0; (to - from) as usize],
                    Err(IoError::from_errno(EIO)),
                );
            }
            9 => {
                let new = 1 + self.random.next(self.allowed.len() as u64);
                let disk = backend(bql, &self.node, READ_WRITE | Perm::RESIZE).expect("a device");
                let off = Preallocation::Off;
                drop(bql.block_on(disk.root().truncate(new * SECTOR, true, off)));
                let now = self.size();
                assert!(
                    now == size || now == new,
                    "{now} is neither {size} nor {new}"
                );
                // What is cut off may be zero although the end is where it was.
                let cut = new.min(size);
                self.note(
                    cut,
                    &vec![0; (size.max(new) - cut) as usize],
                    Err(IoError::from_errno(EIO)),
                );
            }
            12 => {
                let mut info = SnapshotInfo {
                    name: format!("s{value}"),
                    ..Default::default()
                };
                let made = self.node.drain(bql).create_snapshot(&mut info).is_ok();
                let allowed = self.allowed[..size as usize].to_vec();
                self.taken.insert(info.name, (allowed, made));
            }
            13 | 14 => {
                let names: Vec<String> = self.taken.keys().cloned().collect();
                let Some(name) = names.first() else { return };
                let (then, _) = self.taken[name].clone();
                let gone_to = self.node.drain(bql).goto_snapshot(name).is_ok();
                for (at, allowed) in self.allowed.iter_mut().enumerate() {
                    let then = then.get(at).cloned().unwrap_or(vec![0]);
                    self.kept[at].extend(then.iter().copied());
                    match gone_to {
                        true => *allowed = then,
                        false => allowed.extend(then),
                    }
                }
            }
            15 => {
                let names: Vec<String> = self.taken.keys().cloned().collect();
                let Some(name) = names.first() else { return };
                let which = SnapshotKey {
                    id: None,
                    name: Some(name),
                };
                match self.node.drain(bql).delete_snapshot(which) {
                    Ok(()) => drop(self.taken.remove(name)),
                    Err(_) => self.taken.get_mut(name).expect("known").1 = false,
                }
            }
            _ => {
                if bql.block_on(root.flush()).is_ok() {
                    self.kept = self.allowed.clone();
                }
            }
        }
    }

    /// Power fails too: what was not flushed may be lost, in part.
    fn crash(
        &self,
        bql: &mut BqlGuard,
        files: &[Vec<u8>],
        disk: &Disk,
        random: &mut Random,
        name: &str,
    ) {
        let steps = disk.lock().steps.clone();
        let now = cuts(&steps).pop().expect("the end at least");
        let fate = Fate::any(random);
        let left = cut_off(files, &steps, now, random, fate);
        let name = &format!("{name}, then power, {fate:?}");
        let left = Disk::new(left, random.next(1 << 20));
        let node = image_over(bql, &left, Qcow2Options::default());
        check(bql, &node, self.snapshots, name);
        let device = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
        look(bql, &node, &device, &self.kept, name);
        drop(device);
        self.look_at_snapshots(bql, &node, name);
        drop(node);
        bql.poll(block_io::aio::Wait::No);
    }

    /// Those that must be there are, and each shows what it may.
    fn look_at_snapshots(&self, bql: &mut BqlGuard, node: &Node, name: &str) {
        let listed = node.view(bql).snapshots(bql).expect("listed");
        for (snapshot, (allowed, must)) in &self.taken {
            let is_there = listed.iter().any(|info| info.name == *snapshot);
            assert!(is_there || !must, "{name}: {snapshot} is lost");
            if is_there {
                node.drain(bql).goto_snapshot(snapshot).expect("gone to");
                let device = backend(bql, node, Perm::CONSISTENT_READ).expect("a reader");
                let name = format!("{name}: {snapshot}");
                look(bql, node, &device, allowed, &name);
            }
        }
    }

    /// All that the guest sees, which is allowed.
    fn look(&self, bql: &mut BqlGuard, device: &Backend, name: &str) -> Vec<u64> {
        look(bql, &self.node, device, &self.allowed, name)
    }
}

/// All that is seen of a node, which is allowed.
fn look(
    bql: &mut BqlGuard,
    node: &Node,
    device: &Backend,
    allowed: &Allowed,
    name: &str,
) -> Vec<u64> {
    let bytes = read(bql, device, 0, node.io().length() as usize).expect("read");
    let seen = numbers(&bytes, name);
    for (at, value) in seen.iter().enumerate() {
        let allowed = &allowed[at];
        let fine = allowed.contains(value);
        assert!(fine, "{name}: sector {at} has {value}, not {allowed:?}");
    }
    seen
}

fn check(bql: &mut BqlGuard, node: &Node, snapshots: bool, name: &str) {
    let (found, said) = look_at(bql, node);
    assert_eq!(found.check_errors, 0, "{name}: {found:?}");
    // Where a snapshot was not made or deleted flags may differ from counts.
    let fine = found.corruptions == 0 || (snapshots && only_flags(&said));
    assert!(fine, "{name}: {found:?} {said}");
}

/// Does the same as often as it takes to let each request fail in turn.
fn fail_everywhere(create: &CreateOptions, seed: u64, snapshots: bool, fault: Fault) {
    let more = std::env::var("QUIESCE_CRASH_ROUNDS");
    let more: u64 = more.map_or(0, |number| number.parse().expect("a number"));
    for round in 0..=more {
        fail_in_turn(create, seed + 1000 * round, snapshots, fault, more > 0);
    }
}

fn fail_in_turn(create: &CreateOptions, seed: u64, snapshots: bool, fault: Fault, all: bool) {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let mut create = create.clone();
        if let Some(name) = &mut create.data_file {
            *name = directory
                .path()
                .join("data")
                .to_str()
                .expect("text")
                .to_owned();
        }
        let files = make(bql, &create);
        let mut skip = Random(seed);
        let mut after = 0;
        loop {
            let name = format!("seed {seed}, {fault:?} {after}");
            let disk = Disk::new(files.clone(), seed);
            let failed = fail_once(
                bql,
                (&files, &disk),
                &create,
                seed,
                snapshots,
                Fault { after, ..fault },
                &name,
            );
            let state = disk.lock();
            if all || after % 8 == 0 {
                let path = directory.path().join("image");
                std::fs::write(&path, &state.files[0]).expect("written");
                std::fs::write(directory.path().join("data"), &state.files[1]).expect("written");
                let check = qemu_img.run(["check", path.to_str().expect("text")]);
                let said = said_by(&check);
                let fine = match check.status.code() {
                    Some(0 | 3) => true,
                    Some(2) => snapshots && only_flags(&said),
                    _ => false,
                };
                assert!(fine, "{name}: {said}");
            }
            if !failed {
                break;
            }
            after += if all { 1 } else { 1 + skip.next(6) };
        }
    });
}

fn fail_once(
    bql: &mut BqlGuard,
    (files, disk): (&[Vec<u8>], &Arc<Disk>),
    create: &CreateOptions,
    seed: u64,
    snapshots: bool,
    fault: Fault,
    name: &str,
) -> bool {
    let options = Qcow2Options {
        l2_cache_size: Some(create.cluster_size.min(2048)),
        ..Default::default()
    };
    let node = image_over(bql, disk, options);
    let mut running = Running::new(bql, node, create, seed, snapshots);
    for _ in 0..6 {
        running.step(bql);
    }
    {
        let mut state = disk.lock();
        state.requests = 0;
        state.fault = Some(fault);
    }
    let mut fate = Random(seed ^ fault.after);
    let crashes = fate.next(25);
    for number in 0..25 {
        running.step(bql);
        if number == crashes {
            running.crash(bql, files, disk, &mut fate, name);
        }
    }
    let failed = {
        let mut state = disk.lock();
        state.fault = None;
        state.requests > fault.after
    };
    let seen = running.look(bql, &running.device, name);
    for (allowed, value) in running.allowed.iter_mut().zip(&seen) {
        *allowed = vec![*value];
    }
    bql.block_on(running.device.root().flush())
        .expect("flushed");
    // What was flushed is there whatever happens to the process.
    let copy = Disk::new(disk.lock().files.clone(), seed);
    let again = image_over(bql, &copy, Qcow2Options::default());
    check(bql, &again, snapshots, name);
    let reader = backend(bql, &again, Perm::CONSISTENT_READ).expect("a reader");
    running.look(bql, &reader, name);
    drop((again, reader));
    check(bql, &running.node, snapshots, name);
    for _ in 0..10 {
        running.step(bql);
    }
    running.look(bql, &running.device, name);
    bql.block_on(running.device.root().flush())
        .expect("flushed");
    running.look_at_snapshots(bql, &running.node, name);
    let Running { node, device, .. } = running;
    drop((node, device));
    bql.poll(block_io::aio::Wait::No);
    failed
}

fn small() -> CreateOptions {
    CreateOptions {
        cluster_size: 1024,
        ..CreateOptions::new(256 << 10)
    }
}

const ONCE: Fault = Fault {
    after: 0,
    forever: false,
    errno: EIO,
    reads: true,
};

const FULL: Fault = Fault {
    after: 0,
    forever: true,
    errno: ENOSPC,
    reads: false,
};

#[test]
fn one_request_fails() {
    fail_everywhere(&small(), 1, false, ONCE);
    fail_everywhere(&small(), 2, true, ONCE);
}

#[test]
fn nothing_is_written_from_some_moment_on() {
    fail_everywhere(&small(), 3, false, FULL);
    fail_everywhere(&small(), 4, true, FULL);
}

#[test]
fn nothing_works_from_some_moment_on() {
    let broken = Fault {
        forever: true,
        ..ONCE
    };
    fail_everywhere(&small(), 5, true, broken);
}

#[test]
fn requests_fail_while_tables_grow() {
    let create = CreateOptions {
        cluster_size: 512,
        refcount_bits: 64,
        ..CreateOptions::new(2 << 20)
    };
    fail_everywhere(&create, 6, true, ONCE);
    fail_everywhere(&create, 7, false, FULL);
}

#[test]
fn requests_fail_with_subclusters_and_data_files() {
    let create = CreateOptions {
        cluster_size: 16384,
        extended_l2: true,
        ..CreateOptions::new(512 << 10)
    };
    fail_everywhere(&create, 8, true, ONCE);
    let create = CreateOptions {
        data_file: Some("data".to_owned()),
        ..small()
    };
    fail_everywhere(&create, 9, false, ONCE);
}

/// Lets what follows one of the steps that QEMU names fail, while all sorts of
/// things are done, and then looks at what is left.
fn fail_at(event: &str, once: bool, errno: i32, seed: u64) {
    in_layer(|bql, _| {
        let create = CreateOptions {
            cluster_size: 512,
            refcount_bits: 64,
            ..CreateOptions::new(1 << 20)
        };
        let name = format!("{event}, once: {once}, errno {errno}");
        let files = make(bql, &create);
        let disk = Disk::new(files, seed);
        let options = Qcow2Options {
            l2_cache_size: Some(2048),
            ..Default::default()
        };
        let node = image_over(bql, &disk, options.clone());
        let mut running = Running::new(bql, node, &create, seed, true);
        for _ in 0..6 {
            running.step(bql);
        }
        let mut rule = InjectError::at(event.parse().expect("an event"));
        (rule.once, rule.errno, rule.immediately) = (once, errno, seed.is_multiple_of(2));
        let mut is_open = true;
        running = running.reopened(bql, |bql| {
            let file = disk.open(bql, 0);
            let debug = Blkdebug::over(&file).inject_error(rule);
            let debug = debug.open(bql, "").expect("opened");
            let opened = image_at(bql, &disk, &debug, options);
            is_open = opened.is_ok();
            opened.unwrap_or_else(|_| image_over(bql, &disk, Qcow2Options::default()))
        });
        for _ in 0..if is_open { 30 } else { 0 } {
            running.step(bql);
        }
        let size = running.size();
        running = running.reopened(bql, |bql| image_over(bql, &disk, Qcow2Options::default()));
        // A truncation that failed may have reached the file.
        let sizes = (size, running.size());
        let low = sizes.0.min(sizes.1) as usize;
        let high = sizes.0.max(sizes.1) as usize;
        running.kept[low..high]
            .iter_mut()
            .for_each(|kept| kept.push(0));
        running.allowed = running.kept.clone();
        check(bql, &running.node, true, &name);
        let seen = running.look(bql, &running.device, &name);
        for (allowed, value) in running.allowed.iter_mut().zip(&seen) {
            *allowed = vec![*value];
        }
        let repair = async |request: Request<'_>| {
            let repairs = Repairs::LEAKS | Repairs::ERRORS;
            request.check(repairs).await?;
            request.check(Repairs::empty()).await
        };
        let found = running.node.drain(bql).io(repair).expect("looked at");
        assert_eq!((found.corruptions, found.leaks), (0, 0), "{name}");
        running.taken.clear();
        for _ in 0..15 {
            running.step(bql);
        }
        running.look(bql, &running.device, &name);
    });
}

#[test]
fn requests_fail_after_any_step() {
    for (number, event) in EVENTS.iter().enumerate() {
        if *event == "none" {
            continue;
        }
        let once = number % 2 == 0;
        fail_at(event, once, EIO, number as u64);
        fail_at(event, !once, ENOSPC, number as u64 + 1);
    }
}
