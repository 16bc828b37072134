//! `snapshot`: snapshots inside an image; and images that show one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use block_common::error::errno;
use block_gs::{BqlGuard, Node, SnapshotInfo, SnapshotKey};

use super::call::{Call, Command, Failed, because, fail, strerror};
use super::image::{Image, OpenAs};
use super::{describe, say};
use crate::getopt::Known;
use crate::keyed::pieces;

pub(super) static COMMAND: Command = Command {
    name: "snapshot",
    about: "Lists, makes, goes back to and deletes snapshots inside an image",
    usage: "[-f FMT | --image-opts] [-U] [-q]\n         \
            [-l | -a SNAPSHOT | -c SNAPSHOT | -d SNAPSHOT] FILE",
    help: "  -l, --list             lists the snapshots; this is what is done without any
  -c, --create SNAPSHOT  makes one, of what is in the image now
  -a, --apply SNAPSHOT   makes the image what it was then; what is in it now is
                         lost
  -d, --delete SNAPSHOT  gives one up
  -f, --format FMT       what the image is; without, it is looked into
      --image-opts       FILE is a string of options
  -U, --force-share      lists even if somebody else is writing
  -q, --quiet            is accepted, and has no effect
      --object OBJECT    makes an object that options refer to

SNAPSHOT is the name of a snapshot; -a takes its ID too.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('l', "list"),
        Known::both('c', "create").value(),
        Known::both('a', "apply").value(),
        Known::both('d', "delete").value(),
        Known::both('U', "force-share"),
        Known::both('q', "quiet"),
        Known::name("object").value(),
    ],
    run,
};

/// What is to be done.
enum Action {
    List,
    Create(String),
    Apply(String),
    Delete(String),
}

/// How long the name of a snapshot can be, in bytes.
const MOST: usize = 255;

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut with, mut action) = (None, OpenAs::default(), None);
    call.each(bql, |name, value| {
        let value = value.to_owned();
        let chosen = match name {
            "list" => Action::List,
            "create" => Action::Create(value),
            "apply" => Action::Apply(value),
            "delete" => Action::Delete(value),
            _ => {
                match name {
                    "format" => format = Some(value),
                    "image-opts" => with.image_opts = true,
                    "force-share" => with.force_share = true,
                    _ => {}
                }
                return Ok(());
            }
        };
        match action.replace(chosen) {
            None => Ok(()),
            Some(_) => Err(Failed::Usage(
                "Cannot mix '-l', '-a', '-c', '-d'".to_owned(),
            )),
        }
    })?;
    let action = action.unwrap_or(Action::List);
    with.format = format.as_deref();
    with.writable = !matches!(action, Action::List);
    let image = Image::open(bql, call.filename()?, &with)?;
    let node = image.node.clone();
    match action {
        Action::List => list(bql, &node),
        Action::Create(name) => create(bql, &node, &name)?,
        Action::Apply(name) => {
            let before = format!("Could not apply snapshot '{name}': ");
            apply(bql, &node, &name, before)?;
        }
        Action::Delete(name) => delete(bql, &node, &name)?,
    }
    image.close(bql);
    Ok(0)
}

fn list(bql: &mut BqlGuard, node: &Node) {
    // An image that has none has nothing to list.
    let all = node.view(bql).snapshots(bql).unwrap_or_default();
    if !all.is_empty() {
        say(&describe::snapshots(&all, 0));
    }
}

fn create(bql: &mut BqlGuard, node: &Node, name: &str) -> Result<(), Failed> {
    let end = (0..=name.len().min(MOST)).rev();
    let end = end.into_iter().find(|end| name.is_char_boundary(*end));
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let mut info = SnapshotInfo {
        name: name[..end.unwrap_or(0)].to_owned(),
        // In steps of a microsecond.
        date: Duration::from_micros(now.as_micros().try_into().unwrap_or(u64::MAX)),
        instructions: Some(0),
        ..SnapshotInfo::default()
    };
    let created = node.drain(bql).create_snapshot(&mut info);
    created.map_err(|error| {
        let reason = strerror(error.errno());
        fail(format!("Could not create snapshot '{name}': {reason}"))
    })
}

/// The first snapshot that is meant.
fn find(
    bql: &BqlGuard,
    node: &Node,
    which: impl Fn(&SnapshotInfo) -> bool,
) -> Option<SnapshotInfo> {
    let all = node.view(bql).snapshots(bql).ok()?;
    all.into_iter().find(which)
}

fn apply(bql: &mut BqlGuard, node: &Node, called: &str, before: String) -> Result<(), Failed> {
    let by_id = find(bql, node, |info| info.id == called);
    let found = by_id.or_else(|| find(bql, node, |info| info.name == called));
    // Where there is none, the image says so.
    let id = found.map_or(called.to_owned(), |info| info.id);
    let gone = node.drain(bql).goto_snapshot(&id);
    gone.map_err(|error| because(before, &error))
}

fn delete(bql: &mut BqlGuard, node: &Node, called: &str) -> Result<(), Failed> {
    // An ID is not enough to lose something.
    let Some(info) = find(bql, node, |info| info.name == called) else {
        let text = format!("Could not delete snapshot '{called}': snapshot not found");
        return Err(fail(text));
    };
    let key = SnapshotKey {
        id: Some(&info.id),
        name: Some(&info.name),
    };
    let deleted = node.drain(bql).delete_snapshot(key);
    let before = format!("Could not delete snapshot '{called}': ");
    deleted.map_err(|error| because(before, &error))
}

/// Which snapshot an image is to show (`-l`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// By name or ID.
    Called(String),
    /// By both.
    Key(Option<String>, Option<String>),
}

impl Shown {
    /// Reads `NAME`, `ID`, or `snapshot.id=ID,snapshot.name=NAME`.
    ///
    /// # Errors
    /// [`Failed`] for another key.
    pub fn parse(text: &str) -> Result<Shown, Failed> {
        if !text.starts_with("snapshot.") {
            return Ok(Shown::Called(text.to_owned()));
        }
        let (mut id, mut name) = (None, None);
        for (key, value) in pieces(text) {
            let value = Some(value.unwrap_or_else(|| "on".to_owned()));
            match &*key {
                "snapshot.id" => id = value,
                "snapshot.name" => name = value,
                key => {
                    super::call::complain("qemu-img", &format!("Invalid parameter '{key}'"));
                    let text = format!("Failed in parsing snapshot param '{text}'");
                    return Err(fail(text));
                }
            }
        }
        Ok(Shown::Key(id, name))
    }
}

/// Lets the image show a snapshot.
///
/// # Errors
/// It shows what it showed.
pub(super) fn show(bql: &mut BqlGuard, node: &Node, shown: &Shown) -> Result<(), Failed> {
    let mut section = node.drain(bql);
    let loaded = match shown {
        Shown::Called(word) => section.load_snapshot_called(word),
        Shown::Key(id, name) => section.load_snapshot(SnapshotKey {
            id: id.as_deref(),
            name: name.as_deref(),
        }),
    };
    loaded.map_err(|error| match error.errno() {
        errno::ENOENT if error.to_string().is_empty() => fail("Failed to load snapshot"),
        _ => because("Failed to load snapshot: ", &error),
    })
}
