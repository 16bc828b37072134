//! `info`: what an image says about itself.

use std::collections::HashSet;
use std::sync::Arc;

use block_common::Value;
use block_gs::{BqlGuard, Node, NodeView, SnapshotInfo};
use block_io::Activity;

use super::call::{Call, Command, Failed, Output, because, fail};
use super::image::{Image, OpenAs};
use super::{describe, json, say};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "info",
    about: "Tells what an image is, how large, and what it is based on",
    usage: "[-f FMT | --image-opts] [-b] [-U] [--output human|json] FILE",
    help: "  -f, --format FMT      what the image is; without, it is looked into
      --image-opts      FILE is a string of options: driver=raw,file.filename=x
  -b, --backing-chain   tells it of all images that this one is based on, too
  -U, --force-share     looks even if somebody else is writing
      --output OFMT     human, or json for programs
      --object OBJECT   makes an object that options refer to

The disk size is what the file takes on the disk, which may be less than its
length. Nothing is read of the contents.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('b', "backing-chain"),
        Known::both('U', "force-share"),
        Known::name("output").value(),
        Known::name("object").value(),
    ],
    run,
};

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut output, mut chain) = (None, Output::Human, false);
    let mut with = OpenAs {
        no_backing: true,
        no_io: true,
        ..OpenAs::default()
    };
    call.each(bql, |name, value| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "backing-chain" => chain = true,
            "force-share" => with.force_share = true,
            "output" => output = Output::parse(value)?,
            _ => {}
        }
        Ok(())
    })?;
    let images = collect(bql, call.filename()?, format, with, chain)?;
    say(&match output {
        Output::Human => {
            let texts: Vec<String> = images.iter().map(|image| image.text("/", 0)).collect();
            texts.join("\n")
        }
        Output::Json if chain => {
            let all = images.iter().map(Facts::value).collect();
            json::pretty(&Value::List(all)) + "\n"
        }
        Output::Json => {
            let first = images.first().map_or(Value::Null, Facts::value);
            json::pretty(&first) + "\n"
        }
    });
    Ok(0)
}

/// An image, and those below it if the `chain` is wanted.
fn collect(
    bql: &mut BqlGuard,
    filename: &str,
    format: Option<String>,
    with: OpenAs<'_>,
    chain: bool,
) -> Result<Vec<Facts>, Failed> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut next = Some((filename.to_owned(), format, with.image_opts));
    while let Some((filename, format, image_opts)) = next.take() {
        if !seen.insert(filename.clone()) {
            let text = format!("Backing file '{filename}' creates an infinite loop.");
            return Err(fail(text));
        }
        let with = OpenAs {
            format: format.as_deref(),
            image_opts,
            ..with
        };
        let image = Image::open(bql, &filename, &with)?;
        let facts = Facts::of(bql, &image.node, true);
        image.close(bql);
        let facts = facts?;
        if let Some(backing) = facts.backing.as_ref().filter(|_| chain) {
            let Some(full) = &backing.full else {
                return Err(fail(format!(
                    "Could not determine absolute backing filename, but backing filename '{}' \
                     present",
                    backing.file
                )));
            };
            next = Some((full.clone(), backing.format.clone(), false));
        }
        found.push(facts);
    }
    Ok(found)
}

/// What is known about a node, and about those below it (`BlockGraphInfo`).
struct Facts {
    filename: String,
    format: &'static str,
    length: u64,
    allocated: Option<u64>,
    cluster_size: u32,
    is_dirty: Option<bool>,
    backing: Option<Backing>,
    snapshots: Vec<SnapshotInfo>,
    specific: Option<(String, Value)>,
    children: Vec<(String, Facts)>,
}

/// What an image is based on, as it says itself.
struct Backing {
    file: String,
    /// From anywhere; `None` if it cannot be known.
    full: Option<String>,
    format: Option<String>,
}

