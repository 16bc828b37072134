//! Changes of a whole image that do not come to their end: a write or a flush
//! of them fails, they are cancelled, or the machine stops. What is left is an
//! image with what it had before, and nothing wrong with it but leaks.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use block_common::Value;
use block_gs::{BqlGuard, GraphError, IoError, Node, NodeOptions, Perm, SnapshotInfo, SnapshotKey};
use block_io::aio::yield_now;
use block_io::{Preallocation, Repairs, Request, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};

use crate::support::tape::{Fails, Step, Tape};
use crate::support::{
    Random, at_a_path, attached, backend, beside_qemu_img, check, close, create, discard, disk,
    flush, open, pattern, read, text, write, zero,
};

/// Opens the image on a tape.
fn over(bql: &mut BqlGuard, tape: &Arc<Tape>, read_only: bool) -> Result<Node, GraphError> {
    over_with(bql, tape, read_only, Qcow2Options::default())
}

/// As [`over`], with options of the driver.
fn over_with(
    bql: &mut BqlGuard,
    tape: &Arc<Tape>,
    read_only: bool,
    settings: Qcow2Options,
) -> Result<Node, GraphError> {
    let file = tape.open(bql)?;
    let node = NodeOptions {
        read_only,
        unmap: true,
        ..NodeOptions::default()
    };
    let image = Qcow2Image::read(bql, &file)?;
    image.options(node).settings(settings).open(bql, "")
}

/// What is done to an image.
#[derive(Clone, Copy, Debug)]
enum Work {
    Amend(&'static [(&'static str, &'static str)]),
    Resize(u64),
    Snapshot,
    Apply,
    Delete,
}

const SIZE: u64 = 128 << 10;

const WORK: &[Work] = &[
    Work::Amend(&[("refcount_bits", "64")]),
    Work::Amend(&[("refcount_bits", "2")]),
    Work::Amend(&[("compat", "0.10")]),
    Work::Amend(&[("compat", "0.10"), ("lazy_refcounts", "off")]),
    Work::Amend(&[("lazy_refcounts", "on")]),
    Work::Resize(SIZE + (1 << 20)),
    Work::Snapshot,
    Work::Apply,
    Work::Delete,
];

fn options(of: &[(&str, &str)]) -> Value {
    Value::map(of.iter().map(|(key, value)| (*key, (*value).into())))
}

impl Work {
    fn run(self, bql: &mut BqlGuard, node: &Node) -> Result<(), GraphError> {
        let mut section = node.drain(bql);
        let key = SnapshotKey {
            id: Some("1"),
            name: None,
        };
        match self {
            Work::Amend(list) => section.amend_options(&options(list), false),
            Work::Resize(length) => Ok(section.io(async |request: Request<'_>| {
                request.truncate(length, true, Preallocation::Off).await
            })?),
            Work::Snapshot => section.create_snapshot(&mut SnapshotInfo {
                name: "new".to_owned(),
                ..SnapshotInfo::default()
            }),
            Work::Apply => section.goto_snapshot("1"),
            Work::Delete => section.delete_snapshot(key),
        }
    }

    /// As [`run`](Work::run), with a step that fails, done or not. Says also
    /// whether there are no more steps before that one.
    fn run_failing(
        self,
        bql: &mut BqlGuard,
        tape: &Tape,
        node: &Node,
        number: usize,
        done: bool,
    ) -> (Result<(), GraphError>, bool) {
        let step = tape.lock().asked + number;
        tape.lock().fails = Fails::Once { step, done };
        let outcome = self.run(bql, node);
        tape.lock().fails = Fails::Never;
        (outcome, tape.lock().asked <= step)
    }

    /// Whether counts and the flags that say of a cluster that it is not
    /// shared are stored one after the other: a check tells in between, and
    /// mends it without loss.
    fn changes_sharing(self) -> bool {
        matches!(self, Work::Snapshot | Work::Apply | Work::Delete)
    }

    /// Begins it, and cancels it after so many steps. Says whether it was
    /// over before that.
    fn cancel(self, bql: &mut BqlGuard, node: &Node, after: usize) -> bool {
        let prepared = match self {
            Work::Amend(list) => Some(node.prepare_amend(bql, &options(list), false)),
            _ => None,
        };
        let prepared = prepared.transpose().expect("prepared");
        let over = node.drain(bql).io(async |request: Request<'_>| {
            let work = match (self, &prepared) {
                (Work::Resize(length), _) => request.truncate(length, true, Preallocation::Off),
                (_, Some(prepared)) => request.amend(prepared.ready()?),
                _ => return Ok(true),
            };
            Ok::<bool, IoError>(some_steps(work, after).await)
        });
        if let Some(prepared) = prepared {
            prepared.end(bql);
        }
        over.expect("polled")
    }
}

