//! Images that were damaged on purpose, requests that are given up, and
//! several threads.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use block_common::Value;
use block_gs::SnapshotInfo;
use block_io::aio::ContextThread;
use block_io::{Buffer, Finding, Repairs, Request};
use block_qcow2::{CreateOptions, Qcow2Image};

use crate::support::{Tool, create, disk, flush, in_layer, open, pattern, qemu_reads, read, write};
use crate::writing::Random;

/// An image with a bit of everything.
fn sample(bql: &mut block_gs::BqlGuard, path: &std::path::Path) {
    let options = CreateOptions {
        cluster_size: 4096,
        ..CreateOptions::new(1 << 20)
    };
    create(bql, path, &options);
    let node = open(bql, path, false).expect("opened");
    let disk = disk(bql, &node);
    write(bql, &disk, 0, &pattern(200_000, 1)).expect("written");
    crate::support::write_compressed(bql, &disk, 400 << 10, &[5; 65536]).expect("written");
    let mut info = SnapshotInfo {
        name: "s".into(),
        ..Default::default()
    };
    node.drain(bql).create_snapshot(&mut info).expect("made");
    write(bql, &disk, 100_000, &pattern(50_000, 2)).expect("written");
    drop((disk, node));
    bql.poll(block_io::aio::Wait::No);
}

#[test]
fn damaged_images_are_refused_or_used_without_panic() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        sample(bql, &path);
        let good = std::fs::read(&path).expect("read");
        let mut random = Random(11);
        // Where metadata is, clusters are more worth damaging.
        let word =
            |at: usize| u64::from_be_bytes(good[at..at + 8].try_into().expect("eight")) as usize;
        let places = [
            0,
            word(40),
            word(48),
            word(64),
            word(word(48)),
            word(word(40)) & 0xff_ffff_fe00,
        ];
        for round in 0..400 {
            let mut bytes = good.clone();
            for _ in 0..1 + random.next(6) {
                let place = places[random.next(places.len() as u64) as usize];
                let span = if place == 0 { 120 } else { 512 };
                let at = (place as u64 + random.next(span)) as usize % bytes.len();
                bytes[at] = match random.next(3) {
                    0 => 0,
                    1 => 0xff,
                    _ => random.next(256) as u8,
                };
            }
            if random.next(4) == 0 {
                bytes.truncate(random.next(bytes.len() as u64) as usize);
            }
            std::fs::write(&path, &bytes).expect("written");
            let file = block_drivers::File::new(&path)
                .open(bql, "")
                .expect("opened");
            // Every other one is one that is to be repaired, whatever it says.
            let read_as = match round % 2 {
                0 => Qcow2Image::read,
                _ => Qcow2Image::read_to_be_checked,
            };
            let image = read_as(bql, &file).and_then(|image| image.open(bql, ""));
            if let Ok(node) = image {
                let length = node.length(bql).min(2 << 20) as usize;
                let disk = disk(bql, &node);
                let _ = read(bql, &disk, 0, length);
                let _ = write(bql, &disk, (length as u64 / 2) & !511, &[round as u8; 512]);
                let _ = flush(bql, &disk);
                let told = Mutex::new(Vec::new());
                let hear = |finding: &dyn Finding| {
                    let mut told = told.lock().expect("not poisoned");
                    told.push(finding.to_string());
                };
                let check = async |request: Request<'_>| {
                    let repairs = Repairs::LEAKS | Repairs::ERRORS;
                    request.check_telling(repairs, &hear).await
                };
                // What one repair gives up can be what the next one repairs.
                let repaired = (0..4).map(|_| node.drain(bql).io(check)).last();
                let repaired = repaired.expect("several");
                let look = async |request: Request<'_>| {
                    request.check_telling(Repairs::empty(), &hear).await
                };
                let found = node.drain(bql).io(look);
                if let (Ok(repaired), Ok(found)) = (repaired, found)
                    && repaired.corruptions + repaired.leaks + repaired.check_errors == 0
                {
                    let left = (found.corruptions, found.leaks, found.check_errors);
                    let told = told.lock().expect("not poisoned");
                    assert_eq!(left, (0, 0, 0), "round {round}: {told:#?}");
                }
                let _ = node.drain(bql).goto_snapshot("1");
                drop((disk, node));
            }
            drop(file);
            bql.poll(block_io::aio::Wait::No);
        }
    });
}

