//! Images that were damaged on purpose, requests that are given up, and
//! several threads.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;

use block_common::Value;
use block_drivers::File;
use block_gs::{BqlGuard, Node};
use block_io::aio::ContextThread;
use block_io::{Buffer, Finding, Repairs, Request};
use block_qcow2::{CreateOptions, Qcow2Image};

use crate::support::{
    COPIED, Random, Stored, Tool, assert_sound_and_reads, at_a_path, attached, beside_qemu_img,
    close, clusters_of, create, create_written, disk, flush, pattern, read, take_snapshot, text,
    turn, write, write_compressed,
};

/// An image with a bit of everything.
fn sample(bql: &mut BqlGuard, path: &Path) {
    let options = clusters_of(4096, 1 << 20);
    create(bql, path, &options);
    let (node, disk) = attached(bql, path);
    write(bql, &disk, 0, &pattern(200_000, 1)).expect("written");
    write_compressed(bql, &disk, 400 << 10, &[5; 65536]).expect("written");
    take_snapshot(bql, &node, "s").expect("made");
    write(bql, &disk, 100_000, &pattern(50_000, 2)).expect("written");
    close(bql, (disk, node));
}

/// Changes a few bytes, and cuts some of the rest off now and then.
fn spoil(image: &mut Stored, random: &mut Random) {
    // Where metadata is, clusters are more worth damaging.
    let good = image.clone();
    let places = [
        0,
        good.l1(),
        good.table(),
        good.snapshots(),
        good.block(),
        good.l2(),
    ];
    let bytes = &mut image.0;
    for _ in 0..1 + random.next(6) {
        let place = places[random.next(places.len() as u64) as usize];
        let span = if place == 0 { 120 } else { 512 };
        let at = (place + random.next(span)) as usize % bytes.len();
        bytes[at] = match random.next(3) {
            0 => 0,
            1 => 0xff,
            _ => random.next(256) as u8,
        };
    }
    if random.next(4) == 0 {
        bytes.truncate(random.next(bytes.len() as u64) as usize);
    }
}

/// Does all sorts of things to a damaged image. What a repair says is whole
/// must be found whole.
fn use_and_repair(bql: &mut BqlGuard, node: Node, round: u8) {
    let length = node.length(bql).min(2 << 20) as usize;
    let disk = disk(bql, &node);
    let _ = read(bql, &disk, 0, length);
    let _ = write(bql, &disk, (length as u64 / 2) & !511, &[round; 512]);
    let _ = flush(bql, &disk);
    let told = Mutex::new(Vec::new());
    let mut check = |repairs| {
        let hear = |finding: &dyn Finding| {
            let mut told = told.lock().expect("not poisoned");
            told.push(finding.to_string());
        };
        let check = async |request: Request<'_>| request.check_telling(repairs, &hear).await;
        node.drain(bql).io(check)
    };
    // What one repair gives up can be what the next one repairs.
    let all = Repairs::LEAKS | Repairs::ERRORS;
    let repaired = (0..4).map(|_| check(all)).last().expect("several");
    let found = check(Repairs::empty());
    if let (Ok(repaired), Ok(found)) = (repaired, found)
        && repaired.corruptions + repaired.leaks + repaired.check_errors == 0
    {
        let left = (found.corruptions, found.leaks, found.check_errors);
        let told = told.lock().expect("not poisoned");
        assert_eq!(left, (0, 0, 0), "round {round}: {told:#?}");
    }
    let _ = node.drain(bql).goto_snapshot("1");
}

#[test]
fn damaged_images_are_refused_or_used_without_panic() {
    at_a_path(|bql, path| {
        sample(bql, path);
        let good = Stored::read(path);
        let mut random = Random(11);
        for round in 0..400_u16 {
            let mut damaged = good.clone();
            spoil(&mut damaged, &mut random);
            damaged.write(path);
            let file = File::new(path).open(bql, "").expect("opened");
            // Every other one is one that is to be repaired, whatever it says.
            let read_as = match round % 2 {
                0 => Qcow2Image::read,
                _ => Qcow2Image::read_to_be_checked,
            };
            let image = read_as(bql, &file).and_then(|image| image.open(bql, ""));
            if let Ok(node) = image {
                use_and_repair(bql, node, round as u8);
            }
            close(bql, file);
        }
    });
}

