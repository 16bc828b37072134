//! Blocks of counts that stand where other new ones count.

use block_gs::Perm;
use block_io::{Preallocation, Repairs, Request};
use block_qcow2::{CreateOptions, Qcow2Options};

use super::recorder::{Disk, cut_off, cuts};
use super::workload::{image_over, make};
use crate::support::{READ_WRITE, backend, in_layer};
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
                let half = |random: &mut Random| random.next(2) == 0;
                let left = cut_off(&files, &steps, cut, &mut random, half);
                let node = image_over(bql, &Disk::new(left, 1), Qcow2Options::default());
                let check = async |request: Request<'_>| request.check(Repairs::empty()).await;
                let found = node.drain(bql).io(check).expect("looked at");
                assert_eq!(found.corruptions, 0, "cut {number}");
            }
        }
    });
}
