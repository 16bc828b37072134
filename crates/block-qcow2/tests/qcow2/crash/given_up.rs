//! Requests that are dropped in the middle.

use std::future::{Future, poll_fn};
use std::task::Poll;

use block_gs::{Perm, SnapshotInfo};
use block_io::{Preallocation, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Options};

use super::model::{filled, numbers};
use super::recorder::{Disk, SECTOR};
use super::workload::{image_over, make};
use crate::support::{READ_WRITE, Tool, backend, in_layer, read};
use crate::writing::Random;

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
        // With all checks tables of the snapshot are read before each write.
        for (seed, extended_l2, all_checks) in [
            (21, false, false),
            (22, true, false),
            (23, false, false),
            (24, false, true),
        ] {
            let cluster_size = if extended_l2 { 16384 } else { 4096 };
            let create = CreateOptions {
                cluster_size,
                extended_l2,
                ..CreateOptions::new(2 << 20)
            };
            let files = make(bql, &create);
            let recorder = Disk::new(files, seed);
            let options = Qcow2Options {
                overlap_check: all_checks.then(|| "all".to_owned()),
                ..Default::default()
            };
            let node = image_over(bql, &recorder, options);
            if all_checks {
                let mut info = SnapshotInfo::default();
                node.drain(bql).create_snapshot(&mut info).expect("made");
            }
            let perm = READ_WRITE | Perm::RESIZE;
            let disk = backend(bql, &node, perm).expect("nobody objects");
            let mut random = Random(seed);
            let count = create.size / SECTOR;
            let mut model = vec![0u64; count as usize];
            for value in 1..400u64 {
                let from = random.next(count);
                let most = [1, 9, 60][random.next(3) as usize];
                let to = (from + 1 + random.next(most)).min(count);
                let times = random.next(40);
                let kind = random.next(12);
                let cluster = cluster_size / SECTOR;
                let (from, to) = match kind {
                    8 | 9 => (from / cluster * cluster, from / cluster * cluster + cluster),
                    // It is cut off there, and then made as long as it was.
                    10 => (from.max(1), count),
                    _ => (from, to),
                };
                let (offset, bytes) = (from * SECTOR, (to - from) * SECTOR);
                let root = disk.root();
                let done = bql.block_on(async {
                    match kind {
                        0..=3 => {
                            let buffer = filled(&vec![value; (to - from) as usize]);
                            a_few_times(times, root.write(offset, buffer.source())).await
                        }
                        4 | 5 => {
                            let flags =
                                [WriteFlags::MAY_UNMAP, WriteFlags::empty()][kind as usize - 4];
                            a_few_times(times, root.write_zeroes(offset, bytes, flags)).await
                        }
                        8 => {
                            let buffer = filled(&vec![value; cluster as usize]);
                            let flags = WriteFlags::COMPRESSED;
                            let write = root.write_with(offset, buffer.source(), flags);
                            a_few_times(times * 1000, write).await
                        }
                        9 => a_few_times(times, root.discard(offset, bytes)).await,
                        10 => {
                            let off = Preallocation::Off;
                            let cut = root.truncate(offset, true, off);
                            let done = a_few_times(times * 4, cut).await;
                            let again = root.truncate(create.size, true, off).await;
                            again.expect("made longer");
                            done
                        }
                        _ => a_few_times(times, root.flush()).await,
                    }
                });
                let new = match kind {
                    0..=3 | 8 => value,
                    4 | 5 | 9 | 10 => 0,
                    _ => continue,
                };
                if let Some(outcome) = done {
                    outcome.expect("done");
                    model[from as usize..to as usize].fill(new);
                    continue;
                }
                let seen = read(bql, &disk, offset, bytes as usize).expect("read");
                for (sector, value) in (from..to).zip(numbers(&seen, "given up")) {
                    let old = &mut model[sector as usize];
                    assert!(
                        value == *old || value == new,
                        "sector {sector}: {value}, not {old} or {new}"
                    );
                    *old = value;
                }
            }
            let seen = read(bql, &disk, 0, create.size as usize).expect("read");
            assert_eq!(numbers(&seen, "at the end"), model);
            drop((disk, node));
            bql.poll(block_io::aio::Wait::No);
            let path = directory.path().join("image");
            std::fs::write(&path, &recorder.lock().files[0]).expect("written");
            let check = qemu_img.run(["check", "-f", "qcow2", path.to_str().expect("text")]);
            assert!(
                check.status.success(),
                "{}",
                String::from_utf8_lossy(&check.stdout)
            );
        }
    });
}