/// Polls a future so often. Says whether it is over.
async fn some_steps(work: impl Future<Output = Result<(), IoError>>, steps: usize) -> bool {
    let mut work = pin!(work);
    for _ in 0..steps {
        let over = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await;
        if over {
            return true;
        }
        yield_now().await;
    }
    false
}

/// An image with data, zeroes and snapshots, over nothing.
fn image(bql: &mut BqlGuard, path: &Path) -> Vec<u8> {
    image_over(bql, path, false)
}

/// As [`image`], over another image if it is to have one.
fn image_over(bql: &mut BqlGuard, path: &Path, backing: bool) -> Vec<u8> {
    let name = backing.then(|| {
        std::fs::write(path.with_file_name("base"), vec![0xbb; SIZE as usize]).expect("written");
        "base".to_owned()
    });
    let options = CreateOptions {
        // With less there is no room for the name.
        cluster_size: if backing { 1024 } else { 512 },
        backing_format: name.as_ref().map(|_| "raw".to_owned()),
        backing_file: name,
        ..CreateOptions::new(SIZE)
    };
    create(bql, path, &options);
    let (node, device) = attached(bql, path);
    let none = WriteFlags::empty();
    write(bql, &device, 0, &pattern(40_000, 1)).expect("written");
    zero(bql, &device, 1024, 2048, none).expect("zeroed");
    flush(bql, &device).expect("stored");
    Work::Snapshot.run(bql, &node).expect("kept");
    write(bql, &device, 20_000, &pattern(30_000, 2)).expect("written");
    zero(bql, &device, 4096, 4096, none).expect("zeroed");
    zero(bql, &device, 100_352, 2048, none).expect("zeroed");
    flush(bql, &device).expect("stored");
    Work::Snapshot.run(bql, &node).expect("kept");
    write(bql, &device, 90_000, &pattern(3000, 3)).expect("written");
    close(bql, (device, node));
    std::fs::read(path).expect("read")
}

/// What the guest sees at first, and what it may see after the work.
fn contents(bql: &mut BqlGuard, work: Work, bytes: &[u8]) -> [Vec<u8>; 2] {
    let tape = Tape::new(bytes);
    let node = over(bql, &tape, false).expect("opened");
    let before = content(bql, &node);
    work.run(bql, &node).expect("done");
    let after = content(bql, &node);
    close(bql, node);
    [before, after]
}

/// What is in the first [`SIZE`] bytes.
fn content(bql: &mut BqlGuard, node: &Node) -> Vec<u8> {
    let device = backend(bql, node, Perm::CONSISTENT_READ).expect("nobody objects");
    read(bql, &device, 0, SIZE as usize).expect("read")
}

/// What is wrong with the image in these bytes, and what the guest sees in it.
fn look(bql: &mut BqlGuard, bytes: &[u8]) -> (u64, Vec<u8>) {
    let tape = Tape::new(bytes);
    let node = over(bql, &tape, true).expect("it can be opened");
    let found = check(bql, &node, Repairs::empty()).expect("looked at");
    let content = content(bql, &node);
    close(bql, node);
    (found.corruptions + found.check_errors, content)
}

/// As [`look`], after everything was repaired.
fn mended(bql: &mut BqlGuard, bytes: &[u8]) -> (u64, Vec<u8>) {
    let tape = Tape::new(bytes);
    let node = over(bql, &tape, false).expect("it can be opened");
    let all = Repairs::LEAKS | Repairs::ERRORS;
    let repaired = check(bql, &node, all);
    repaired.expect("looked at");
    close(bql, node);
    let bytes = tape.bytes();
    look(bql, &bytes)
}

/// The image goes on: it is written to, and closed; nothing is wrong with it.
fn goes_on(bql: &mut BqlGuard, tape: &Arc<Tape>, node: Node, expected: &[Vec<u8>; 2], what: &str) {
    let seen = content(bql, &node);
    assert!(expected.contains(&seen), "{what}: what is read has changed");
    let device = disk(bql, &node);
    for (number, at) in [0, 4096, 30_000, 70_000, 110_000].into_iter().enumerate() {
        let bytes = pattern(3000, 50 + number as u64);
        write(bql, &device, at, &bytes).expect("written");
    }
    flush(bql, &device).expect("stored");
    drop(device);
    let last = content(bql, &node);
    close(bql, node);
    let bytes = tape.bytes();
    let (wrong, stored) = look(bql, &bytes);
    assert_eq!(wrong, 0, "{what}: the image is damaged");
    assert!(stored == last, "{what}: something else was stored");
}