/// The file name of an image that was opened without its backing image, which
/// does not matter to who asks for it.
fn filename_alone(bql: &BqlGuard, node: NodeView<'_>) -> String {
    let driver = node.driver();
    let alone = node.cow_child().is_none() && node.header_backing(bql).is_some();
    if !alone {
        return filename(bql, node);
    }
    let file = node.primary_node();
    let file = file.filter(|_| driver.strong_options(bql).is_empty());
    if let Some(name) = file.and_then(|file| file.driver().filename(bql, file)) {
        return name;
    }
    let mut options = node.open_options(bql);
    if let Value::Map(options) = &mut options {
        options.retain(|(key, _)| key != "backing");
    }
    format!("json:{}", json::ordered(&options))
}

/// The file name as QEMU writes it.
pub(super) fn filename(bql: &BqlGuard, node: NodeView<'_>) -> String {
    match node.exact_filename(bql) {
        Some(name) => name,
        None => format!("json:{}", json::ordered(&node.open_options(bql))),
    }
}

impl Facts {
    /// Those of a node; `alone` if its backing image was left out.
    fn of(bql: &mut BqlGuard, node: &Node, alone: bool) -> Result<Facts, Failed> {
        let io = Arc::clone(node.io());
        let (length, allocated, info) = bql.block_on(async {
            let activity = Activity::begin(io).await;
            let request = activity.request();
            let length = request.length().await;
            (length, request.allocated_size().await, request.info().await)
        });
        let view = node.view(bql);
        let length = length.map_err(|error| {
            because(
                format_args!("Can't get image size '{}': ", filename(bql, view)),
                &error,
            )
        })?;
        let format = view.driver().format_name();
        let specific = view.driver().specific_info(bql);
        let backing = view
            .header_backing(bql)
            .filter(|said| !said.file.is_empty());
        let backing = backing.map(|said| Backing {
            file: said.file,
            full: view.full_backing_filename(bql).ok().flatten(),
            format: said.format.filter(|format| !format.is_empty()),
        });
        let snapshots = match view.snapshots(bql) {
            Ok(snapshots) => snapshots,
            Err(error) if error.errno() == block_common::error::errno::ENOTSUP => Vec::new(),
            Err(error) => return Err(because("Can't list snapshots: ", &error)),
        };
        let facts = Facts {
            filename: match alone {
                true => filename_alone(bql, view),
                false => filename(bql, view),
            },
            format,
            length: length.next_multiple_of(super::image::SECTOR),
            allocated: allocated.ok(),
            cluster_size: info.as_ref().map_or(0, |info| info.cluster_size),
            is_dirty: info.as_ref().ok().map(|info| info.is_dirty),
            backing,
            snapshots,
            specific: specific.map(|value| specific_of(format, value)),
            children: Vec::new(),
        };
        let children = view.children();
        let children: Vec<(String, Node)> = children
            .map(|edge| (edge.name().to_owned(), edge.child().node(bql)))
            .collect();
        // The last one first, as QEMU has them.
        let children = children.into_iter().rev();
        let children = children.map(|(name, child)| Ok((name, Facts::of(bql, &child, false)?)));
        Ok(Facts {
            children: children.collect::<Result<_, Failed>>()?,
            ..facts
        })
    }