#[test]
fn requests_that_are_given_up_leave_no_mark() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(4 << 20)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
        let mut model = vec![0; 4 << 20];
        let mut random = Random(3);
        for _ in 0..300 {
            let offset = random.next((4 << 20) - 20_000);
            let data = pattern(1 + random.next(20_000) as usize, offset);
            let buffer = Buffer::from(&*data);
            let polls = random.next(6);
            let done = bql.block_on(async {
                let mut running = pin!(disk.root().write(offset, buffer.source()));
                let mut left = polls;
                poll_fn(|context| {
                    if let Poll::Ready(outcome) = running.as_mut().poll(context) {
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
            });
            let at = offset as usize;
            match done {
                Some(outcome) => {
                    outcome.expect("written");
                    model[at..at + data.len()].copy_from_slice(&data);
                }
                None => {
                    // It was written, or not, or in part.
                    let now = read(bql, &disk, offset, data.len()).expect("read");
                    for (place, byte) in now.iter().enumerate() {
                        assert!(
                            *byte == data[place] || *byte == model[at + place],
                            "a byte of somebody else"
                        );
                    }
                    write(bql, &disk, offset, &data).expect("written");
                    model[at..at + data.len()].copy_from_slice(&data);
                }
            }
            if random.next(20) == 0 {
                flush(bql, &disk).expect("flushed");
            }
        }
        drop((disk, node));
        bql.poll(block_io::aio::Wait::No);
        let check = qemu_img.run(["check", path.to_str().expect("text")]);
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stdout)
        );
        assert!(qemu_reads(&qemu_img, &path) == model);
    });
}

#[test]
fn several_threads_write_one_image() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(8 << 20)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        let disk = Arc::new(disk(bql, &node));
        let threads: Vec<ContextThread> = (0..3)
            .map(|number| ContextThread::spawn(&format!("t{number}")).expect("a thread"))
            .collect();
        let slots = 3u64;
        let writes = Arc::new(AtomicU64::new(0));
        let root = disk.root();
        let work = threads.iter().enumerate().map(|(number, thread)| {
            let (root, writes) = (root.clone(), Arc::clone(&writes));
            thread.context().spawn(async move {
                let mut random = Random(number as u64 + 1);
                let mut last = Vec::new();
                for step in 0..200u64 {
                    // Each has every third sector: clusters are shared.
                    let sector = random.next((8 << 20) / 512 / slots) * slots + number as u64;
                    let value = [step as u8 + 1, number as u8];
                    let mut buffer = Buffer::zeroed(512);
                    for pair in buffer.as_mut_slice().chunks_exact_mut(2) {
                        pair.copy_from_slice(&value);
                    }
                    root.write(sector * 512, buffer.source())
                        .await
                        .expect("written");
                    last.push((sector, value));
                    writes.fetch_add(1, Ordering::Relaxed);
                    if step % 37 == 0 {
                        root.flush().await.expect("flushed");
                    }
                }
                last
            })
        });
        let work: Vec<_> = work.collect();
        let mut model = vec![0; 8 << 20];
        for work in work {
            for (sector, value) in bql.block_on(work) {
                let at = (sector * 512) as usize;
                for pair in model[at..at + 512].chunks_exact_mut(2) {
                    pair.copy_from_slice(&value);
                }
            }
        }
        assert!(read(bql, &disk, 0, 8 << 20).expect("read") == model);
        drop((disk, node));
        bql.poll(block_io::aio::Wait::No);
        for thread in threads {
            let _ = thread.stop();
        }
        let check = qemu_img.run(["check", path.to_str().expect("text")]);
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stdout)
        );
        assert!(qemu_reads(&qemu_img, &path) == model);
    });
}

