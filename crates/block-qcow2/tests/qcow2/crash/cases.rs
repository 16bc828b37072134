//! Kinds of images, and what is done to them.

use block_io::Preallocation;
use block_qcow2::format::header::Compression;
use block_qcow2::{CreateOptions, Qcow2Options};

use super::workload::{Plan, crash};
use crate::writing::Random;

fn sized(size: u64, cluster_size: u64) -> CreateOptions {
    CreateOptions {
        cluster_size,
        ..CreateOptions::new(size)
    }
}

fn small() -> CreateOptions {
    sized(1 << 20, 4096)
}

#[test]
fn one_after_the_other() {
    crash(&Plan::new(1, small()));
}

#[test]
fn many_at_once() {
    crash(&Plan {
        at_once: 4,
        ..Plan::new(2, small())
    });
}

#[test]
fn on_several_threads() {
    crash(&Plan {
        at_once: 6,
        threads: 3,
        ..Plan::new(3, small())
    });
}

#[test]
fn while_tables_grow() {
    let create = CreateOptions {
        refcount_bits: 64,
        ..sized(8 << 20, 512)
    };
    crash(&Plan {
        at_once: 3,
        resizes: true,
        ..Plan::new(4, create)
    });
}

#[test]
fn while_caches_overflow() {
    let options = Qcow2Options {
        l2_cache_size: Some(1024),
        ..Default::default()
    };
    crash(&Plan {
        at_once: 3,
        options,
        ..Plan::new(5, sized(4 << 20, 512))
    });
}

#[test]
fn with_subclusters() {
    let create = CreateOptions {
        extended_l2: true,
        ..sized(2 << 20, 16384)
    };
    crash(&Plan {
        at_once: 3,
        snapshots: true,
        ..Plan::new(6, create.clone())
    });
    crash(&Plan {
        backing: 3000,
        compressed: true,
        ..Plan::new(7, over(create))
    });
}

#[test]
fn with_compressed_clusters() {
    crash(&Plan {
        compressed: true,
        snapshots: true,
        ..Plan::new(8, small())
    });
    crash(&Plan {
        compressed: true,
        at_once: 3,
        ..Plan::new(9, small())
    });
}

#[test]
fn with_snapshots() {
    for (seed, create) in [
        (10, small()),
        (11, sized(1 << 20, 512)),
        (12, sized(4 << 20, 65536)),
    ] {
        crash(&Plan {
            snapshots: true,
            rounds: 40,
            ..Plan::new(seed, create)
        });
    }
}

#[test]
fn with_snapshots_and_other_lengths() {
    crash(&Plan {
        snapshots: true,
        resizes: true,
        at_once: 3,
        rounds: 40,
        ..Plan::new(13, sized(1 << 20, 512))
    });
}

#[test]
fn with_other_lengths() {
    crash(&Plan {
        resizes: true,
        at_once: 2,
        ..Plan::new(14, small())
    });
    crash(&Plan {
        resizes: true,
        backing: 1500,
        ..Plan::new(15, over(small()))
    });
}

fn over(create: CreateOptions) -> CreateOptions {
    CreateOptions {
        backing_file: Some("base".to_owned()),
        backing_format: Some("raw".to_owned()),
        ..create
    }
}

#[test]
fn over_a_backing_image() {
    crash(&Plan {
        backing: 1999,
        at_once: 3,
        ..Plan::new(16, over(small()))
    });
    crash(&Plan {
        backing: 1000,
        snapshots: true,
        ..Plan::new(17, over(small()))
    });
}

#[test]
fn with_a_data_file() {
    for (seed, data_file_raw) in [(18, false), (19, true)] {
        let create = CreateOptions {
            data_file: Some("data".to_owned()),
            data_file_raw,
            ..small()
        };
        crash(&Plan {
            at_once: 3,
            resizes: true,
            ..Plan::new(seed, create)
        });
    }
}

#[test]
fn with_a_data_file_and_a_backing_image() {
    let create = CreateOptions {
        data_file: Some("data".to_owned()),
        ..over(small())
    };
    crash(&Plan {
        backing: 1500,
        at_once: 2,
        ..Plan::new(20, create)
    });
}

#[test]
fn with_any_width_of_counts() {
    for (seed, refcount_bits) in [(21, 1), (22, 2), (23, 4), (24, 8), (25, 32)] {
        let create = CreateOptions {
            refcount_bits,
            ..sized(1 << 20, 2048)
        };
        crash(&Plan {
            // A count of one has no room for a snapshot.
            snapshots: refcount_bits > 4,
            compressed: refcount_bits > 2,
            rounds: 20,
            ..Plan::new(seed, create)
        });
    }
}

