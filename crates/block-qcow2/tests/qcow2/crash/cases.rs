//! Kinds of images, and what is done to them.

use block_qcow2::{CreateOptions, Qcow2Options};

use super::workload::{Plan, crash};

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
