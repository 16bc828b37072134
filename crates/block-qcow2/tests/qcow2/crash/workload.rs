//! What is done to an image while its files are recorded, and how what is
//! left of it after a failure is looked at.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use block_common::Value;
use block_common::error::errno;
use block_drivers::Raw;
use block_gs::{Backend, BqlGuard, GraphError, IoThread, Node, Perm, SnapshotInfo, SnapshotKey};
use block_io::{
    BackingName, CheckResult, Finding, Preallocation, Repairs, Request, Root, WriteFlags,
};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};

use super::model::{Deed, GONE, assert_allowed, filled, numbers};
use super::recorder::{Disk, Fate, SECTOR, cut_off, cuts};
use crate::support::{READ_WRITE, Tool, backend, in_layer, qemu_reads, read, write};
use crate::writing::Random;

/// What happens to an image.
#[derive(Clone, Debug)]
pub struct Plan {
    pub create: CreateOptions,
    pub options: Qcow2Options,
    pub seed: u64,
    pub rounds: u64,
    /// How many requests run at once.
    pub at_once: u64,
    /// On how many iothreads; in the main loop if there are none.
    pub threads: usize,
    /// Some writes are compressed; they take whole clusters.
    pub compressed: bool,
    pub snapshots: bool,
    pub resizes: bool,
    /// What the image says about itself is changed.
    pub amends: bool,
    /// A backing image so many sectors long.
    pub backing: u64,
    /// The image is on a device, which is full of something else.
    pub device: bool,
}

impl Plan {
    pub fn new(seed: u64, create: CreateOptions) -> Plan {
        Plan {
            create,
            options: Qcow2Options::default(),
            seed,
            rounds: 30,
            at_once: 1,
            threads: 0,
            compressed: false,
            snapshots: false,
            resizes: false,
            amends: false,
            backing: 0,
            device: false,
        }
    }

    fn disk(&self, files: Vec<Vec<u8>>, seed: u64) -> Arc<Disk> {
        match self.device {
            true => Disk::devices(files, seed),
            false => Disk::new(files, seed),
        }
    }
}

/// Which file is what.
const IMAGE: usize = 0;
const DATA: usize = 1;
const BASE: usize = 2;

/// What sectors of the backing image are filled with, above their number.
const BELOW: u64 = 1 << 40;

/// The files of a new image: itself, its data, what is below.
pub fn make(bql: &mut BqlGuard, create: &CreateOptions) -> Vec<Vec<u8>> {
    make_on(bql, create, Disk::new(vec![Vec::new(); 3], 0))
}

/// The same on devices.
fn make_on_device(bql: &mut BqlGuard, plan: &Plan) -> Vec<Vec<u8>> {
    let create = &plan.create;
    // Room for what is given up and not free yet, too.
    let times = if plan.snapshots { 8 } else { 2 };
    let device = vec![0xde; (create.size * times + (2 << 20)) as usize];
    let files = vec![device, Vec::new(), Vec::new()];
    make_on(bql, create, Disk::devices(files, 0))
}

fn make_on(bql: &mut BqlGuard, create: &CreateOptions, disk: Arc<Disk>) -> Vec<Vec<u8>> {
    let perm = READ_WRITE | Perm::RESIZE;
    let [file, data] = [IMAGE, DATA].map(|number| {
        let node = disk.open(bql, number);
        backend(bql, &node, perm).expect("nobody objects")
    });
    let data_root = create.data_file.is_some().then(|| data.root());
    bql.block_on(create.write_to(file.root(), data_root))
        .expect("made");
    std::mem::take(&mut disk.lock().files)
}

/// Opens the image that is in these files.
pub fn image_over(bql: &mut BqlGuard, disk: &Arc<Disk>, options: Qcow2Options) -> Node {
    let file = disk.open(bql, IMAGE);
    image_at(bql, disk, &file, options).expect("opened")
}

