//! What became of each scenario.
//!
//! One source: the lists below, a file for each of QEMU's test programs that
//! has many. `README.md` shows them as tables.

mod aio;
mod block;
mod drain;
mod hbitmap;
mod jobs;
mod render;
mod sources;
mod throttle;

pub use render::{render, replace};
pub use sources::{TestFn, package, tests_in, tests_of};

/// The scenarios of one of QEMU's test programs.
#[derive(Debug)]
pub struct Suite {
    /// The program, as QEMU calls its source.
    pub origin: &'static str,
    /// How many tests it has in QEMU 10.0.2.
    pub in_qemu: usize,
    /// The tests here: `tests/<name>.rs`, or the files of `tests/<name>/`.
    pub name: &'static str,
    /// The scenarios that are accounted for, in QEMU's order. There may be
    /// fewer than tests.
    pub scenarios: &'static [Scenario],
}

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    /// What QEMU calls the test.
    pub path: &'static str,
    /// The test that replays it.
    pub test: Test,
    /// How it comes out here.
    pub outcome: Outcome,
}

/// Where a scenario is replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Test {
    /// Among the tests of its suite, under the name that [`Suite::name_of`]
    /// makes of its path.
    Here,
    /// Beside what it needs to look into.
    There {
        /// The file, below `crates`.
        file: &'static str,
        /// The test in it.
        name: &'static str,
    },
    /// Nowhere.
    None,
}

/// How a scenario comes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As in QEMU.
    Same,
    /// Otherwise, or after other steps. Why, in a sentence.
    Differs(&'static str),
    /// There is nothing here that it could be about. Why, in a sentence.
    NoCounterpart(&'static str),
}

const fn same(path: &'static str) -> Scenario {
    Scenario {
        path,
        test: Test::Here,
        outcome: Outcome::Same,
    }
}

const fn differs(path: &'static str, why: &'static str) -> Scenario {
    Scenario {
        path,
        test: Test::Here,
        outcome: Outcome::Differs(why),
    }
}

/// Nothing corresponds to it; the test shows what comes nearest.
const fn nearest(path: &'static str, why: &'static str) -> Scenario {
    Scenario {
        path,
        test: Test::Here,
        outcome: Outcome::NoCounterpart(why),
    }
}

const fn no_counterpart(path: &'static str, why: &'static str) -> Scenario {
    Scenario {
        path,
        test: Test::None,
        outcome: Outcome::NoCounterpart(why),
    }
}

/// The same scenario, replayed elsewhere.
const fn there(scenario: Scenario, file: &'static str, name: &'static str) -> Scenario {
    Scenario {
        test: Test::There { file, name },
        ..scenario
    }
}

/// All of them.
pub const SUITES: [Suite; 10] = [
    Suite {
        origin: "test-bdrv-drain.c",
        in_qemu: 30,
        name: "bdrv_drain",
        scenarios: drain::BDRV_DRAIN,
    },
    Suite {
        origin: "test-bdrv-graph-mod.c",
        in_qemu: 5,
        name: "bdrv_graph_mod",
        scenarios: block::BDRV_GRAPH_MOD,
    },
    Suite {
        origin: "test-block-iothread.c",
        in_qemu: 22,
        name: "block_iothread",
        scenarios: block::BLOCK_IOTHREAD,
    },
    Suite {
        origin: "test-block-backend.c",
        in_qemu: 2,
        name: "block_backend",
        scenarios: block::BLOCK_BACKEND,
    },
    Suite {
        origin: "test-aio.c",
        in_qemu: 27,
        name: "aio",
        scenarios: aio::AIO,
    },
    Suite {
        origin: "test-aio-multithread.c",
        in_qemu: 6,
        name: "aio_multithread",
        scenarios: aio::AIO_MULTITHREAD,
    },
    Suite {
        origin: "test-throttle.c",
        in_qemu: 17,
        name: "throttle",
        scenarios: throttle::THROTTLE,
    },
    Suite {
        origin: "test-blockjob.c",
        in_qemu: 8,
        name: "blockjob",
        scenarios: jobs::BLOCKJOB,
    },
    Suite {
        origin: "test-blockjob-txn.c",
        in_qemu: 7,
        name: "blockjob_txn",
        scenarios: jobs::BLOCKJOB_TXN,
    },
    Suite {
        origin: "test-hbitmap.c",
        in_qemu: 40,
        name: "hbitmap",
        scenarios: hbitmap::HBITMAP,
    },
];

impl Suite {
    /// What the test of a scenario is called: its path without the name of
    /// the suite, with `_` between the words.
    pub fn name_of(&self, path: &str) -> String {
        let words = path.trim_start_matches('/').replace(['/', '-'], "_");
        let own = words.strip_prefix(self.name);
        match own.and_then(|rest| rest.strip_prefix('_')) {
            Some(rest) => rest.to_owned(),
            None => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_paths() {
        let [drain, _, iothread, _, aio, multithread, ..] = SUITES;
        let path = "/bdrv-drain/driver-cb/co/drain";
        assert_eq!(drain.name_of(path), "driver_cb_co_drain");
        assert_eq!(iothread.name_of("/sync-op/pread"), "sync_op_pread");
        assert_eq!(aio.name_of("/aio/bh/delete"), "bh_delete");
        let path = "/aio/multi/mutex/mcs";
        assert_eq!(multithread.name_of(path), "aio_multi_mutex_mcs");
    }
}
