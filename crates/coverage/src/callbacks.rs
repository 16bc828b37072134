//! The tables of callbacks of QEMU's block layer, and the traits that they are
//! here.
//!
//! QEMU's tables have sections, and a comment over each says who calls what is
//! in it. Here each section is a trait, and what a callback gets says it: the
//! guard or a section in the global-state half, a request or nothing in the I/O
//! half, what belongs to a job in that of jobs.

use crate::api::Api;
use crate::proof::Proof;
use crate::table::Row;

/// The tables.
pub const TABLES: [&str; 5] = [
    "BlockDriver",
    "BdrvChildClass",
    "BlockDevOps",
    "JobDriver",
    "BlockJobDriver",
];

/// Who calls what is in a trait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// The main loop.
    Gs,
    /// Requests, in any thread.
    Io,
    /// The code of a job.
    Job,
}

/// A part of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The table of QEMU.
    pub table: &'static str,
    /// The trait here.
    pub path: &'static str,
    /// Which half it is.
    pub half: Half,
}

/// The parts.
pub const PARTS: [Part; 14] = [
    part("BlockDriver", "block_gs::BlockDriver", Half::Gs),
    part("BlockDriver", "block_gs::Snapshots", Half::Gs),
    part("BlockDriver", "block_gs::Breakpoints", Half::Gs),
    part("BlockDriver", "block_gs::PreparedReopen", Half::Gs),
    part("BlockDriver", "block_gs::CreateImage", Half::Io),
    part("BlockDriver", "block_io::DriverIo", Half::Io),
    part("BdrvChildClass", "block_gs::EdgeParent", Half::Gs),
    part("BlockDevOps", "block_gs::DeviceOps", Half::Gs),
    part("BlockDevOps", "block_gs::RemovableOps", Half::Gs),
    part("BlockDevOps", "block_io::DeviceIo", Half::Io),
    part("JobDriver", "block_jobs::JobDriver", Half::Gs),
    part("JobDriver", "block_jobs::JobRun", Half::Job),
    part("JobDriver", "block_jobs::PauseHooks", Half::Job),
    part("BlockJobDriver", "block_jobs::JobDriver", Half::Gs),
];

const fn part(table: &'static str, path: &'static str, half: Half) -> Part {
    Part { table, path, half }
}

/// What the global-state halves tell without a proof: what never changes of
/// whoever has them, and whether there is more of them.
pub const CONSTANT: [&str; 15] = [
    "block_gs::BlockDriver::format_name",
    "block_gs::BlockDriver::is_filter",
    "block_gs::BlockDriver::filtered_child_is_backing",
    "block_gs::BlockDriver::filtered_child_name",
    "block_gs::BlockDriver::supports_backing",
    "block_gs::BlockDriver::supports_persistent_bitmaps",
    "block_gs::BlockDriver::takes_children",
    "block_gs::BlockDriver::reopens",
    "block_gs::BlockDriver::snapshots",
    "block_gs::BlockDriver::breakpoints",
    "block_gs::DeviceOps::removable",
    "block_gs::EdgeParent::describe",
    "block_gs::EdgeParent::stays_at_node",
    "block_gs::EdgeParent::context",
    "block_jobs::JobDriver::kind",
];

/// The callbacks that drained sections call, in the middle of a walk.
pub const DRAIN: [&str; 8] = [
    "block_gs::BlockDriver::drain_begin",
    "block_gs::BlockDriver::drain_end",
    "block_gs::EdgeParent::drained_begin",
    "block_gs::EdgeParent::drained_poll",
    "block_gs::EdgeParent::drained_end",
    "block_gs::DeviceOps::drained_begin",
    "block_gs::DeviceOps::drained_poll",
    "block_gs::DeviceOps::drained_end",
];

impl Half {
    /// Whether a row of the table of functions that says `layer` is in it.
    fn holds(self, layer: &str) -> bool {
        match self {
            Half::Gs => matches!(layer, "gs" | "any"),
            Half::Io => layer == "io",
            Half::Job => matches!(layer, "job" | "any"),
        }
    }

    /// Whether its callbacks get this.
    fn hands_out(self, proof: Proof) -> bool {
        match self {
            Half::Gs => matches!(proof, Proof::Shared | Proof::Exclusive | Proof::Section),
            Half::Io => matches!(proof, Proof::Request | Proof::None),
            Half::Job => matches!(proof, Proof::Job | Proof::None),
        }
    }
}

/// The part of `table` that a place is in; `None` for a function that is no
/// callback here.
pub fn part_of(table: &str, place: &str) -> Option<Part> {
    let owner = place.rsplit_once("::").map_or("", |(owner, _)| owner);
    let mut parts = PARTS.into_iter().filter(|part| part.table == table);
    parts.find(|part| part.path == owner)
}

/// Callbacks of the tables that are in no half, or in the wrong one.
pub fn complaints_about_rows(rows: &[Row], api: &Api) -> Vec<String> {
    let mut complaints = Vec::new();
    let callbacks = rows.iter().filter(|row| TABLES.contains(&&*row.owner));
    for row in callbacks {
        for place in row.place.split(' ').filter(|place| !place.is_empty()) {
            let is_callback = api.function(place).is_some_and(|f| f.is_callback);
            match part_of(&row.owner, place) {
                Some(part) if !part.half.holds(&row.layer) => complaints.push(format!(
                    "{}: {place} is in the half {:?}, and the layer is `{}`",
                    row.title(),
                    part.half,
                    row.layer
                )),
                None if is_callback => complaints.push(format!(
                    "{}: {place} is in no half of its table",
                    row.title()
                )),
                _ => {}
            }
        }
    }
    complaints
}

/// Callbacks that get what those of their half must not have, or lack what they
/// must have.
pub fn complaints_about_signatures(api: &Api) -> Vec<String> {
    let mut complaints = Vec::new();
    for part in PARTS {
        let (krate, _) = part.path.split_once("::").unwrap_or_default();
        let prefix = format!("{}::", part.path);
        let mut callbacks = api
            .functions_of(krate)
            .filter(|(path, _)| path.starts_with(&prefix))
            .peekable();
        if callbacks.peek().is_none() {
            complaints.push(format!("there is no {}", part.path));
        }
        for (path, function) in callbacks {
            let is_constant = CONSTANT.contains(&path);
            if is_constant && function.proof != Proof::None {
                complaints.push(format!("{path} takes a proof after all"));
            } else if !is_constant && !part.half.hands_out(function.proof) {
                complaints.push(format!(
                    "{path} of the half {:?} gets `{}`",
                    part.half, function.proof
                ));
            }
        }
    }
    complaints
}

/// Drain callbacks that could poll: they would need the exclusive guard, a
/// section, or somebody who awaits them.
pub fn complaints_about_drain(api: &Api) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in DRAIN {
        let Some(function) = api.function(path) else {
            complaints.push(format!("there is no {path}"));
            continue;
        };
        if function.proof != Proof::Shared {
            complaints.push(format!("{path} gets `{}`", function.proof));
        }
        if function.is_async || !matches!(&*function.returns, "" | "bool") {
            complaints.push(format!("{path} can be awaited"));
        }
    }
    complaints
}