/// As [`image_over`], where `file` shows the file of the image.
pub fn image_at(
    bql: &mut BqlGuard,
    disk: &Arc<Disk>,
    file: &Node,
    options: Qcow2Options,
) -> Result<Node, GraphError> {
    let mut image = Qcow2Image::read(bql, file)?;
    if image.has_data_file() {
        let data = disk.open(bql, DATA);
        let data = Raw::over(&data).open(bql, "").expect("opened");
        image = image.data_file(&data);
    }
    if image.backing_file().is_some() {
        let base = disk.open_with(bql, BASE, true);
        image = image.backing(&base);
    }
    let node = block_gs::NodeOptions {
        unmap: true,
        ..Default::default()
    };
    image.settings(options).options(node).open(bql, "")
}

/// What a check finds, and what it says.
pub fn look_at(bql: &mut BqlGuard, node: &Node) -> (CheckResult, String) {
    let said = Mutex::new(String::new());
    let hear = |finding: &dyn Finding| {
        let mut said = said.lock().expect("not poisoned");
        said.push_str(&format!("{finding}\n"));
    };
    let check = async |request: Request<'_>| request.check_telling(Repairs::empty(), &hear).await;
    let found = node.drain(bql).io(check).expect("looked at");
    (found, said.into_inner().expect("not poisoned"))
}

/// What a tool has said.
pub fn said_by(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said + &String::from_utf8_lossy(&output.stderr)
}

/// Whether nothing is wrong but flags that say what is shared.
pub fn only_flags(said: &str) -> bool {
    let mut errors = said.lines().filter(|line| line.starts_with("ERROR"));
    errors.all(|line| line.contains("OFLAG_COPIED"))
}

pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Waits for all of them at once.
pub async fn together<T>(mut all: Vec<Boxed<T>>) -> Vec<T> {
    let mut done = Vec::new();
    poll_fn(|context| {
        all.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Ready(deed) => {
                done.push(deed);
                false
            }
            Poll::Pending => true,
        });
        match all.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    done
}

/// Times of deeds.
#[derive(Clone)]
struct Watch {
    disk: Arc<Disk>,
    clock: Arc<AtomicU64>,
}

impl Watch {
    fn begin(&self, from: u64, values: Vec<u64>) -> Deed {
        Deed {
            from,
            values,
            flush: false,
            through: false,
            before: self.disk.now(),
            after: 0,
            began: self.clock.fetch_add(1, Ordering::SeqCst),
            ended: 0,
        }
    }

    fn end(&self, mut deed: Deed) -> Deed {
        deed.after = self.disk.now();
        deed.ended = self.clock.fetch_add(1, Ordering::SeqCst);
        deed
    }
}

/// A snapshot: what it shows, and when it was there.
struct Taken {
    values: Vec<u64>,
    /// Steps when it was begun, there, begun to be deleted, gone.
    times: [usize; 4],
}

/// An image in use.
struct Running<'p> {
    plan: &'p Plan,
    watch: Watch,
    node: Node,
    device: Backend,
    random: Random,
    /// How many sectors there are at most.
    count: u64,
    size: u64,
    value: u64,
    deeds: Vec<Deed>,
    snapshots: BTreeMap<String, Taken>,
    threads: Vec<IoThread>,
    has_backing: bool,
}

