//! Requests to null devices: what the block layer itself costs.

use crate::callgrind::{self, Instructions, REQUESTS};
use crate::cli::Options;
use crate::contest::{Contestant, Time, contest};
use crate::error::Failure;
use crate::report::{Cell, Table};

/// The section.
///
/// # Errors
/// When a contestant fails, or is missing.
pub fn measure(options: &Options) -> Result<Vec<Table>, Failure> {
    Ok(vec![devices(options)?, layers(options)?])
}

/// The depths of queues that are compared.
const DEPTHS: [&str; 2] = ["1", "64"];

/// A part of what QEMU needs, beyond which the profile says where it goes.
const BAR: f64 = 0.2;

/// Both sides of a comparison.
struct Pair {
    ours: Cost,
    qemu: Cost,
}

#[derive(Clone)]
struct Cost {
    instructions: Instructions,
    time: Time,
}

/// Sends the same requests to nodes that have the same options at both sides,
/// or nearly.
fn compare(
    options: &Options,
    ours: &str,
    qemu: &str,
    depth: &str,
    write: bool,
) -> Result<Pair, Failure> {
    let what = if ours.len() > 60 { "many layers" } else { ours };
    options.say(&format!("requests: {what}, depth {depth}, write {write}"));
    let mut mine = vec!["layer", ours, "-d", depth, "-S", "4096"];
    let mut theirs = vec!["--image-opts", qemu, "-d", depth, "-t", "none"];
    if write {
        mine.push("-w");
        theirs.push("-w");
    }
    let both = [Contestant::work(&mine)?, Contestant::qemu_img(&theirs)?];
    let times = contest(options, &both)?;
    let cost = |index: usize| -> Result<Cost, Failure> {
        Ok(Cost {
            instructions: callgrind::count(options, &both[index], REQUESTS, index == 0)?,
            time: times[index],
        })
    };
    Ok(Pair {
        ours: cost(0)?,
        qemu: cost(1)?,
    })
}

fn devices(options: &Options) -> Result<Table, Failure> {
    let mut table = Table::new(
        "Requests to null devices",
        "4 KiB requests, `quiesce`'s block layer and `qemu-img bench`, each in its main loop. \
         Instructions by callgrind, the difference of two counts of requests; time of the best \
         clean run, in turns on one CPU.",
        &[
            "device",
            "request",
            "depth",
            "instructions",
            "QEMU",
            "part",
            "ns",
            "QEMU",
            "part",
        ],
    );
    for device in ["null-co", "null-aio"] {
        for write in [false, true] {
            for depth in DEPTHS {
                let node = format!("driver={device},size=1G,read-zeroes=off");
                let Pair { ours, qemu } = compare(options, &node, &node, depth, write)?;
                let request = if write { "write" } else { "read" };
                let part = ours.instructions.each / qemu.instructions.each;
                table.row(vec![
                    device.into(),
                    request.into(),
                    depth.into(),
                    Cell::figure(ours.instructions.each, 0),
                    Cell::figure(qemu.instructions.each, 0),
                    Cell::figure(part, 3),
                    ours.time.cell(),
                    qemu.time.cell(),
                    ours.time.ratio(qemu.time),
                ]);
                let in_time = ours.time.nanoseconds <= BAR * qemu.time.nanoseconds;
                if part > BAR || !in_time {
                    table.note(
                        format!("Where they go, {device} {request}s at depth {depth}:"),
                        ours.instructions.lines(),
                    );
                }
            }
        }
    }
    Ok(table)
}

fn layers(options: &Options) -> Result<Table, Failure> {
    let mut table = Table::new(
        "Layers above a null device",
        "Reads as above, through 0, 1, 4 and 16 layers. `raw` passes everything on, and requests \
         skip it; `stats` looks at every request. QEMU's layers are `raw` both times. The last \
         four columns are what one layer adds.",
        &[
            "layer",
            "layers",
            "depth",
            "instructions",
            "QEMU",
            "ns",
            "QEMU",
            "instructions a layer",
            "QEMU",
            "ns a layer",
            "QEMU",
        ],
    );
    for layer in ["raw", "stats"] {
        for depth in DEPTHS {
            let mut base: Option<Pair> = None;
            for layers in [0_usize, 1, 4, 16] {
                let ours = stacked(layer, layers);
                let qemu = stacked("raw", layers);
                let pair = compare(options, &ours, &qemu, depth, false)?;
                let mut row = vec![
                    layer.into(),
                    layers.to_string().into(),
                    depth.into(),
                    Cell::figure(pair.ours.instructions.each, 0),
                    Cell::figure(pair.qemu.instructions.each, 0),
                    pair.ours.time.cell(),
                    pair.qemu.time.cell(),
                ];
                match &base {
                    None => row.extend([Cell::None, Cell::None, Cell::None, Cell::None]),
                    Some(base) => {
                        let each = |with: f64, without: f64| (with - without) / layers as f64;
                        let instructions = |with: &Cost, without: &Cost| {
                            each(with.instructions.each, without.instructions.each)
                        };
                        let time = |with: &Cost, without: &Cost| {
                            let ns = each(with.time.nanoseconds, without.time.nanoseconds);
                            Cell::Figure(ns, 1, with.time.clean && without.time.clean)
                        };
                        row.extend([
                            Cell::figure(instructions(&pair.ours, &base.ours), 1),
                            Cell::figure(instructions(&pair.qemu, &base.qemu), 0),
                            time(&pair.ours, &base.ours),
                            time(&pair.qemu, &base.qemu),
                        ]);
                    }
                }
                table.row(row);
                base.get_or_insert(pair);
            }
        }
    }
    Ok(table)
}

/// Options of so many layers over a null device.
fn stacked(layer: &str, layers: usize) -> String {
    let mut options = String::new();
    for level in 0..layers {
        options += &format!("{}driver={layer},", "file.".repeat(level));
    }
    let file = "file.".repeat(layers);
    options + &format!("{file}driver=null-co,{file}size=1G,{file}read-zeroes=off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_stacked_in_options() {
        assert_eq!(
            stacked("raw", 2),
            "driver=raw,file.driver=raw,file.file.driver=null-co,file.file.size=1G,\
             file.file.read-zeroes=off"
        );
    }
}
