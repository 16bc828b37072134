//! Bitmaps that are kept with an image: after a failure one says of itself
//! that it is worth nothing, or it has noted whatever was written.

use block_gs::{BitmapOptions, BqlGuard, NodeOptions, ReopenOptions};
use block_qcow2::{CreateOptions, Qcow2Options};

use super::model::{filled, numbers};
use super::recorder::{Disk, EIO, Fate, Fault, SECTOR, cut_off, cuts};
use super::workload::{image_over, make};
use crate::support::{READ_WRITE, Tool, backend, flush, in_layer, read, write};
use crate::writing::Random;

const GRANULARITY: u64 = 4096;

/// Some sectors become other than zero.
fn scribble(bql: &mut BqlGuard, disk: &std::sync::Arc<Disk>, random: &mut Random, count: u64) {
    let node = image_over(bql, disk, Qcow2Options::default());
    if node.find_bitmap(bql, "kept").is_none() {
        let options = BitmapOptions {
            granularity: Some(GRANULARITY as u32),
            persistent: true,
            ..Default::default()
        };
        node.add_bitmap(bql, "kept", options).expect("added");
    }
    let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
    for number in 0..8 {
        let from = random.next(count);
        let to = (from + 1 + random.next(30)).min(count);
        let values = vec![number + 1; (to - from) as usize];
        write(bql, &device, from * SECTOR, filled(&values).as_slice()).expect("written");
        if random.next(3) == 0 {
            flush(bql, &device).expect("flushed");
        }
    }
    drop((device, node));
    bql.poll(block_io::aio::Wait::No);
}

#[test]
fn a_bitmap_has_noted_everything_or_is_worth_nothing() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    for (seed, cluster_size) in [(1, 512), (2, 4096)] {
        in_layer(|bql, directory| {
            let create = CreateOptions {
                cluster_size,
                ..CreateOptions::new(1 << 20)
            };
            let count = create.size / SECTOR;
            let files = make(bql, &create);
            let disk = Disk::new(files.clone(), seed);
            let mut random = Random(seed);
            for _ in 0..3 {
                scribble(bql, &disk, &mut random, count);
            }
            let steps = disk.lock().steps.clone();
            let (mut good, mut bad) = (0, 0);
            for (number, cut) in cuts(&steps).into_iter().enumerate() {
                let fate = Fate::any(&mut random);
                let left = cut_off(&files, &steps, cut, &mut random, fate);
                let name = format!("seed {seed}, cut {number}");
                if number % 4 == 0 {
                    let path = directory.path().join("image");
                    std::fs::write(&path, &left[0]).expect("written");
                    let text = path.to_str().expect("text");
                    let check = qemu_img.run(["check", "-f", "qcow2", text]);
                    let fine = matches!(check.status.code(), Some(0 | 3));
                    assert!(fine, "{name}: {check:?}");
                }
                let node = image_over(bql, &Disk::new(left, seed), Qcow2Options::default());
                let view = node.bitmaps(bql).find(|view| view.name() == "kept");
                let inconsistent = view.map(|view| view.is_inconsistent());
                if inconsistent == Some(false) {
                    good += 1;
                    let bitmap = node.find_bitmap(bql, "kept").expect("it is there");
                    let noted = bitmap.reader(bql).expect("it can be read");
                    let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
                    let bytes = read(bql, &device, 0, create.size as usize).expect("read");
                    for (sector, value) in numbers(&bytes, &name).into_iter().enumerate() {
                        let is_noted = noted.get(sector as u64 * SECTOR);
                        assert!(value == 0 || is_noted, "{name}: sector {sector}");
                    }
                }
                bad += u32::from(inconsistent == Some(true));
            }
            assert!(good > 0 && bad > 0, "{good} and {bad}");
        });
    }
}

/// A write that comes after the bitmaps were to be stored, which failed at some
/// step.
#[test]
fn a_bitmap_that_was_perhaps_stored_does_not_hold_after_the_next_write() {
    in_layer(|bql, _| {
        let create = CreateOptions {
            cluster_size: 4096,
            ..CreateOptions::new(1 << 20)
        };
        let files = make(bql, &create);
        let (mut refused, mut is_over) = (0, false);
        for after in 0..40 {
            let disk = Disk::new(files.clone(), after);
            let node = image_over(bql, &disk, Qcow2Options::default());
            let options = BitmapOptions {
                granularity: Some(GRANULARITY as u32),
                persistent: true,
                ..Default::default()
            };
            node.add_bitmap(bql, "kept", options).expect("added");
            let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
            for value in 1..3 {
                write(bql, &device, 8 * SECTOR, filled(&[value]).as_slice()).expect("written");
            }
            flush(bql, &device).expect("flushed");
            drop(device);
            // So there is a directory already, which says that it is in use.
            node.store_bitmaps(bql).expect("stored");
            let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
            write(bql, &device, 8 * SECTOR, filled(&[3]).as_slice()).expect("written");
            drop(device);
            disk.lock().fault = Some(Fault {
                after,
                forever: false,
                errno: EIO,
                reads: false,
            });
            let reading = NodeOptions {
                read_only: true,
                ..NodeOptions::default()
            };
            is_over = node.drain(bql).reopen(ReopenOptions::new(reading)).is_ok();
            disk.lock().fault = None;
            if is_over {
                break;
            }
            refused += 1;
            let device = backend(bql, &node, READ_WRITE).expect("nobody objects");
            // In place, so that nothing else is stored.
            write(bql, &device, 9 * SECTOR, filled(&[7]).as_slice()).expect("written");
            let left = disk.lock().files.clone();
            let crashed = image_over(bql, &Disk::new(left, after), Qcow2Options::default());
            let view = crashed.bitmaps(bql).find(|view| view.name() == "kept");
            let holds = view.is_some_and(|view| !view.is_inconsistent());
            assert!(!holds, "what fails is request {after}");
            drop((device, node, crashed));
            bql.poll(block_io::aio::Wait::No);
        }
        assert!(refused > 4 && is_over, "{refused}");
    });
}