impl Running<'_> {
    /// What the guest sees; beyond the end is nothing.
    fn seen(&self, bql: &mut BqlGuard) -> Vec<u64> {
        let bytes = read(bql, &self.device, 0, (self.size * SECTOR) as usize).expect("read");
        let mut seen = numbers(&bytes, "while it runs");
        seen.resize(self.count as usize, GONE);
        seen
    }

    /// A request somewhere between two sectors.
    fn request(&mut self, first: u64, last: u64) -> Boxed<Vec<Deed>> {
        let random = &mut self.random;
        let from = first + random.next(last - first);
        let most = [1, 9, 200][random.next(3) as usize];
        let to = (from + 1 + random.next(most)).min(last);
        self.value += 1;
        let value = self.value;
        let kind = random.next(12);
        let root = self.device.root().clone();
        let watch = self.watch.clone();
        let cluster = self.plan.create.cluster_size / SECTOR;
        let compressed = self.plan.compressed && self.size.is_multiple_of(cluster);
        Box::pin(async move {
            match kind {
                4 | 5 if compressed => {
                    let from = from / cluster * cluster;
                    let deed = watch.begin(from, vec![value; cluster as usize]);
                    let buffer = filled(&deed.values);
                    let flags = WriteFlags::COMPRESSED;
                    root.write_with(from * SECTOR, buffer.source(), flags)
                        .await
                        .expect("written");
                    vec![watch.end(deed)]
                }
                0..=5 => {
                    let mut deed = watch.begin(from, vec![value; (to - from) as usize]);
                    deed.through = value % 8 == 7;
                    let flags = match deed.through {
                        true => WriteFlags::FUA,
                        false => WriteFlags::empty(),
                    };
                    let buffer = filled(&deed.values);
                    root.write_with(from * SECTOR, buffer.source(), flags)
                        .await
                        .expect("written");
                    vec![watch.end(deed)]
                }
                6 | 7 => {
                    let deed = watch.begin(from, vec![0; (to - from) as usize]);
                    let flags = [WriteFlags::MAY_UNMAP, WriteFlags::empty()][kind as usize - 6];
                    root.write_zeroes(from * SECTOR, (to - from) * SECTOR, flags)
                        .await
                        .expect("zeroed");
                    vec![watch.end(deed)]
                }
                8 => discard(&root, &watch, from, to).await,
                _ => {
                    let mut deed = watch.begin(from, Vec::new());
                    deed.flush = true;
                    root.flush().await.expect("flushed");
                    vec![watch.end(deed)]
                }
            }
        })
    }

    /// A few requests at once.
    fn requests(&mut self, bql: &mut BqlGuard) {
        // Those that run at once do not overlap: nobody knows who wins.
        let cluster = match self.plan.compressed {
            true => self.plan.create.cluster_size / SECTOR,
            false => 1,
        };
        let slot = (self.size / self.plan.at_once / cluster).max(1) * cluster;
        let mut all: Vec<Boxed<Vec<Deed>>> = Vec::new();
        for number in 0..self.plan.at_once {
            let (first, last) = (number * slot, ((number + 1) * slot).min(self.size));
            if first >= last {
                break;
            }
            let request = self.request(first, last);
            if self.threads.is_empty() {
                all.push(request);
                continue;
            }
            let thread = &self.threads[number as usize % self.threads.len()];
            all.push(Box::pin(thread.context().spawn(request)));
        }
        let done = bql.block_on(together(all));
        self.deeds.extend(done.into_iter().flatten());
    }

    /// Something that concerns all of the image, as far as the plan has such.
    fn change(&mut self, bql: &mut BqlGuard) {
        let plan = self.plan;
        match self.random.next(6) {
            0 if plan.snapshots => self.take(bql),
            1 if plan.snapshots => self.go_to(bql),
            2 if plan.snapshots => self.forget(bql),
            3 if plan.resizes => self.resize(bql),
            4 if plan.amends => self.amend(bql),
            5 if plan.backing > 0 && self.random.next(3) == 0 => self.leave_backing(bql),
            _ => self.requests(bql),
        }
    }

    fn take(&mut self, bql: &mut BqlGuard) {
        if self.snapshots.len() > 6 {
            return;
        }
        let values = self.seen(bql);
        let mut info = SnapshotInfo {
            name: format!("s{}", self.value),
            ..Default::default()
        };
        self.value += 1;
        let mut deed = self.watch.begin(0, Vec::new());
        self.node
            .drain(bql)
            .create_snapshot(&mut info)
            .expect("made");
        deed.flush = true;
        let deed = self.watch.end(deed);
        let times = [deed.before, deed.after, usize::MAX, usize::MAX];
        self.deeds.push(deed);
        self.snapshots.insert(info.name, Taken { values, times });
    }

    /// A snapshot that is there.
    fn some_snapshot(&mut self) -> Option<String> {
        let there = |taken: &Taken| taken.times[2] == usize::MAX;
        let names = self.snapshots.iter().filter(|(_, taken)| there(taken));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        let number = self.random.next(names.len().max(1) as u64) as usize;
        names.get(number).cloned()
    }

    fn go_to(&mut self, bql: &mut BqlGuard) {
        let Some(name) = self.some_snapshot() else {
            return;
        };
        let values = self.snapshots[&name].values.clone();
        let deed = self.watch.begin(0, values);
        self.node.drain(bql).goto_snapshot(&name).expect("gone to");
        let deed = self.watch.end(deed);
        self.size = (deed.values.iter())
            .position(|value| *value == GONE)
            .map_or(self.count, |at| at as u64);
        assert_eq!(self.node.io().length(), self.size * SECTOR);
        assert_eq!(self.seen(bql), deed.values, "{name}");
        self.deeds.push(deed);
        self.settle();
    }

    /// What was done until now is durable.
    fn settle(&mut self) {
        let mut deed = self.watch.begin(0, Vec::new());
        deed.flush = true;
        let deed = self.watch.end(deed);
        self.deeds.push(deed);
    }

    fn forget(&mut self, bql: &mut BqlGuard) {
        let Some(name) = self.some_snapshot() else {
            return;
        };
        let before = self.watch.disk.now();
        let which = SnapshotKey {
            id: None,
            name: Some(&name),
        };
        self.node
            .drain(bql)
            .delete_snapshot(which)
            .expect("deleted");
        let taken = self.snapshots.get_mut(&name).expect("it was there");
        taken.times[2] = before;
        taken.times[3] = self.watch.disk.now();
    }

    fn resize(&mut self, bql: &mut BqlGuard) {
        let new = 1 + self.random.next(self.count);
        let (from, to) = (self.size.min(new), self.size.max(new));
        let sectors = (to - from) as usize;
        let mut deeds = vec![self.watch.begin(from, vec![0; sectors])];
        if new < self.size {
            // What is below may show before the end is there.
            let below = (from..to).map(|at| {
                if at < self.plan.backing {
                    BELOW + at
                } else {
                    0
                }
            });
            deeds.push(self.watch.begin(from, below.collect()));
            deeds.push(self.watch.begin(from, vec![GONE; sectors]));
        }
        let disk = backend(bql, &self.node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        let length = new * SECTOR;
        match bql.block_on(disk.root().truncate(length, true, Preallocation::Off)) {
            // An old image has snapshots of one length.
            Err(error) if error.errno() == errno::ENOTSUP && !self.snapshots.is_empty() => return,
            outcome => outcome.expect("resized"),
        }
        self.size = new;
        let deeds = deeds.into_iter().map(|deed| self.watch.end(deed));
        self.deeds.extend(deeds);
        self.settle();
    }

    /// Nothing that the guest sees changes.
    fn amend(&mut self, bql: &mut BqlGuard) {
        let choices = [
            ("lazy_refcounts", "on"),
            ("lazy_refcounts", "off"),
            ("compat", "1.1"),
            ("compat", "0.10"),
            ("refcount_bits", "16"),
            ("refcount_bits", "16"),
            ("refcount_bits", "64"),
            ("refcount_bits", "8"),
        ];
        let number = self.random.next(choices.len() as u64);
        let (key, value) = choices[number as usize];
        let options = Value::map([(key, Value::from(value))]);
        // Not all of it can be done to any image.
        let _ = self.node.drain(bql).amend_options(&options, false);
    }

    /// Everything is written once more, and then nothing is below any more.
    fn leave_backing(&mut self, bql: &mut BqlGuard) {
        // Snapshots need what is below.
        let is_needed = !self.snapshots.is_empty();
        if is_needed || !std::mem::take(&mut self.has_backing) {
            return;
        }
        let values = self.seen(bql);
        let deed = self.watch.begin(0, values[..self.size as usize].to_vec());
        write(bql, &self.device, 0, filled(&deed.values).as_slice()).expect("written");
        let rename = async |request: Request<'_>| {
            let none: Option<BackingName<'_>> = None;
            request.change_backing_file(none).await
        };
        self.node.drain(bql).io(rename).expect("renamed");
        self.node.drain(bql).set_backing(None).expect("let go");
        let deed = self.watch.end(deed);
        self.deeds.push(deed);
        self.settle();
    }
}