/// What QEMU says when it cannot open an image.
fn qemu_says(qemu_img: &Tool, path: &std::path::Path) -> String {
    let text = path.to_str().expect("text");
    let output = qemu_img.run(["info", "-f", "qcow2", text]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let prefix = format!("qemu-img: Could not open '{text}': ");
    said.trim_end()
        .strip_prefix(&prefix)
        .unwrap_or("")
        .to_owned()
}

#[test]
fn damaged_headers_are_refused_in_the_same_words() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    let be32 = |value: u32| value.to_be_bytes().to_vec();
    let be64 = |value: u64| value.to_be_bytes().to_vec();
    type Change = (usize, Vec<u8>);
    let cases: Vec<(&str, Vec<Change>)> = vec![
        ("nothing", vec![]),
        ("magic", vec![(0, be32(1))]),
        ("version", vec![(4, be32(4))]),
        ("small clusters", vec![(20, be32(8))]),
        ("large clusters", vec![(20, be32(22))]),
        ("short header", vec![(100, be32(100))]),
        ("long header", vec![(100, be32(65544))]),
        ("backing offset", vec![(8, be64(70000))]),
        ("wide counts", vec![(96, be32(7))]),
        ("unknown feature", vec![(72, be64(1 << 5))]),
        ("unknown features", vec![(72, be64(1 << 63 | 1 << 40))]),
        ("long table", vec![(36, be32(1 << 30))]),
        ("odd table", vec![(40, be64(0x30001))]),
        ("short table", vec![(24, be64(1 << 40))]),
        ("huge", vec![(24, be64(1 << 62))]),
        ("no counts", vec![(56, be32(0))]),
        ("odd counts", vec![(48, be64(0x10001))]),
        ("many counts", vec![(56, be32(1 << 20))]),
        ("odd snapshots", vec![(60, be32(1)), (64, be64(0x10001))]),
        (
            "many snapshots",
            vec![(60, be32(70000)), (64, be64(0x10000))],
        ),
        ("compression without its bit", vec![(104, vec![1])]),
        ("the bit without compression", vec![(72, be64(8))]),
        ("unknown compression", vec![(72, be64(8)), (104, vec![9])]),
        (
            "long extension",
            vec![(112, be32(0x1234)), (116, be32(1 << 20))],
        ),
        (
            "long format",
            vec![(112, be32(0xe279_2aca)), (116, be32(16))],
        ),
        ("long name", vec![(8, be64(600)), (16, be32(1024))]),
        ("small subclusters", vec![(72, be64(16)), (20, be32(13))]),
    ];
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(1 << 20));
        bql.poll(block_io::aio::Wait::No);
        let good = std::fs::read(&path).expect("read");
        let mut differences = Vec::new();
        for (name, changes) in cases {
            let mut bytes = good.clone();
            for (at, change) in changes {
                bytes[at..at + change.len()].copy_from_slice(&change);
            }
            std::fs::write(&path, &bytes).expect("written");
            let theirs = qemu_says(&qemu_img, &path);
            let file = block_drivers::File::new(&path)
                .read_only(true)
                .open(bql, "")
                .expect("opened");
            let ours = match Qcow2Image::read(bql, &file)
                .and_then(|image| image.read_only(true).open(bql, ""))
            {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            drop(file);
            bql.poll(block_io::aio::Wait::No);
            if ours != theirs {
                differences.push(format!("{name}: {ours:?}, and QEMU: {theirs:?}"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}

#[test]
fn blocks_of_counts_of_another_width_are_not_overwritten() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(16 << 20)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &[1; 4096]).expect("written");
        }
        drop(node);
        bql.poll(block_io::aio::Wait::No);
        // The guest's first cluster is where a block is going to be: with
        // counts of 64 bits the third counts itself and 511 clusters more.
        let mut bytes = std::fs::read(&path).expect("read");
        let word = |bytes: &[u8], at: usize| {
            let word = u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight"));
            (word & 0x00ff_ffff_ffff_fe00) as usize
        };
        let table = word(&bytes, word(&bytes, 40));
        let place: u64 = 1024 * 4096;
        bytes[table..table + 8].copy_from_slice(&(place | 1 << 63).to_be_bytes());
        std::fs::write(&path, &bytes).expect("written");
        let node = open(bql, &path, false).expect("opened");
        let wider = Value::map([("refcount_bits", Value::from("64"))]);
        node.drain(bql)
            .amend_options(&wider, false)
            .expect("amended");
        let disk = disk(bql, &node);
        write(bql, &disk, 1 << 20, &vec![2; 6 << 20]).expect("written");
        flush(bql, &disk).expect("flushed");
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(word(&bytes, word(&bytes, 48) + 16) as u64, place);
        let refused = write(bql, &disk, 0, &[3; 512]).expect_err("a block is there");
        assert!(refused.to_string().contains("refcount block"), "{refused}");
    });
}
