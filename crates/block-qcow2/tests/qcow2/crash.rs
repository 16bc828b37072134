//! Crashes: whatever part of what was written since the last flush is stored,
//! an image has what it had before or after, and no more than leaks.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use block_gs::{BlockDriver, BqlGuard, Node, NodeBuilder, Perm};
use block_io::aio::yield_now;
use block_io::{
    Buffer, Capabilities, Destination, DriverIo, IoFuture, Request, Source, Truncation, WriteFlags,
};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};

use crate::support::{READ_WRITE, Tool, backend, disk, in_layer, read};
use crate::writing::Random;

/// What reached the file.
#[derive(Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Flush,
}

/// A file in memory that remembers in which order it was written.
struct Recorder {
    state: Mutex<State>,
}

struct State {
    bytes: Vec<u8>,
    steps: Vec<Step>,
    random: Random,
}

impl Recorder {
    fn new(bytes: Vec<u8>, seed: u64) -> Arc<Recorder> {
        let state = State {
            bytes,
            steps: Vec::new(),
            random: Random(seed),
        };
        Arc::new(Recorder {
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Lets others go first, now and then.
    async fn dawdle(&self) {
        let times = self.lock().random.next(4);
        for _ in 0..times {
            yield_now().await;
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let end = offset as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset as usize..end].copy_from_slice(data);
}

impl DriverIo for Recorder {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            flushes_to_disk: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(&'r self, _: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.dawdle().await;
            let state = self.lock();
            let mut data = vec![0; into.len()];
            let from = (offset as usize).min(state.bytes.len());
            let there = (state.bytes.len() - from).min(data.len());
            data[..there].copy_from_slice(&state.bytes[from..from + there]);
            into.copy_from_slice(&data);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.dawdle().await;
            let mut data = vec![0; from.len()];
            from.copy_to_slice(&mut data);
            let state = &mut *self.lock();
            put(&mut state.bytes, offset, &data);
            state.steps.push(Step::Write(offset, data));
            Ok(())
        })
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let state = &mut *self.lock();
        state.bytes.resize(to.length as usize, 0);
        state.steps.push(Step::Length(to.length));
        IoFuture::done()
    }

    fn flush_to_disk<'r>(&'r self, _: Request<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.dawdle().await;
            self.lock().steps.push(Step::Flush);
            Ok(())
        })
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.lock().bytes.len() as u64))
    }
}

impl BlockDriver for Recorder {
    fn format_name(&self) -> &'static str {
        "recorder"
    }
}

fn over(bql: &mut BqlGuard, recorder: &Arc<Recorder>) -> Node {
    let driver: Arc<dyn BlockDriver> = recorder.clone();
    NodeBuilder::new("").open(bql, driver).expect("opened")
}

fn image_over(bql: &mut BqlGuard, recorder: &Arc<Recorder>, options: Qcow2Options) -> Node {
    let file = over(bql, recorder);
    let image = Qcow2Image::read(bql, &file).expect("an image");
    let node = block_gs::NodeOptions {
        unmap: true,
        ..Default::default()
    };
    image
        .settings(options)
        .options(node)
        .open(bql, "")
        .expect("opened")
}

/// What a guest has done, and how much had reached the file before and after.
struct Deed {
    from: u64,
    to: u64,
    /// What each sector then begins with; `None` for a flush.
    value: Option<u64>,
    before: usize,
    after: usize,
    /// In which order deeds began and ended.
    began: u64,
    ended: u64,
}

const SECTOR: u64 = 512;

type Boxed<'f> = Pin<Box<dyn Future<Output = Deed> + 'f>>;

/// Waits for all of them at once.
async fn together(mut all: Vec<Boxed<'_>>) -> Vec<Deed> {
    let mut done = Vec::new();
    poll_fn(|context| {
        all.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Ready(deed) => {
                done.push(deed);
                false
            }
            Poll::Pending => true,
        });
        if all.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done
}

fn sectors(value: u64, count: u64) -> Buffer {
    let mut buffer = Buffer::zeroed((count * SECTOR) as usize);
    for sector in buffer.as_mut_slice().chunks_exact_mut(SECTOR as usize) {
        for word in sector.chunks_exact_mut(8) {
            word.copy_from_slice(&value.to_be_bytes());
        }
    }
    buffer
}