/// What becomes of a discarded sector is up to the image; what is read
/// afterwards stays.
async fn discard(root: &Root, watch: &Watch, from: u64, to: u64) -> Vec<Deed> {
    let look = async || {
        let mut buffer = filled(&vec![1; (to - from) as usize]);
        root.read(from * SECTOR, buffer.destination())
            .await
            .expect("read");
        numbers(buffer.as_slice(), "discarding")
    };
    let old = look().await;
    let mut deed = watch.begin(from, Vec::new());
    root.discard(from * SECTOR, (to - from) * SECTOR)
        .await
        .expect("given up");
    deed.values = look().await;
    for (old, new) in old.iter().zip(&deed.values) {
        assert!(
            old == new || *new == 0 || *new >= BELOW,
            "{old} became {new}"
        );
    }
    vec![watch.end(deed)]
}

/// Does what the plan says, fails at many moments, and looks at what is left.
pub fn crash(plan: &Plan) {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    let more = std::env::var("QUIESCE_CRASH_ROUNDS");
    let more: u64 = more.map_or(0, |number| number.parse().expect("a number"));
    for round in 0..=more {
        let mut plan = plan.clone();
        plan.seed += 1000 * round;
        let most = if more > 0 { usize::MAX } else { 24 };
        in_layer(|bql, directory| crash_once(bql, directory.path(), &qemu_img, &plan, most));
    }
}