#[test]
fn what_fails_at_any_step_leaves_the_image_whole() {
    at_a_path(|bql, path| {
        let kinds = [image(bql, path), image_over(bql, path, true)];
        for (work, bytes) in WORK
            .iter()
            .flat_map(|work| kinds.iter().map(move |kind| (work, kind)))
        {
            let expected = contents(bql, *work, bytes);
            for done in [false, true] {
                for number in 0.. {
                    let tape = Tape::new(bytes);
                    let node = over(bql, &tape, false).expect("opened");
                    let (outcome, is_over) = work.run_failing(bql, &tape, &node, number, done);
                    let what = format!("{work:?}, step {number}, {done}");
                    goes_on(bql, &tape, node, &expected, &what);
                    if is_over {
                        outcome.expect("nothing failed");
                        assert!(number > 1, "{work:?} writes something");
                        break;
                    }
                }
            }
        }
    });
}

#[test]
fn zero_flags_that_cannot_be_taken_away_leak_nothing() {
    at_a_path(|bql, path| {
        let bytes = image_over(bql, path, true);
        let work = Work::Amend(&[("compat", "0.10")]);
        for done in [false, true] {
            for number in 0.. {
                let tape = Tape::new(&bytes);
                let node = over(bql, &tape, false).expect("opened");
                let (outcome, is_over) = work.run_failing(bql, &tape, &node, number, done);
                close(bql, node);
                let node = over(bql, &Tape::new(&tape.bytes()), true).expect("opened");
                let found = check(bql, &node, Repairs::empty()).expect("looked at");
                close(bql, node);
                let what = format!("step {number}, {done}: {outcome:?}");
                assert_eq!((found.corruptions, found.leaks), (0, 0), "{what}");
                if is_over {
                    break;
                }
            }
        }
    });
}

#[test]
fn what_is_cancelled_at_any_step_leaves_the_image_whole() {
    at_a_path(|bql, path| {
        let bytes = image_over(bql, path, true);
        let can = |work: &&Work| matches!(work, Work::Amend(_) | Work::Resize(_));
        for work in WORK.iter().filter(can) {
            let expected = contents(bql, *work, &bytes);
            for steps in 0.. {
                let tape = Tape::new(&bytes);
                let node = over(bql, &tape, false).expect("opened");
                let is_over = work.cancel(bql, &node, steps);
                let what = format!("{work:?}, cancelled after {steps}");
                goes_on(bql, &tape, node, &expected, &what);
                if is_over {
                    assert!(steps > 1, "{work:?} waits for something");
                    break;
                }
            }
        }
    });
}

#[test]
fn a_crash_at_any_flush_leaves_the_image_whole() {
    at_a_path(|bql, path| {
        let bytes = image_over(bql, path, true);
        let mut random = Random(1);
        for work in WORK {
            let expected = contents(bql, *work, &bytes);
            let tape = Tape::new(&bytes);
            let node = over(bql, &tape, false).expect("opened");
            work.run(bql, &node).expect("done");
            close(bql, node);
            let steps = tape.lock().steps.clone();
            let mut stored = bytes.clone();
            let mut since: Vec<&Step> = Vec::new();
            for (number, step) in steps.iter().enumerate() {
                if !matches!(step, Step::Flush) {
                    since.push(step);
                    continue;
                }
                // Each alone, all but each, none, all; then any sectors.
                let by_step = 2 * since.len() + 2;
                for chosen in 0..by_step + 4 {
                    let mut crashed = stored.clone();
                    for (at, step) in since.iter().enumerate() {
                        let is_stored = match chosen {
                            0 => false,
                            1 => true,
                            one if one < since.len() + 2 => at == one - 2,
                            other if other < by_step => at != other - 2 - since.len(),
                            _ => {
                                step.tear(&mut crashed, &mut random);
                                continue;
                            }
                        };
                        if is_stored || matches!(step, Step::Length(_)) {
                            step.apply(&mut crashed);
                        }
                    }
                    let (wrong, content) = look(bql, &crashed);
                    let what = format!("{work:?}, flush {number}, {chosen}");
                    assert!(expected.contains(&content), "{what}: data has changed");
                    if work.changes_sharing() {
                        assert_eq!(mended(bql, &crashed), (0, content), "{what}");
                    } else {
                        assert_eq!(wrong, 0, "{what}: the image is damaged");
                    }
                }
                for step in since.drain(..) {
                    step.apply(&mut stored);
                }
            }
        }
    });
}

