//! Tables that are made or moved, several at a time.

use block_gs::Perm;
use block_io::{IoError, Preallocation, Repairs, Request};
use block_qcow2::{CreateOptions, Qcow2Options};

use super::model::{filled, numbers};
use super::recorder::{Disk, Fate, cut_off, cuts};
use super::workload::{Boxed, image_over, make, together};
use crate::support::{READ_WRITE, backend, disk, in_layer};
use crate::writing::Random;

#[test]
fn a_block_is_found_only_with_what_counts_it() {
    in_layer(|bql, _| {
        // A block counts 64 clusters, so a longer first-level table takes
        // several, side by side.
        let create = CreateOptions {
            cluster_size: 512,
            refcount_bits: 64,
            ..CreateOptions::new(1 << 20)
        };
        let files = make(bql, &create);
        let recorder = Disk::new(files.clone(), 1);
        let node = image_over(bql, &recorder, Qcow2Options::default());
        let device = backend(bql, &node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        let off = Preallocation::Off;
        bql.block_on(device.root().truncate(256 << 20, true, off))
            .expect("grown");
        let steps = recorder.lock().steps.clone();
        drop((device, node));
        bql.poll(block_io::aio::Wait::No);
        let mut random = Random(1);
        for (number, cut) in cuts(&steps).into_iter().enumerate() {
            for _ in 0..10 {
                let fate = Fate::any(&mut random);
                let left = cut_off(&files, &steps, cut, &mut random, fate);
                let node = image_over(bql, &Disk::new(left, 1), Qcow2Options::default());
                let check = async |request: Request<'_>| request.check(Repairs::empty()).await;
                let found = node.drain(bql).io(check).expect("looked at");
                assert_eq!(found.corruptions, 0, "cut {number}");
            }
        }
    });
}

#[test]
fn a_table_that_two_make_longer_is_as_long_as_either_needs() {
    in_layer(|bql, _| {
        let create = CreateOptions {
            cluster_size: 512,
            ..CreateOptions::new(32 << 10)
        };
        let files = make(bql, &create);
        for seed in 0..20 {
            let recorder = Disk::new(files.clone(), seed);
            let node = image_over(bql, &recorder, Qcow2Options::default());
            let device = disk(bql, &node);
            // Each table of the second level describes 32 KiB.
            let places = [0, 8 << 20, 1 << 20];
            let all = places.map(|position| {
                let root = device.root().clone();
                let save = async move {
                    let buffer = filled(&[position + 1]);
                    root.save_vmstate(position, buffer.source()).await
                };
                Box::pin(save) as Boxed<Result<(), IoError>>
            });
            for outcome in bql.block_on(together(all.into())) {
                outcome.expect("saved");
            }
            drop((device, node));
            bql.poll(block_io::aio::Wait::No);
            let left = Disk::new(recorder.lock().files.clone(), seed);
            let node = image_over(bql, &left, Qcow2Options::default());
            let device = disk(bql, &node);
            for position in places {
                let mut buffer = filled(&[0]);
                let load = device.root().load_vmstate(position, buffer.destination());
                bql.block_on(load).expect("loaded");
                let seen = numbers(buffer.as_slice(), "the state");
                assert_eq!(seen, [position + 1], "seed {seed}");
            }
        }
    });
}