fn crash_once(bql: &mut BqlGuard, directory: &Path, qemu_img: &Tool, plan: &Plan, most: usize) {
    let mut plan = plan.clone();
    if let Some(name) = &mut plan.create.data_file {
        // Relative names count from where a tool was started.
        *name = directory.join("data").to_str().expect("text").to_owned();
    }
    let plan = &plan;
    let mut files = match plan.device {
        true => make_on_device(bql, plan),
        false => make(bql, &plan.create),
    };
    let count = plan.create.size / SECTOR;
    let below = |at: u64| if at < plan.backing { BELOW + at } else { 0 };
    let base: Vec<u64> = (0..plan.backing).map(below).collect();
    files[BASE] = filled(&base).as_slice().to_vec();
    let disk = plan.disk(files.clone(), plan.seed);
    let node = image_over(bql, &disk, plan.options.clone());
    let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
    device.set_allow_context_change(bql, true);
    let threads = (0..plan.threads).map(|number| IoThread::create(bql, &format!("io{number}")));
    let threads: Vec<IoThread> = threads.collect::<Result<_, _>>().expect("iothreads");
    let mut running = Running {
        plan,
        watch: Watch {
            disk: disk.clone(),
            clock: Arc::new(AtomicU64::new(0)),
        },
        node,
        device,
        random: Random(plan.seed),
        count,
        size: count,
        value: 1,
        deeds: Vec::new(),
        snapshots: BTreeMap::new(),
        threads,
        has_backing: plan.backing > 0,
    };
    for _ in 0..plan.rounds {
        running.change(bql);
    }
    let last = running.seen(bql);
    let Running {
        node,
        device,
        deeds,
        snapshots,
        threads,
        mut random,
        ..
    } = running;
    drop((node, device));
    bql.poll(block_io::aio::Wait::No);
    for thread in threads {
        thread.remove(bql).expect("nobody is there");
    }
    let (steps, ended) = {
        let state = disk.lock();
        (state.steps.clone(), state.files.clone())
    };
    let cuts = cuts(&steps);
    assert!(cuts.len() > 4, "there is something to cut");
    let first: Vec<u64> = (0..count).map(below).collect();
    let mut look = Look {
        plan,
        qemu_img,
        directory,
        first: &first,
        deeds: &deeds,
        snapshots: &snapshots,
        random: Random(plan.seed ^ 77),
        with_qemu: false,
        is_whole: false,
    };
    let skip = (cuts.len() * 3).div_ceil(most) as u64;
    for (number, cut) in cuts.iter().enumerate() {
        for attempt in 0..3 {
            if random.next(skip) > 0 {
                continue;
            }
            let fate = match attempt {
                0 => Fate::Nothing,
                1 => Fate::Sectors(3 + 4 * random.next(2)),
                _ => Fate::any(&mut random),
            };
            let files = cut_off(&files, &steps, *cut, &mut random, fate);
            let name = format!("seed {}, cut {number}, {fate:?}", plan.seed);
            look.with_qemu = random.next(6) == 0;
            look.at(bql, files, *cut, &name);
        }
    }
    // And without any failure.
    (look.with_qemu, look.is_whole) = (true, true);
    let end = (steps.len(), steps.len() + 1);
    let seen = look.at(bql, ended, end, "at the end");
    assert_eq!(seen, last, "at the end");
}

