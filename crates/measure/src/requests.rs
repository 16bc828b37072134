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
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    found(devices(options)?);
    let (layers, each) = layers(options)?;
    found(layers);
    found(each);
    Ok(())
}

/// The depths of queues that are compared.
const DEPTHS: [&str; 2] = ["1", "64"];

/// A part of what QEMU needs, beyond which the profile says where it goes.
const BAR: f64 = 0.2;

#[derive(Clone)]
struct Cost {
    instructions: Instructions,
    time: Time,
}

/// What each contestant's requests cost. Profiles are of our own only.
fn compare<const N: usize>(
    options: &Options,
    contestants: [Contestant; N],
) -> Result<[Cost; N], Failure> {
    let times = contest(options, &contestants)?;
    let costs = contestants.iter().zip(times).map(|(contestant, time)| {
        let profile = contestant.is_own();
        let instructions = callgrind::count(options, contestant, REQUESTS, profile)?;
        Ok(Cost { instructions, time })
    });
    let costs: Vec<Cost> = costs.collect::<Result<_, Failure>>()?;
    costs
        .try_into()
        .map_err(|_| Failure::Usage("there is one cost for each contestant"))
}

/// Requests in our main loop, one after the other in the image.
fn ours(node: &str, depth: &str, write: bool) -> Result<Contestant, Failure> {
    let mut arguments = vec!["layer", node, "-d", depth, "-S", "4096"];
    if write {
        arguments.push("-w");
    }
    Contestant::work(&arguments)
}

/// The same in QEMU's.
fn qemu(node: &str, depth: &str, write: bool) -> Result<Contestant, Failure> {
    let mut arguments = vec!["--image-opts", node, "-d", depth, "-t", "none"];
    if write {
        arguments.push("-w");
    }
    Contestant::qemu_img(&arguments)
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
                let request = if write { "write" } else { "read" };
                options.say(&format!("requests: {device}, {request}, depth {depth}"));
                let both = [ours(&node, depth, write)?, qemu(&node, depth, write)?];
                let [ours, qemu] = compare(options, both)?;
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

/// All of it, and what one layer adds.
fn layers(options: &Options) -> Result<(Table, Table), Failure> {
    let columns = [
        "depth",
        "layers",
        "instructions, `raw`",
        "`stats`",
        "QEMU",
        "ns, `raw`",
        "`stats`",
        "QEMU",
    ];
    let mut all = Table::new(
        "Layers above a null device",
        "Reads as above, through 0, 1, 4 and 16 layers. `raw` passes everything on, and requests \
         skip it; `stats` looks at every request. QEMU's layers are `raw`.",
        &columns,
    );
    let mut each = Table::new(
        "What one layer adds",
        "The difference to no layers, divided by their number.",
        &columns,
    );
    for depth in DEPTHS {
        let mut base: Option<[Cost; 3]> = None;
        for layers in [0_usize, 1, 4, 16] {
            options.say(&format!("requests: {layers} layers, depth {depth}"));
            let contestants = [
                ours(&stacked("raw", layers), depth, false)?,
                ours(&stacked("stats", layers), depth, false)?,
                qemu(&stacked("raw", layers), depth, false)?,
            ];
            let costs = compare(options, contestants)?;
            let first = || [Cell::from(depth), layers.to_string().into()].into_iter();
            let instructions = costs
                .iter()
                .map(|cost| Cell::figure(cost.instructions.each, 0));
            let times = costs.iter().map(|cost| cost.time.cell());
            all.row(first().chain(instructions).chain(times).collect());
            if let Some(base) = &base {
                let pairs = || costs.iter().zip(base);
                let added = |with: f64, without: f64| (with - without) / layers as f64;
                let instructions = pairs().map(|(with, without)| {
                    Cell::figure(added(with.instructions.each, without.instructions.each), 1)
                });
                let times = pairs().map(|(with, without)| {
                    let ns = added(with.time.nanoseconds, without.time.nanoseconds);
                    Cell::Figure(ns, 1, with.time.clean && without.time.clean)
                });
                each.row(first().chain(instructions).chain(times).collect());
            }
            base.get_or_insert(costs);
        }
    }
    Ok((all, each))
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