#[test]
fn a_snapshot_that_cannot_be_made_leaves_nothing_behind() {
    at_a_path(|bql, path| {
        let bytes = image(bql, path);
        let tape = Tape::new(&bytes);
        let node = over(bql, &tape, false).expect("opened");
        // Some clusters are used twice by now: one of them more is too many.
        let narrow = Work::Amend(&[("refcount_bits", "2")]);
        narrow.run(bql, &node).expect("they fit");
        let refused = Work::Snapshot.run(bql, &node).expect_err("no room");
        assert_eq!(refused.errno(), 22);
        let found = check(bql, &node, Repairs::empty()).expect("looked at");
        assert_eq!((found.corruptions, found.leaks), (0, 0));
        close(bql, node);
    });
}

#[test]
fn what_is_cut_off_is_all_that_goes_whatever_fails() {
    at_a_path(|bql, path| {
        let bytes = image(bql, path);
        const KEPT: u64 = 30_208;
        let work = Work::Resize(KEPT);
        let expected = contents(bql, Work::Snapshot, &bytes)[0][..KEPT as usize].to_vec();
        let prefix = |bql: &mut BqlGuard, node: &Node| {
            let device = backend(bql, node, Perm::CONSISTENT_READ).expect("nobody objects");
            read(bql, &device, 0, KEPT as usize).expect("read")
        };
        for (done, number) in [false, true]
            .into_iter()
            .flat_map(|done| (0..100).map(move |n| (done, n)))
        {
            let what = format!("step {number}, {done}");
            let tape = Tape::new(&bytes);
            let node = over(bql, &tape, false).expect("opened");
            let (outcome, is_over) = work.run_failing(bql, &tape, &node, number, done);
            assert!(prefix(bql, &node) == expected, "{what}");
            assert_eq!(outcome.is_ok(), is_over, "{what}");
            // And then it grows: nothing of what was there comes back.
            work.run(bql, &node).expect("cut off");
            Work::Resize(SIZE).run(bql, &node).expect("longer");
            assert!(
                content(bql, &node)[KEPT as usize..]
                    .iter()
                    .all(|byte| *byte == 0),
                "{what}"
            );
            close(bql, node);
            let stored = tape.bytes();
            let (wrong, content) = look(bql, &stored);
            assert_eq!(wrong, 0, "{what}");
            assert!(content[..KEPT as usize] == expected, "{what}");
        }
    });
}

#[test]
fn qemu_finds_nothing_wrong_and_reads_each_snapshot() {
    beside_qemu_img(|bql, path, qemu_img| {
        let bytes = image_over(bql, path, true);
        let shown = |key: &str| {
            let to = path.with_file_name("shown");
            let mut line = vec!["convert", "-O", "raw"];
            if !key.is_empty() {
                line.extend(["-l", key]);
            }
            qemu_img.succeed([&line[..], &[text(path), text(&to)]].concat());
            std::fs::read(to).expect("converted")
        };
        let keys = ["", "snapshot.id=1", "snapshot.id=2"];
        let before: Vec<Vec<u8>> = keys.iter().map(|key| shown(key)).collect();
        for work in WORK {
            std::fs::write(path, &bytes).expect("written");
            let node = open(bql, path, false).expect("opened");
            work.run(bql, &node).expect("done");
            close(bql, node);
            let check = qemu_img.run(["check", text(path)]);
            assert!(check.status.success(), "{work:?}: {check:?}");
            if let Work::Amend(_) = work {
                let after: Vec<Vec<u8>> = keys.iter().map(|key| shown(key)).collect();
                assert!(before == after, "{work:?}: what is shown has changed");
            }
        }
    });
}

/// How many bytes of the file are given up by the work, with these options.
fn given_up(
    bql: &mut BqlGuard,
    bytes: &[u8],
    settings: Qcow2Options,
    work: impl FnOnce(&mut BqlGuard, &Node),
) -> u64 {
    let tape = Tape::new(bytes);
    let node = over_with(bql, &tape, false, settings).expect("opened");
    work(bql, &node);
    close(bql, node);
    tape.lock().discarded
}