pub(super) struct Plan {
    /// Some writes are compressed; they take whole clusters.
    pub(super) compressed: bool,
    pub(super) create: CreateOptions,
    pub(super) options: Qcow2Options,
    pub(super) seed: u64,
    pub(super) rounds: u64,
    pub(super) at_once: u64,
}

pub(super) fn crash(plan: &Plan) {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let recorder = Recorder::new(Vec::new(), plan.seed);
        let file = over(bql, &recorder);
        let maker = backend(bql, &file, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        bql.block_on(plan.create.write_to(maker.root(), None))
            .expect("made");
        drop((maker, file));
        let fresh = recorder.lock().bytes.clone();
        let recorder = Recorder::new(fresh.clone(), plan.seed);
        let node = image_over(bql, &recorder, plan.options.clone());
        let disk = disk(bql, &node);
        let mut random = Random(plan.seed);
        let count = plan.create.size / SECTOR;
        let mut deeds: Vec<Deed> = Vec::new();
        let mut value = 1;
        let clock = Cell::new(0);
        let tick = || clock.replace(clock.get() + 1);
        for _ in 0..plan.rounds {
            let mut all: Vec<Boxed<'_>> = Vec::new();
            // Those that run at once do not overlap: nobody knows who wins.
            let slot = count / plan.at_once;
            for number in 0..plan.at_once {
                let from = number * slot + random.next(slot);
                let most = [1, 9, 200][random.next(3) as usize];
                let to = (from + 1 + random.next(most)).min((number + 1) * slot);
                let kind = random.next(10);
                value += 1;
                let value = value;
                let (recorder, root) = (&recorder, disk.root());
                let tick = &tick;
                all.push(Box::pin(async move {
                    let began = tick();
                    let before = recorder.lock().steps.len();
                    let (offset, bytes) = (from * SECTOR, (to - from) * SECTOR);
                    let mut deed = Deed {
                        from,
                        to,
                        value: Some(value),
                        before,
                        after: 0,
                        began,
                        ended: 0,
                    };
                    match kind {
                        4 | 5 if plan.compressed => {
                            let cluster = plan.create.cluster_size / SECTOR;
                            deed.from = from / cluster * cluster;
                            deed.to = deed.from + cluster;
                            let buffer = sectors(value, cluster);
                            let offset = deed.from * SECTOR;
                            root.write_with(offset, buffer.source(), WriteFlags::COMPRESSED)
                                .await
                                .expect("written");
                        }
                        0..=5 => {
                            let buffer = sectors(value, to - from);
                            root.write(offset, buffer.source()).await.expect("written");
                        }
                        6 => {
                            deed.value = Some(0);
                            root.write_zeroes(offset, bytes, WriteFlags::MAY_UNMAP)
                                .await
                                .expect("zeroed");
                        }
                        7 => {
                            deed.value = Some(0);
                            root.write_zeroes(offset, bytes, WriteFlags::empty())
                                .await
                                .expect("zeroed");
                        }
                        _ => {
                            deed.value = None;
                            root.flush().await.expect("flushed");
                        }
                    }
                    deed.after = recorder.lock().steps.len();
                    deed.ended = tick();
                    deed
                }));
            }
            deeds.extend(bql.block_on(together(all)));
        }
        let steps = recorder.lock().steps.clone();
        drop((disk, node));
        bql.poll(block_io::aio::Wait::No);
        let flushes: Vec<usize> = (0..steps.len())
            .filter(|at| matches!(steps[*at], Step::Flush))
            .collect();
        assert!(flushes.len() > 8, "there is something to cut");
        for (number, cut) in std::iter::once(0)
            .chain(flushes.iter().map(|at| at + 1))
            .enumerate()
        {
            let next = flushes
                .iter()
                .copied()
                .find(|at| *at >= cut)
                .unwrap_or(steps.len());
            for attempt in 0..3 {
                let mut bytes = fresh.clone();
                for step in &steps[..cut] {
                    apply(&mut bytes, step, |_| true);
                }
                let keep = [0, 3, 7][attempt];
                for step in &steps[cut..next] {
                    apply(&mut bytes, step, |_| random.next(10) < keep);
                }
                let name = format!("cut {number}, attempt {attempt}");
                look(
                    bql,
                    &qemu_img,
                    directory.path(),
                    bytes,
                    &deeds,
                    (cut, next),
                    count,
                    &name,
                );
            }
        }
    });
}