#[test]
fn requests_that_are_given_up_leave_no_mark() {
    beside_qemu_img(|bql, path, qemu_img| {
        let options = clusters_of(4096, 4 << 20);
        create(bql, path, &options);
        let (node, disk) = attached(bql, path);
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
        close(bql, (disk, node));
        assert_sound_and_reads(qemu_img, path, &model);
    });
}

#[test]
fn several_threads_write_one_image() {
    beside_qemu_img(|bql, path, qemu_img| {
        let options = clusters_of(4096, 8 << 20);
        create(bql, path, &options);
        let (node, disk) = attached(bql, path);
        let threads: Vec<ContextThread> = (0..3)
            .map(|number| ContextThread::spawn(&format!("t{number}")).expect("a thread"))
            .collect();
        let slots = 3u64;
        let root = disk.root();
        let work = threads.iter().enumerate().map(|(number, thread)| {
            let root = root.clone();
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
        close(bql, (disk, node));
        for thread in threads {
            let _ = thread.stop();
        }
        assert_sound_and_reads(qemu_img, path, &model);
    });
}

/// What QEMU says when it cannot open an image; nothing if it can.
fn their_words(qemu_img: &Tool, path: &Path) -> String {
    let output = qemu_img.run(["info", "-f", "qcow2", text(path)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let prefix = format!("qemu-img: Could not open '{}': ", text(path));
    let said = said.trim_end().strip_prefix(&prefix);
    said.unwrap_or_default().to_owned()
}

/// What is said here.
fn our_words(bql: &mut BqlGuard, path: &Path) -> String {
    let file = File::new(path).read_only(true).open(bql, "");
    let image = Qcow2Image::read(bql, &file.expect("opened"));
    let node = image.and_then(|image| image.read_only(true).open(bql, ""));
    let said = node.as_ref().err().map(ToString::to_string);
    close(bql, node);
    said.unwrap_or_default()
}

#[test]
fn damaged_headers_are_refused_in_the_same_words() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    let be32 = |value: u32| value.to_be_bytes().to_vec();
    let be64 = |value: u64| value.to_be_bytes().to_vec();
    type Change = (u64, Vec<u8>);
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
    at_a_path(|bql, path| {
        create(bql, path, &CreateOptions::new(1 << 20));
        turn(bql);
        let good = Stored::read(path);
        let mut differences = Vec::new();
        for (name, changes) in cases {
            let mut damaged = good.clone();
            for (at, change) in changes {
                damaged.put_bytes(at, &change);
            }
            damaged.write(path);
            let (ours, theirs) = (our_words(bql, path), their_words(&qemu_img, path));
            if ours != theirs {
                differences.push(format!("{name}: {ours:?}, and QEMU: {theirs:?}"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}

#[test]
fn blocks_of_counts_of_another_width_are_not_overwritten() {
    at_a_path(|bql, path| {
        let options = clusters_of(4096, 16 << 20);
        create_written(bql, path, &options, &[(0, &[1; 4096])]);
        // The guest's first cluster is where a block is going to be: with
        // counts of 64 bits the third counts itself and 511 clusters more.
        let place = 1024 * 4096;
        Stored::damage(path, |image| image.put(image.l2(), place | COPIED));
        let (node, disk) = attached(bql, path);
        let wider = Value::map([("refcount_bits", Value::from("64"))]);
        node.drain(bql)
            .amend_options(&wider, false)
            .expect("amended");
        write(bql, &disk, 1 << 20, &vec![2; 6 << 20]).expect("written");
        flush(bql, &disk).expect("flushed");
        let stored = Stored::read(path);
        assert_eq!(stored.get(stored.table() + 16), place);
        let refused = write(bql, &disk, 0, &[3; 512]).expect_err("a block is there");
        assert!(refused.to_string().contains("refcount block"), "{refused}");
    });
}