/// Whether the stored header says that counts may be wrong.
fn says_dirty(files: &[Vec<u8>]) -> bool {
    // Before version 3 something else is there.
    files[IMAGE][7] >= 3 && files[IMAGE][79] & 1 != 0
}

/// Looks at what is left.
struct Look<'l> {
    plan: &'l Plan,
    qemu_img: &'l Tool,
    directory: &'l Path,
    first: &'l [u64],
    deeds: &'l [Deed],
    snapshots: &'l BTreeMap<String, Taken>,
    random: Random,
    with_qemu: bool,
    /// Nothing has failed.
    is_whole: bool,
}

impl Look<'_> {
    fn at(
        &mut self,
        bql: &mut BqlGuard,
        files: Vec<Vec<u8>>,
        cut: (usize, usize),
        name: &str,
    ) -> Vec<u64> {
        let theirs = match self.with_qemu {
            true => self.qemu_looks(&files, name),
            false => None,
        };
        let disk = self.plan.disk(files.clone(), self.random.next(1 << 20));
        let options = Qcow2Options {
            l2_cache_size: [None, Some(1024), Some(8192)][self.random.next(3) as usize],
            ..Default::default()
        };
        let node = image_over(bql, &disk, options.clone());
        let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
        let size = node.io().length();
        let bytes = read(bql, &device, 0, size as usize).expect("read");
        let seen = numbers(&bytes, name);
        assert!(!says_dirty(&disk.lock().files), "{name}: it is repaired");
        if let Some(theirs) = theirs {
            assert!(theirs == bytes, "{name}: QEMU repairs it otherwise");
        }
        let mut all = seen.clone();
        all.resize(self.first.len(), GONE);
        assert_allowed(self.first, self.deeds, cut, &all, name);
        let there = self.snapshots_there(bql, &node, cut, name);
        self.check(bql, &node, name);
        let repair_first = self.random.next(2) == 0;
        if repair_first {
            self.repair(bql, &node, name);
        }
        let mut now = seen.clone();
        let deeds = self.go_on(bql, &disk, &device, &mut now, name);
        if !repair_first {
            self.repair(bql, &node, name);
        }
        let bytes = read(bql, &device, 0, size as usize).expect("read");
        assert!(
            numbers(&bytes, name) == now,
            "{name}: after the second time"
        );
        drop((device, node));
        bql.poll(block_io::aio::Wait::No);
        if self.with_qemu {
            self.qemu_agrees(&disk, &now, name);
        }
        self.fail_again(bql, (&files, &disk), (&seen, &deeds), &there, name);
        let node = image_over(bql, &disk, options);
        self.look_at_snapshots(bql, &node, &there, name);
        drop(node);
        bql.poll(block_io::aio::Wait::No);
        all
    }

    /// Lets power fail once more, while what is left is repaired or the second
    /// guest works on it.
    fn fail_again(
        &mut self,
        bql: &mut BqlGuard,
        (files, disk): (&[Vec<u8>], &Arc<Disk>),
        (first, deeds): (&[u64], &[Deed]),
        there: &[String],
        name: &str,
    ) {
        let steps = disk.lock().steps.clone();
        let cuts = cuts(&steps);
        let number = self.random.next(cuts.len() as u64) as usize;
        let fate = Fate::any(&mut self.random);
        let left = cut_off(files, &steps, cuts[number], &mut self.random, fate);
        let name = &format!("{name}, then cut {number}, {fate:?}");
        let disk = self.plan.disk(left, self.random.next(1 << 20));
        let node = image_over(bql, &disk, Qcow2Options::default());
        let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
        let bytes = read(bql, &device, 0, first.len() * SECTOR as usize).expect("read");
        assert_allowed(first, deeds, cuts[number], &numbers(&bytes, name), name);
        self.check(bql, &node, name);
        drop(device);
        self.look_at_snapshots(bql, &node, there, name);
        drop(node);
        bql.poll(block_io::aio::Wait::No);
    }

    /// Each shows what it showed.
    fn look_at_snapshots(&self, bql: &mut BqlGuard, node: &Node, there: &[String], name: &str) {
        for snapshot in there {
            let taken = &self.snapshots[snapshot];
            node.drain(bql).goto_snapshot(snapshot).expect("gone to");
            let size = node.io().length();
            let reader = backend(bql, node, Perm::CONSISTENT_READ).expect("a reader");
            let bytes = read(bql, &reader, 0, size as usize).expect("read");
            let mut seen = numbers(&bytes, name);
            seen.resize(self.first.len(), GONE);
            assert!(seen == taken.values, "{name}: snapshot {snapshot}");
        }
    }

    /// Which snapshots there are; those that have to be are.
    fn snapshots_there(
        &self,
        bql: &mut BqlGuard,
        node: &Node,
        (cut, next): (usize, usize),
        name: &str,
    ) -> Vec<String> {
        let listed = node.view(bql).snapshots(bql).expect("listed");
        let listed: Vec<String> = listed.into_iter().map(|info| info.name).collect();
        for (snapshot, taken) in self.snapshots {
            let [begun, there, leaving, gone] = taken.times;
            let is_listed = listed.contains(snapshot);
            let must = there <= cut && leaving >= next;
            let may = begun < next && gone > cut;
            assert!(
                (is_listed || !must) && (may || !is_listed),
                "{name}: {snapshot} with {:?} is there: {is_listed}",
                taken.times
            );
        }
        listed
    }

    /// Nothing is wrong but leaks. Where a snapshot was being made or deleted
    /// flags may differ from counts: they are not in one cluster.
    fn check(&self, bql: &mut BqlGuard, node: &Node, name: &str) {
        let (found, said) = look_at(bql, node);
        assert_eq!(found.check_errors, 0, "{name}: {found:?}");
        assert!(
            found.corruptions == 0 || (self.plan.snapshots && only_flags(&said)),
            "{name}: {found:?} {said}"
        );
    }

    fn repair(&self, bql: &mut BqlGuard, node: &Node, name: &str) {
        let repairs = match self.plan.snapshots {
            true => Repairs::LEAKS | Repairs::ERRORS,
            false => Repairs::LEAKS,
        };
        let check = async |request: Request<'_>| {
            request.check(repairs).await?;
            request.check(Repairs::empty()).await
        };
        let found = node.drain(bql).io(check).expect("looked at");
        assert_eq!((found.corruptions, found.leaks), (0, 0), "{name}");
    }

    /// A second guest works on what is left.
    fn go_on(
        &mut self,
        bql: &mut BqlGuard,
        disk: &Arc<Disk>,
        device: &Backend,
        now: &mut [u64],
        name: &str,
    ) -> Vec<Deed> {
        let count = now.len() as u64;
        let watch = Watch {
            disk: disk.clone(),
            clock: Arc::default(),
        };
        let mut deeds = Vec::new();
        for number in 0..20 {
            let value = (1 << 30) + number;
            let from = self.random.next(count);
            let most = [1, 9, 200][self.random.next(3) as usize];
            let to = (from + 1 + self.random.next(most)).min(count);
            let range = from as usize..to as usize;
            let (offset, bytes) = (from * SECTOR, (to - from) * SECTOR);
            let root = device.root();
            let mut deed = watch.begin(from, Vec::new());
            match self.random.next(6) {
                0..=2 => {
                    deed.values = vec![value; range.len()];
                    let buffer = filled(&deed.values);
                    write(bql, device, offset, buffer.as_slice()).expect("written");
                }
                3 => {
                    deed.values = vec![0; range.len()];
                    let flags = [WriteFlags::MAY_UNMAP, WriteFlags::empty()];
                    let flags = flags[self.random.next(2) as usize];
                    bql.block_on(root.write_zeroes(offset, bytes, flags))
                        .expect("zeroed");
                }
                4 => {
                    bql.block_on(root.discard(offset, bytes)).expect("given up");
                    let seen = read(bql, device, offset, bytes as usize).expect("read");
                    deed.values = numbers(&seen, name);
                    for (old, new) in now[range.clone()].iter().zip(&deed.values) {
                        let fine = old == new || *new == 0 || *new >= BELOW;
                        assert!(fine, "{name}: {old} became {new}");
                    }
                }
                _ => {
                    deed.flush = true;
                    bql.block_on(root.flush()).expect("flushed");
                }
            }
            let deed = watch.end(deed);
            now[range.start..range.start + deed.values.len()].copy_from_slice(&deed.values);
            deeds.push(deed);
        }
        deeds
    }

    fn put(&self, files: &[Vec<u8>]) -> std::path::PathBuf {
        let path = self.directory.join("crashed");
        std::fs::write(&path, &files[IMAGE]).expect("written");
        for (file, name) in [(DATA, "data"), (BASE, "base")] {
            std::fs::write(self.directory.join(name), &files[file]).expect("written");
        }
        path
    }

    /// What QEMU reads of an image whose counts it has to repair first.
    fn qemu_looks(&self, files: &[Vec<u8>], name: &str) -> Option<Vec<u8>> {
        let path = self.put(files);
        let text = path.to_str().expect("text");
        if says_dirty(files) {
            let check = ["check", "-q", "-f", "qcow2", "-r", "all", text];
            let code = self.qemu_img.run(check).status.code();
            assert_eq!(code, Some(0), "{name}: QEMU cannot repair it");
            return Some(qemu_reads(self.qemu_img, &path));
        }
        let check = self.qemu_img.run(["check", "-f", "qcow2", text]);
        let said = said_by(&check);
        let fine = match check.status.code() {
            Some(0 | 3) => true,
            // What differs is put right by the next repair, and harmless.
            Some(2) if self.plan.snapshots => only_flags(&said),
            _ => false,
        };
        assert!(fine, "{name}: {said}");
        None
    }

    fn qemu_agrees(&self, disk: &Disk, now: &[u64], name: &str) {
        let path = self.put(&disk.lock().files);
        let check = self.qemu_img.run(["check", path.to_str().expect("text")]);
        // A leak behind the end of the file is found when that is longer.
        let fine = matches!(check.status.code(), Some(0 | 3));
        assert!(fine, "{name}: {check:?}");
        let bytes = qemu_reads(self.qemu_img, &path);
        assert!(numbers(&bytes, name) == now, "{name}: QEMU reads otherwise");
        // After a failure the mapping may be older than the data.
        if self.plan.create.data_file_raw && self.is_whole {
            let data = &disk.lock().files[DATA];
            let shown = numbers(data, name);
            let differs = now.iter().zip(&shown).position(|(one, other)| one != other);
            assert_eq!(differs, None, "{name}: raw data");
            assert!(shown.len() >= now.len(), "{name}: raw data");
        }
    }
}