#[test]
fn what_is_given_up_is_given_up_in_the_file_as_options_say() {
    at_a_path(|bql, path| {
        let bytes = image(bql, path);
        let with = |request: bool, snapshot: bool, other: bool| Qcow2Options {
            pass_discard_request: Some(request),
            pass_discard_snapshot: Some(snapshot),
            pass_discard_other: Some(other),
            ..Qcow2Options::default()
        };
        let guest = |bql: &mut BqlGuard, node: &Node| {
            let device = disk(bql, node);
            discard(bql, &device, 90_112, 2048).expect("given up");
            flush(bql, &device).expect("stored");
        };
        assert_eq!(given_up(bql, &bytes, with(true, false, false), guest), 2048);
        assert_eq!(given_up(bql, &bytes, with(false, true, true), guest), 0);

        let delete = |bql: &mut BqlGuard, node: &Node| {
            Work::Delete.run(bql, node).expect("deleted");
        };
        // Data, its tables, the table of the first level, that of snapshots.
        let deleted = given_up(bql, &bytes, with(false, true, false), delete);
        assert!(deleted > 20_000, "{deleted}");
        assert_eq!(given_up(bql, &bytes, with(true, false, true), delete), 0);

        let wider = |bql: &mut BqlGuard, node: &Node| {
            let work = Work::Amend(&[("refcount_bits", "64")]);
            work.run(bql, node).expect("amended");
        };
        let counts = given_up(bql, &bytes, with(false, false, true), wider);
        assert!(counts >= 1024, "blocks of counts and a table: {counts}");
        assert_eq!(given_up(bql, &bytes, with(true, true, false), wider), 0);

        let shorter = |bql: &mut BqlGuard, node: &Node| {
            Work::Resize(65536).run(bql, node).expect("shorter");
        };
        // Whoever cuts something off is never asked.
        let cut = given_up(bql, &bytes, with(false, false, false), shorter);
        assert!(cut >= 3000, "{cut}");

        let emptied = |bql: &mut BqlGuard, node: &Node| {
            let writer = disk(bql, node);
            writer.make_empty(bql).expect("emptied");
        };
        assert!(given_up(bql, &bytes, with(false, true, false), emptied) >= 3000);
        assert_eq!(given_up(bql, &bytes, with(true, false, true), emptied), 0);
    });
}

#[test]
fn a_size_can_be_changed_whatever_else_is_in_the_header() {
    at_a_path(|bql, path| {
        let mut bytes = image(bql, path);
        // An extension that nobody knows leaves no room in a header of 512
        // bytes, not even for what says that there are no more.
        const EXTENSION: [u8; 8] = (0x1234_5678 << 32 | 392_u64).to_be_bytes();
        bytes[112..120].copy_from_slice(&EXTENSION);
        bytes[120..512].fill(0);
        let tape = Tape::new(&bytes);
        let node = over(bql, &tape, false).expect("opened");
        for length in [65536, 1 << 20] {
            Work::Resize(length).run(bql, &node).expect("resized");
        }
        Work::Snapshot.run(bql, &node).expect("kept");
        let lazy = Work::Amend(&[("lazy_refcounts", "on")]);
        let refused = lazy.run(bql, &node).expect_err("there is no room");
        let text = "Header and extensions do not fit into a cluster";
        assert!(refused.to_string().ends_with(text), "{refused}");
        let content = content(bql, &node);
        close(bql, node);
        let stored = tape.bytes();
        assert_eq!(stored[112..116], EXTENSION[..4]);
        assert_eq!(look(bql, &stored), (0, content));
    });
}

#[test]
fn others_may_keep_what_they_have_when_an_image_gets_older() {
    at_a_path(|bql, path| {
        let bytes = image(bql, path);
        let tape = Tape::new(&bytes);
        let node = over(bql, &tape, false).expect("opened");
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = {
            let told = Arc::clone(&told);
            move |done, all| told.lock().expect("not poisoned").push((done, all))
        };
        let to = options(&[("compat", "0.10")]);
        let amended = node
            .drain(bql)
            .amend_options_telling(&to, false, Box::new(tell));
        amended.expect("amended");
        let told = told.lock().expect("not poisoned");
        let part = |(done, all): &(u64, u64)| *done as f64 / *all as f64;
        assert!(told.len() > 1 && told.is_sorted_by_key(part), "{told:?}");
        assert_eq!(told.last().map(part), Some(1.0), "{told:?}");
        for id in ["2", "1"] {
            node.drain(bql).goto_snapshot(id).expect("there");
            let device = disk(bql, &node);
            assert_eq!(
                read(bql, &device, 1024, 2048).expect("read"),
                vec![0; 2048],
                "{id}"
            );
            let data = read(bql, &device, 4096, 4096).expect("read");
            let is_data = data[..] == pattern(40_000, 1)[4096..8192];
            assert_eq!(is_data, id == "1", "{id}");
            assert_eq!(data == vec![0; 4096], id == "2", "{id}");
        }
        close(bql, node);
    });
}