#[test]
fn in_the_old_format_and_back() {
    let create = CreateOptions {
        version: 2,
        ..small()
    };
    crash(&Plan {
        compressed: true,
        ..Plan::new(26, create)
    });
    crash(&Plan {
        amends: true,
        ..Plan::new(27, small())
    });
}

#[test]
fn with_counts_of_changing_width() {
    crash(&Plan {
        amends: true,
        at_once: 2,
        rounds: 40,
        ..Plan::new(28, sized(1 << 20, 512))
    });
    crash(&Plan {
        amends: true,
        snapshots: true,
        compressed: true,
        rounds: 40,
        ..Plan::new(29, small())
    });
}

#[test]
fn on_a_device() {
    crash(&Plan {
        device: true,
        at_once: 3,
        snapshots: true,
        compressed: true,
        ..Plan::new(35, small())
    });
    let create = CreateOptions {
        refcount_bits: 64,
        lazy_refcounts: true,
        ..sized(4 << 20, 512)
    };
    crash(&Plan {
        device: true,
        at_once: 2,
        ..Plan::new(36, create)
    });
}

#[test]
fn while_counts_overflow() {
    // A block counts 64 clusters, and 512 blocks are kept.
    let create = CreateOptions {
        refcount_bits: 64,
        preallocation: Preallocation::Metadata,
        ..sized(20 << 20, 512)
    };
    crash(&Plan {
        snapshots: true,
        at_once: 2,
        rounds: 15,
        ..Plan::new(37, create.clone())
    });
    let options = Qcow2Options {
        lazy_refcounts: Some(true),
        ..Default::default()
    };
    crash(&Plan {
        snapshots: true,
        rounds: 15,
        options,
        ..Plan::new(38, create)
    });
}

/// Any of what images and their users differ in.
fn any(random: &mut Random) -> Plan {
    let one_in = |times, random: &mut Random| random.next(times) == 0;
    loop {
        let cluster_size = 512 << random.next(8);
        let size = (cluster_size * (100 + random.next(900))).min(3 << 20);
        let backing = match random.next(3) {
            0 => 1 + random.next(size / 512),
            _ => 0,
        };
        let (v3, has_data) = (!one_in(5, random), one_in(5, random));
        let plain = sized(size, cluster_size);
        let create = CreateOptions {
            version: if v3 { 3 } else { 2 },
            refcount_bits: match v3 && one_in(2, random) {
                true => 1 << random.next(7),
                false => 16,
            },
            lazy_refcounts: v3 && one_in(3, random),
            extended_l2: one_in(2, random) && cluster_size >= 16384,
            compression: [Compression::Zlib, Compression::Zstd][random.next(2) as usize],
            preallocation: match random.next(5) {
                0 => Preallocation::Metadata,
                1 => Preallocation::Full,
                _ => Preallocation::Off,
            },
            data_file: has_data.then(|| "data".to_owned()),
            data_file_raw: has_data && one_in(2, random),
            ..if backing > 0 { over(plain) } else { plain }
        };
        if create.check().is_err() {
            continue;
        }
        let options = Qcow2Options {
            l2_cache_size: [None, Some(1024)][random.next(2) as usize],
            l2_cache_entry_size: one_in(2, random).then_some(512),
            pass_discard_other: Some(one_in(2, random)),
            discard_no_unref: (v3 && one_in(4, random)).then_some(true),
            overlap_check: one_in(3, random).then(|| "all".to_owned()),
            ..Default::default()
        };
        let (bits, threads) = (create.refcount_bits, one_in(4, random));
        // What is provided on a device shows what was there.
        let may_be_device = !has_data && create.preallocation == Preallocation::Off;
        return Plan {
            at_once: 1 + random.next(4),
            threads: if threads { 2 } else { 0 },
            compressed: bits > 2 && !has_data && one_in(2, random),
            snapshots: bits > 4 && !has_data && one_in(2, random),
            resizes: one_in(3, random),
            amends: bits > 4 && one_in(4, random),
            device: may_be_device && one_in(4, random),
            options,
            backing,
            ..Plan::new(random.next(1 << 20), create)
        };
    }
}

#[test]
fn of_any_kind() {
    let more = std::env::var("QUIESCE_CRASH_KINDS");
    let more: u64 = more.map_or(6, |number| number.parse().expect("a number"));
    let mut random = Random(39);
    for number in 0..more {
        let plan = any(&mut random);
        println!("{number}: {plan:?}");
        crash(&plan);
    }
}