/// Does a step, sector by sector as far as `stored` says.
fn apply(bytes: &mut Vec<u8>, step: &Step, mut stored: impl FnMut(usize) -> bool) {
    match step {
        Step::Write(offset, data) => {
            let mut at = 0;
            while at < data.len() {
                let end = ((*offset as usize + at) / 512 + 1) * 512 - *offset as usize;
                let end = end.min(data.len());
                if stored(at) {
                    put(bytes, offset + at as u64, &data[at..end]);
                }
                at = end;
            }
        }
        Step::Length(length) => bytes.resize(*length as usize, 0),
        Step::Flush => {}
    }
}

#[allow(clippy::too_many_arguments)]
fn look(
    bql: &mut BqlGuard,
    qemu_img: &Tool,
    directory: &std::path::Path,
    bytes: Vec<u8>,
    deeds: &[Deed],
    (cut, next): (usize, usize),
    count: u64,
    name: &str,
) {
    let path = directory.join("crashed");
    let bytes = crate::lazy::repaired(bql, qemu_img, directory, bytes, name);
    std::fs::write(&path, &bytes).expect("written");
    let check = qemu_img.run(["check", "-f", "qcow2", path.to_str().expect("text")]);
    let code = check.status.code();
    assert!(
        code == Some(0) || code == Some(3),
        "{name}: {}",
        String::from_utf8_lossy(&check.stdout)
    );
    let recorder = Recorder::new(bytes, 0);
    let node = image_over(bql, &recorder, Qcow2Options::default());
    let disk = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
    let seen = read(bql, &disk, 0, (count * SECTOR) as usize).expect("read");
    // The last flush of the guest that was over.
    let flushed = deeds
        .iter()
        .filter(|deed| deed.value.is_none() && deed.after <= cut)
        .map(|deed| deed.began)
        .max();
    for sector in 0..count {
        let at = (sector * SECTOR) as usize;
        let seen = &seen[at..at + SECTOR as usize];
        let value = u64::from_be_bytes(seen[..8].try_into().expect("eight"));
        assert!(
            seen.chunks_exact(8).all(|word| word == &seen[..8]),
            "{name}: sector {sector} is torn"
        );
        let mut allowed = vec![0];
        let here = deeds
            .iter()
            .filter(|deed| (deed.from..deed.to).contains(&sector));
        for deed in here {
            let Some(written) = deed.value else { continue };
            if deed.before > next {
                break;
            }
            if flushed.is_some_and(|began| deed.ended < began) {
                allowed.clear();
            }
            allowed.push(written);
        }
        assert!(
            allowed.contains(&value),
            "{name}: sector {sector} has {value}, not {allowed:?}"
        );
    }
}

pub(super) fn plan(seed: u64, create: CreateOptions) -> Plan {
    Plan {
        create,
        options: Qcow2Options::default(),
        compressed: false,
        seed,
        rounds: 50,
        at_once: 1,
    }
}

#[test]
fn one_after_the_other() {
    for seed in 1..3 {
        crash(&plan(
            seed,
            CreateOptions {
                cluster_size: 4096,
                ..CreateOptions::new(2 << 20)
            },
        ));
    }
}

#[test]
fn many_at_once() {
    for seed in 1..3 {
        let create = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(2 << 20)
        };
        crash(&Plan {
            at_once: 4,
            rounds: 25,
            ..plan(seed, create)
        });
    }
}

#[test]
fn while_tables_grow() {
    let create = CreateOptions {
        cluster_size: 512,
        refcount_bits: 64,
        ..CreateOptions::new(8 << 20)
    };
    crash(&Plan {
        at_once: 3,
        rounds: 25,
        ..plan(9, create)
    });
}

#[test]
fn while_caches_overflow() {
    let create = CreateOptions {
        cluster_size: 512,
        ..CreateOptions::new(4 << 20)
    };
    let options = Qcow2Options {
        l2_cache_size: Some(1024),
        ..Default::default()
    };
    crash(&Plan {
        at_once: 3,
        rounds: 30,
        options,
        ..plan(5, create)
    });
}

