//! Random requests against a strict driver, compared with a vector of bytes.

use std::ops::Range;
use std::sync::Arc;

use block_common::limits::MAX_LENGTH;
use block_gs::{BlockLimits, BqlGuard, IoError, IoThread, NodeOptions};
use block_io::aio::yield_now;
use block_io::{Buffer, Capabilities, DestinationVec, Perm, Preallocation, Root, WriteFlags};
use proptest::prelude::*;
use test_support::Random;

use crate::strict::{Kind, Setup, Strict};
use crate::support::{
    GROWING, backend, discard, disk, in_layer, pattern, read, strict, unmap, write,
    write_scattered, zeroes,
};

const SIZE: usize = 4 << 10;

#[derive(Clone, Debug)]
enum Step {
    Read(u64, usize, usize),
    Write(u64, usize, usize, u64, WriteFlags),
    Zeroes(u64, u64, WriteFlags),
    Discard(u64, u64),
    Truncate(u64),
    Flush,
    Fail(Kind, usize),
}

fn setups() -> impl Strategy<Value = Setup> {
    let alignment = prop_oneof![Just(1u32), Just(2), Just(64), Just(512), Just(4096)];
    let bounds = (
        prop_oneof![Just(0u64), Just(1), Just(100), Just(700), Just(2000)],
        prop_oneof![Just(1usize), Just(2), Just(3), Just(1024)],
        prop_oneof![Just(1u32), Just(128), Just(1024)],
        prop_oneof![Just(0u64), Just(1), Just(600), Just(1500)],
        prop_oneof![Just(1u32), Just(256), Just(2048)],
        prop_oneof![Just(0u64), Just(1), Just(600), Just(3000)],
    );
    let zero_flags = prop_oneof![
        Just(None),
        Just(Some(WriteFlags::empty())),
        Just(Some(
            WriteFlags::MAY_UNMAP | WriteFlags::FUA | WriteFlags::NO_FALLBACK
        )),
    ];
    let write_flags = prop_oneof![
        Just(WriteFlags::empty()),
        Just(WriteFlags::FUA),
        Just(WriteFlags::FUA | WriteFlags::UNCHANGED)
    ];
    let can = (zero_flags, write_flags, any::<bool>(), any::<bool>());
    (alignment, bounds, can, 0..3usize, 0..3usize).prop_map(
        |(alignment, bounds, can, turns, unable)| {
            let (max_transfer, max_segments, zero, max_zeroes, unit, max_discard) = bounds;
            let (zero_flags, write_flags, discards, variable_length) = can;
            Setup {
                limits: BlockLimits {
                    request_alignment: alignment,
                    max_transfer,
                    max_segments,
                    zero_alignment: zero,
                    max_zeroes,
                    discard_alignment: unit,
                    max_discard,
                    ..BlockLimits::default()
                },
                capabilities: Capabilities {
                    zero_flags,
                    write_flags,
                    discards,
                    variable_length,
                    flushes_to_disk: true,
                    ..Capabilities::default()
                },
                turns,
                unable,
                exclusive: true,
                backing: false,
            }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offset = 0..SIZE as u64 + 600;
    let len = prop_oneof![Just(0usize), 1..40usize, Just(512), 0..SIZE];
    let segments = prop_oneof![Just(1usize), 1..6usize];
    let flags = prop_oneof![
        3 => Just(WriteFlags::empty()),
        1 => Just(WriteFlags::FUA),
        1 => Just(WriteFlags::UNCHANGED),
    ];
    let zero_flags = prop_oneof![
        3 => Just(WriteFlags::empty()),
        1 => Just(WriteFlags::MAY_UNMAP | WriteFlags::FUA),
        1 => Just(WriteFlags::NO_FALLBACK),
    ];
    let kind = prop_oneof![
        Just(Kind::Read),
        Just(Kind::Write),
        Just(Kind::Zeroes),
        Just(Kind::Discard),
        Just(Kind::Truncate),
        Just(Kind::Flush),
    ];
    let zero_len = len.clone().prop_map(|len| len as u64);
    let step = prop_oneof![
        4 => (offset.clone(), len.clone(), segments.clone())
            .prop_map(|(offset, len, segments)| Step::Read(offset, len, segments)),
        5 => (offset.clone(), len, segments, any::<u64>(), flags)
            .prop_map(|(offset, len, segments, seed, flags)| {
                Step::Write(offset, len, segments, seed, flags)
            }),
        3 => (offset.clone(), zero_len.clone(), zero_flags)
            .prop_map(|(offset, len, flags)| Step::Zeroes(offset, len, flags)),
        1 => (offset.clone(), zero_len).prop_map(|(offset, len)| Step::Discard(offset, len)),
        1 => offset.prop_map(Step::Truncate),
        1 => Just(Step::Flush),
        1 => (kind, 0..3usize).prop_map(|(kind, after)| Step::Fail(kind, after)),
    ];
    prop::collection::vec(step, 1..25)
}

async fn read_scattered(
    root: &Root,
    offset: u64,
    len: usize,
    segments: usize,
) -> Result<Vec<u8>, IoError> {
    let piece = len.div_ceil(segments).max(1);
    let mut buffers: Vec<_> = (0..len)
        .step_by(piece)
        .map(|at| Buffer::zeroed(piece.min(len - at)))
        .collect();
    let mut vector = DestinationVec::new();
    for buffer in &mut buffers {
        buffer.as_mut_slice().fill(0xaa);
        vector.push(buffer.destination());
    }
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    request.read(offset, vector.destination()).await?;
    drop(in_flight);
    drop(vector);
    let parts = buffers.iter().map(Buffer::as_slice);
    Ok(parts.collect::<Vec<_>>().concat())
}

/// The bytes that should be there, and what follows from a request.
struct Model {
    bytes: Vec<u8>,
    block: u64,
}

impl Model {
    fn at(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// How long the node is after a write that ends at `end`: whole blocks
    /// are written.
    fn grow(&mut self, range: &Range<u64>) {
        let end = range.end.next_multiple_of(self.block) as usize;
        if !range.is_empty() && range.end.max(end as u64) > self.bytes.len() as u64 {
            self.bytes.resize(end.max(self.bytes.len()), 0);
        }
    }

    /// Success must be exactly so; after a failure the range may be old or
    /// new in each of its bytes, and no longer than it would be.
    fn settle(&mut self, driver: &Strict, range: Range<u64>, new: &[u8], ok: bool, step: &Step) {
        let old = self.bytes.len();
        let mut expected = Model {
            bytes: self.bytes.clone(),
            block: self.block,
        };
        expected.grow(&range);
        for (at, byte) in range.clone().zip(new) {
            expected.bytes[at as usize] = *byte;
        }
        let got = driver.bytes();
        if ok {
            assert!(got == expected.bytes, "{step:?}");
        } else {
            assert!(
                (old..=expected.bytes.len()).contains(&got.len()),
                "{step:?}"
            );
            for (at, &byte) in got.iter().enumerate() {
                let fine = byte == self.at(at) || byte == expected.at(at);
                assert!(fine, "{step:?}: byte {at} is neither old nor new");
            }
        }
        self.bytes = got;
    }
}

fn run(setup: Setup, length: usize, steps: &[Step]) {
    in_layer(|bql| {
        let start = pattern(length, 7);
        let mut model = Model {
            bytes: start.clone(),
            block: u64::from(setup.limits.request_alignment),
        };
        let (disk, node, driver) = disk(bql, start, setup.clone(), unmap(), GROWING);
        for step in steps {
            run_step(bql, disk.root(), &driver, &mut model, &setup, step);
            let (noted, real) = (node.io().length(), driver.bytes().len() as u64);
            assert_eq!(noted, real, "{step:?}");
            assert_eq!(disk.root().in_flight(), 0);
            driver.content();
        }
        driver.forgive();
        let whole = bql.block_on(read(disk.root(), 0, model.bytes.len()));
        assert!(whole.expect("read") == model.bytes);
    });
}

fn run_step(
    bql: &mut BqlGuard,
    root: &Root,
    driver: &Strict,
    model: &mut Model,
    setup: &Setup,
    step: &Step,
) {
    match *step {
        Step::Read(offset, len, segments) => {
            if let Ok(got) = bql.block_on(read_scattered(root, offset, len, segments)) {
                let range = offset as usize..offset as usize + len;
                let expected: Vec<_> = range.map(|at| model.at(at)).collect();
                assert!(got == expected, "{step:?}");
            }
        }
        Step::Write(offset, len, segments, seed, flags) => {
            let bytes = pattern(len, seed);
            let done = bql.block_on(write_scattered(root, offset, &bytes, segments, flags));
            let range = offset..offset + len as u64;
            model.settle(driver, range, &bytes, done.is_ok(), step);
        }
        Step::Zeroes(offset, len, flags) => {
            let done = bql.block_on(zeroes(root, offset, len, flags));
            let new = vec![0; len as usize];
            model.settle(driver, offset..offset + len, &new, done.is_ok(), step);
        }
        Step::Discard(offset, len) => {
            let done = bql.block_on(discard(root, offset, len));
            let end = (offset + len).min(model.bytes.len() as u64);
            let range = offset.min(end)..end;
            let new = vec![0; (range.end - range.start) as usize];
            // It may be refused or ignored, so never exactly so.
            let unaligned = !setup.capabilities.discards;
            if unaligned {
                done.as_ref().expect("a hint that nobody takes");
            }
            model.settle(driver, range, &new, false, step);
        }
        Step::Truncate(length) => {
            let done = bql.block_on(root.truncate(length, true, Preallocation::Off));
            if done.is_ok() {
                model.bytes.resize(length as usize, 0);
            }
            assert!(driver.bytes() == model.bytes, "{step:?}");
        }
        Step::Flush => {
            let _ = bql.block_on(root.flush());
        }
        Step::Fail(kind, after) => driver.fail(kind, after, 5),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_node_is_a_vector_of_bytes(
        setup in setups(),
        length in prop_oneof![Just(SIZE), 0..SIZE],
        steps in steps(),
    ) {
        run(setup, length, &steps);
    }
}

/// What one of several tasks does in bytes that are its own. Its blocks it
/// shares with its neighbours.
async fn owner(root: Root, range: Range<u64>, seed: u64, rounds: usize) {
    let len = (range.end - range.start) as usize;
    let mut mine = pattern(len, seed);
    write(&root, range.start, &mine, WriteFlags::empty())
        .await
        .expect("written");
    let mut random = Random(seed);
    let mut random = |below: usize| random.next(below.max(1) as u64) as usize;
    for round in 0..rounds {
        let start = random(len);
        let end = start + random(len - start) + 1;
        let at = range.start + start as u64;
        match random(4) {
            0 => {
                let bytes = (end - start) as u64;
                let done = zeroes(&root, at, bytes, WriteFlags::MAY_UNMAP).await;
                done.expect("zeroes");
                mine[start..end].fill(0);
            }
            1 => yield_now().await,
            _ => {
                let new = pattern(end - start, round as u64 + seed);
                let done = write_scattered(&root, at, &new, random(4) + 1, WriteFlags::empty());
                done.await.expect("written");
                mine[start..end].copy_from_slice(&new);
            }
        }
        let got = read(&root, range.start, len).await.expect("read");
        assert!(got == mine, "round {round}: a neighbour has overwritten it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn neighbours_in_a_block_lose_nothing(
        setup in setups(),
        seed: u64,
        mut cuts in prop::collection::btree_set(1..SIZE as u64, 3..9),
    ) {
        cuts.insert(SIZE as u64);
        in_layer(|bql| {
            let setup = Setup { exclusive: false, ..setup };
            let (disk, node, driver) = disk(bql, vec![0; SIZE], setup, unmap(), GROWING);
            let threads: Vec<_> = (0..2)
                .map(|number| IoThread::create(bql, &format!("io{number}")).expect("a thread"))
                .collect();
            let mut start = 0;
            let tasks: Vec<_> = cuts
                .iter()
                .enumerate()
                .map(|(number, &end)| {
                    let task = owner(disk.root().clone(), start..end, seed ^ end, 12);
                    start = end;
                    match threads.get(number % 3) {
                        Some(thread) => thread.context().spawn(task),
                        None => bql.context().spawn(task),
                    }
                })
                .collect();
            for task in tasks {
                bql.block_on(task);
            }
            assert_eq!(disk.root().in_flight(), 0);
            driver.content();
            drop(node);
        });
    }
}

/// Writes that only ever cover parts of blocks are all serialising: no two
/// that share a block are in the driver at once.
#[test]
fn parts_of_blocks_are_written_one_at_a_time() {
    in_layer(|bql| {
        let setup = Setup {
            turns: 3,
            exclusive: true,
            ..Setup::aligned(512)
        };
        let (disk, _node, driver) =
            disk(bql, vec![0; 2048], setup, NodeOptions::default(), GROWING);
        let tasks: Vec<_> = (0..64u64)
            .map(|number| {
                let root = disk.root().clone();
                bql.context().spawn(async move {
                    let byte = [number as u8 + 1; 31];
                    let done = write(&root, number * 31, &byte, WriteFlags::empty());
                    done.await
                })
            })
            .collect();
        for task in tasks {
            bql.block_on(task).expect("written");
        }
        let expected: Vec<u8> = (0..64 * 31).map(|at| (at / 31) as u8 + 1).collect();
        assert!(driver.bytes()[..64 * 31] == expected);
    });
}

/// The greatest lengths do not overflow anything.
#[test]
fn the_longest_zero_write_is_one_call() {
    in_layer(|bql| {
        let setup = Setup {
            capabilities: Capabilities {
                zero_flags: Some(WriteFlags::empty()),
                ..Capabilities::default()
            },
            ..Setup::aligned(512)
        };
        let (node, driver) = strict(bql, "disk", vec![0; 512], setup, NodeOptions::default());
        let disk = backend(bql, &node, Perm::CONSISTENT_READ | Perm::WRITE);
        let done = bql.block_on(zeroes(disk.root(), 0, MAX_LENGTH, WriteFlags::empty()));
        assert_eq!(done.expect_err("no permission to grow").errno(), 1);
        assert!(driver.calls().is_empty());
        let _ = Arc::strong_count(&driver);
    });
}
