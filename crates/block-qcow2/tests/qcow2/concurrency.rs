//! Many writers at once, on several threads and real files.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_gs::{IoThread, SnapshotInfo};
use block_io::{Buffer, WriteFlags};
use block_qcow2::CreateOptions;

use crate::support::{Random, Tool, create, disk, in_layer, open, qemu_reads, read};

const SECTOR: u64 = 512;

/// How many tasks write.
const WRITERS: u64 = 4;

/// What was written to each sector, one after the other; the last is under
/// way unless `over` counts it.
#[derive(Clone, Default)]
struct History {
    values: Vec<u8>,
    over: usize,
}

type Histories = Arc<Mutex<Vec<History>>>;

impl History {
    fn fresh() -> History {
        History {
            values: vec![0],
            over: 1,
        }
    }
}

fn begin(all: &Histories, sectors: std::ops::Range<u64>, value: u8) {
    let all = &mut *all.lock().expect("not poisoned");
    for sector in sectors {
        all[sector as usize].values.push(value);
    }
}

fn end(all: &Histories, sectors: std::ops::Range<u64>) {
    let all = &mut *all.lock().expect("not poisoned");
    for sector in sectors {
        all[sector as usize].over = all[sector as usize].values.len();
    }
}

/// Sector `number` of those that belong to a writer: in one half of the image
/// neighbours belong to different ones, in the other half whole clusters do.
fn own(writer: u64, number: u64, half: u64, cluster: u64) -> u64 {
    let per_writer = half / WRITERS;
    match number < per_writer {
        true => number * WRITERS + writer,
        false => {
            let number = number - per_writer;
            half + (number / cluster * WRITERS + writer) * cluster + number % cluster
        }
    }
}