#[test]
fn with_subclusters() {
    let create = CreateOptions {
        cluster_size: 16384,
        extended_l2: true,
        ..CreateOptions::new(2 << 20)
    };
    crash(&Plan {
        at_once: 3,
        rounds: 25,
        ..plan(6, create)
    });
}

#[test]
fn with_compressed_clusters() {
    for seed in 7..9 {
        let create = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(1 << 20)
        };
        crash(&Plan {
            compressed: true,
            ..plan(seed, create)
        });
    }
}

/// Polls a request a few times and gives it up if it is not over by then.
async fn a_few_times<T>(times: u64, request: impl Future<Output = T>) -> Option<T> {
    let mut request = std::pin::pin!(request);
    let mut left = times;
    poll_fn(|context| {
        if let Poll::Ready(outcome) = request.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[test]
fn what_is_given_up_anywhere_leaves_old_or_new_data() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        for (seed, extended_l2) in [(21, false), (22, true), (23, false)] {
            let cluster_size = if extended_l2 { 16384 } else { 4096 };
            let create = CreateOptions {
                cluster_size,
                extended_l2,
                ..CreateOptions::new(2 << 20)
            };
            let recorder = Recorder::new(Vec::new(), seed);
            let file = over(bql, &recorder);
            let maker = backend(bql, &file, READ_WRITE | Perm::RESIZE).expect("nobody objects");
            bql.block_on(create.write_to(maker.root(), None))
                .expect("made");
            drop((maker, file));
            let node = image_over(bql, &recorder, Qcow2Options::default());
            let disk = disk(bql, &node);
            let mut random = Random(seed);
            let count = create.size / SECTOR;
            let mut model = vec![0u64; count as usize];
            for value in 1..400u64 {
                let from = random.next(count);
                let most = [1, 9, 60][random.next(3) as usize];
                let to = (from + 1 + random.next(most)).min(count);
                let (offset, bytes) = (from * SECTOR, (to - from) * SECTOR);
                let times = random.next(40);
                let kind = random.next(8);
                let root = disk.root();
                let done = bql.block_on(async {
                    match kind {
                        0..=3 => {
                            let buffer = sectors(value, to - from);
                            a_few_times(times, root.write(offset, buffer.source())).await
                        }
                        4 | 5 => {
                            let flags =
                                [WriteFlags::MAY_UNMAP, WriteFlags::empty()][kind as usize - 4];
                            a_few_times(times, root.write_zeroes(offset, bytes, flags)).await
                        }
                        _ => a_few_times(times, root.flush()).await,
                    }
                });
                let new = match kind {
                    0..=3 => value,
                    4 | 5 => 0,
                    _ => continue,
                };
                if let Some(outcome) = done {
                    outcome.expect("done");
                    model[from as usize..to as usize].fill(new);
                    continue;
                }
                let seen = read(bql, &disk, offset, bytes as usize).expect("read");
                for (sector, seen) in (from..to).zip(seen.chunks_exact(SECTOR as usize)) {
                    let value = u64::from_be_bytes(seen[..8].try_into().expect("eight"));
                    let old = &mut model[sector as usize];
                    assert!(
                        value == *old || value == new,
                        "sector {sector}: {value}, not {old} or {new}"
                    );
                    *old = value;
                }
            }
            let seen = read(bql, &disk, 0, create.size as usize).expect("read");
            for (sector, seen) in seen.chunks_exact(SECTOR as usize).enumerate() {
                let value = u64::from_be_bytes(seen[..8].try_into().expect("eight"));
                assert_eq!(value, model[sector], "sector {sector}");
            }
            drop((disk, node));
            bql.poll(block_io::aio::Wait::No);
            let path = directory.path().join("image");
            std::fs::write(&path, &recorder.lock().bytes).expect("written");
            let check = qemu_img.run(["check", "-f", "qcow2", path.to_str().expect("text")]);
            assert!(
                check.status.success(),
                "{}",
                String::from_utf8_lossy(&check.stdout)
            );
        }
    });
}