    /// In lines. `path` is that of the node, with a slash at its end.
    fn text(&self, path: &str, depth: usize) -> String {
        let indent = "    ".repeat(depth);
        // What is below everything else is a protocol's.
        let [name, kind, length] = match self.children.is_empty() && depth > 0 {
            true => ["filename", "protocol type", "file length"],
            false => ["image", "file format", "virtual size"],
        };
        let allocated = self.allocated.map(describe::size);
        let mut lines = vec![
            format!("{name}: {}", self.filename),
            format!("{kind}: {}", self.format),
            format!(
                "{length}: {} ({} bytes)",
                describe::size(self.length),
                self.length
            ),
            format!(
                "disk size: {}",
                allocated.as_deref().unwrap_or("unavailable")
            ),
        ];
        if self.cluster_size != 0 {
            lines.push(format!("cluster_size: {}", self.cluster_size));
        }
        if self.is_dirty == Some(true) {
            lines.push("cleanly shut down: no".to_owned());
        }
        if let Some(backing) = &self.backing {
            let place = match &backing.full {
                None => " (cannot determine actual path)".to_owned(),
                Some(full) if *full == backing.file => String::new(),
                Some(full) => format!(" (actual path: {full})"),
            };
            lines.push(format!("backing file: {}{place}", backing.file));
            if let Some(format) = &backing.format {
                lines.push(format!("backing file format: {format}"));
            }
        }
        let mut text: String = lines
            .iter()
            .map(|line| format!("{indent}{line}\n"))
            .collect();
        if !self.snapshots.is_empty() {
            text += &describe::snapshots(&self.snapshots, depth * 4);
        }
        if let Some((_, specific)) = &self.specific
            && !describe::is_empty(specific)
        {
            text += &format!("{indent}Format specific information:\n");
            text += &describe::value(specific, depth + 1);
        }
        for (name, child) in &self.children {
            text += &format!("{indent}Child node '{path}{name}':\n");
            text += &child.text(&format!("{path}{name}/"), depth + 1);
        }
        text
    }

    /// For programs.
    fn value(&self) -> Value {
        let children = self.children.iter().map(|(name, child)| {
            Value::map([("name", name.as_str().into()), ("info", child.value())])
        });
        let mut entries = vec![
            ("filename", self.filename.as_str().into()),
            ("format", self.format.into()),
            ("virtual-size", self.length.into()),
        ];
        if let Some(dirty) = self.is_dirty {
            entries.push(("dirty-flag", dirty.into()));
        }
        if let Some(allocated) = self.allocated {
            entries.push(("actual-size", allocated.into()));
        }
        if self.cluster_size != 0 {
            entries.push(("cluster-size", u64::from(self.cluster_size).into()));
        }
        if let Some(backing) = &self.backing {
            entries.push(("backing-filename", backing.file.as_str().into()));
            if let Some(full) = &backing.full {
                entries.push(("full-backing-filename", full.as_str().into()));
            }
            if let Some(format) = &backing.format {
                entries.push(("backing-filename-format", format.as_str().into()));
            }
        }
        if !self.snapshots.is_empty() {
            let snapshots = self.snapshots.iter().map(snapshot_value).collect();
            entries.push(("snapshots", Value::List(snapshots)));
        }
        if let Some((kind, specific)) = &self.specific {
            let specific = Value::map([("type", kind.as_str().into()), ("data", specific.clone())]);
            entries.push(("format-specific", specific));
        }
        // What comes last stands before what its table keeps with it.
        entries.push(("children", Value::List(children.collect())));
        Value::map(entries)
    }
}

/// What a driver knows, and what that is called (`ImageInfoSpecific`).
fn specific_of(format: &str, value: Value) -> (String, Value) {
    if let (Some(Value::Text(kind)), Some(data)) = (value.get("type"), value.get("data")) {
        return (kind.clone(), data.clone());
    }
    let kind = match format {
        "host_device" | "host_cdrom" => "file",
        format => format,
    };
    (kind.to_owned(), value)
}

fn snapshot_value(info: &SnapshotInfo) -> Value {
    let mut entries = vec![
        ("id", describe::until_nul(&info.id).into()),
        ("name", describe::until_nul(&info.name).into()),
        ("vm-state-size", info.vm_state_size.into()),
        ("date-sec", info.date.as_secs().into()),
        ("date-nsec", u64::from(info.date.subsec_nanos()).into()),
        ("vm-clock-sec", info.vm_clock.as_secs().into()),
        (
            "vm-clock-nsec",
            u64::from(info.vm_clock.subsec_nanos()).into(),
        ),
    ];
    if let Some(count) = info.instructions {
        entries.push(("icount", count.into()));
    }
    Value::map(entries)
}