fn scribble(extended_l2: bool, cluster_size: u64, snapshots: u32, cancels: bool) {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let size = 2u64 << 20;
        let options = CreateOptions {
            cluster_size,
            extended_l2,
            ..CreateOptions::new(size)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        let device = disk(bql, &node);
        device.set_allow_context_change(bql, true);
        let count = size / SECTOR;
        let (half, cluster) = (count / 2, cluster_size / SECTOR);
        let histories: Histories = Arc::new(Mutex::new(vec![History::fresh(); count as usize]));
        let threads: Vec<IoThread> = (0..3)
            .map(|number| IoThread::create(bql, &format!("io{number}")).expect("a thread"))
            .collect();
        let tasks: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let root = device.root().clone();
                let all = histories.clone();
                let context = threads[writer as usize % 3].context().clone();
                let inner = context.clone();
                context.spawn(async move {
                    let mut random = Random(writer + 7);
                    for turn in 0..400u64 {
                        let value = (turn % 250 + 1) as u8;
                        let number = random.next(2 * half / WRITERS);
                        let sector = own(writer, number, half, cluster);
                        let in_clusters = sector >= half;
                        let left = cluster - sector % cluster;
                        let bytes = match in_clusters {
                            true => 1 + random.next(left),
                            false => 1,
                        };
                        let here = sector..sector + bytes;
                        let (offset, length) = (sector * SECTOR, bytes * SECTOR);
                        match random.next(10) {
                            0..=4 => {
                                begin(&all, here.clone(), value);
                                let mut buffer = Buffer::zeroed(length as usize);
                                buffer.as_mut_slice().fill(value);
                                if cancels && random.next(4) == 0 {
                                    let root = root.clone();
                                    let task = inner.spawn(async move {
                                        root.write(offset, buffer.source()).await
                                    });
                                    for _ in 0..random.next(3) {
                                        block_io::aio::yield_now().await;
                                    }
                                    let whole = task.cancel().await.is_some();
                                    if !whole {
                                        // It has what it had, or what was
                                        // to be written.
                                        continue;
                                    }
                                } else {
                                    root.write(offset, buffer.source()).await.expect("written");
                                }
                                end(&all, here);
                            }
                            5 | 6 => {
                                begin(&all, here.clone(), 0);
                                let flags =
                                    [WriteFlags::MAY_UNMAP, WriteFlags::empty()][turn as usize % 2];
                                root.write_zeroes(offset, length, flags)
                                    .await
                                    .expect("zeroed");
                                end(&all, here);
                            }
                            7 if in_clusters => {
                                let first = sector / cluster * cluster;
                                let here = first..first + cluster;
                                begin(&all, here.clone(), 0);
                                root.discard(first * SECTOR, cluster_size)
                                    .await
                                    .expect("given up");
                                end(&all, here);
                            }
                            8 if turn % 16 == 0 => root.flush().await.expect("flushed"),
                            _ => {
                                let mut buffer = Buffer::zeroed(length as usize);
                                root.read(offset, buffer.destination()).await.expect("read");
                                let all = all.lock().expect("not poisoned");
                                let seen = buffer.as_slice().chunks_exact(SECTOR as usize);
                                for (sector, seen) in here.zip(seen) {
                                    let history = &all[sector as usize];
                                    let last = &history.values[history.over - 1..];
                                    assert!(
                                        last.contains(&seen[0])
                                            && seen.iter().all(|byte| *byte == seen[0]),
                                        "sector {sector} has {}, not {last:?}",
                                        seen[0]
                                    );
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        let mut taken = Vec::new();
        let mut turn = 0;
        while !tasks.iter().all(|task| task.is_finished()) {
            turn += 1;
            let to = &threads[turn % 3];
            device.set_iothread(bql, Some(to)).expect("moved");
            if (turn as u32).is_multiple_of(3) && (taken.len() as u32) < snapshots {
                let before = histories.lock().expect("not poisoned").clone();
                let mut info = SnapshotInfo {
                    name: format!("s{turn}"),
                    ..Default::default()
                };
                node.drain(bql).create_snapshot(&mut info).expect("made");
                let after = histories.lock().expect("not poisoned").clone();
                let allowed: Vec<Vec<u8>> = before
                    .iter()
                    .zip(&after)
                    .map(|(before, after)| after.values[before.over - 1..].to_vec())
                    .collect();
                taken.push((info.name, allowed));
            }
            bql.run_for(Duration::from_millis(2));
        }
        for task in tasks {
            bql.block_on(task);
        }
        let all = histories.lock().expect("not poisoned").clone();
        let assert_seen = |seen: &[u8], allowed: &dyn Fn(usize) -> Vec<u8>, name: &str| {
            for (at, sector) in seen.chunks_exact(SECTOR as usize).enumerate() {
                let allowed = allowed(at);
                assert!(
                    allowed.contains(&sector[0]) && sector.iter().all(|byte| *byte == sector[0]),
                    "{name}: sector {at} has {}, not {allowed:?}",
                    sector[0]
                );
            }
        };
        let last = |at: usize| all[at].values[all[at].over - 1..].to_vec();
        let now = read(bql, &device, 0, size as usize).expect("read");
        assert_seen(&now, &last, "at the end");
        drop((device, node));
        bql.run_for(Duration::from_millis(1));
        let text = path.to_str().expect("text");
        qemu_img.succeed(["check", "-q", text]);
        assert!(qemu_reads(&qemu_img, &path) == now);
        for (name, allowed) in taken {
            qemu_img.succeed(["snapshot", "-q", "-a", &name, text]);
            let seen = qemu_reads(&qemu_img, &path);
            assert_seen(&seen, &|at| allowed[at].clone(), &name);
        }
    });
}

#[test]
fn neighbours_write_on_several_threads() {
    scribble(false, 4096, 0, false);
    scribble(false, 65536, 0, false);
}

#[test]
fn snapshots_are_taken_under_load() {
    scribble(false, 4096, 4, false);
    scribble(true, 16384, 4, false);
}

#[test]
fn writes_are_given_up_on_several_threads() {
    scribble(false, 4096, 2, true);
    scribble(true, 16384, 0, true);
}
