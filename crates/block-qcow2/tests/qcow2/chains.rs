//! Long chains of backing images, made by QEMU and by us.

use std::path::{Path, PathBuf};

use block_drivers::File;
use block_gs::{BqlGuard, IoThread, Node, NodeOptions, Perm};
use block_io::{Buffer, IoError, NodeUid, Request, StatusFlags, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Image};

use crate::support::{
    READ_WRITE, Random, Tool, backend, close, create, disk, in_layer, qemu_reads, read, write, zero,
};

/// What no image of these is longer than.
const MOST: u64 = 1 << 20;

/// Opens each image of a chain, from the lowest up; the last one for writing.
fn open_all(bql: &mut BqlGuard, paths: &[PathBuf]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let read_only = number + 1 < paths.len();
        let file = File::new(path).read_only(read_only).open(bql, "");
        let mut image = Qcow2Image::read(bql, &file.expect("opened")).expect("an image");
        if let Some(below) = nodes.last() {
            image = image.backing(below);
        }
        let options = NodeOptions {
            read_only,
            unmap: true,
            ..Default::default()
        };
        nodes.push(image.options(options).open(bql, "").expect("opened"));
    }
    nodes
}

/// Makes a chain; each image has something of its own.
fn make_chain(
    bql: &mut BqlGuard,
    tools: &(Tool, Tool),
    directory: &Path,
    depth: usize,
    seed: u64,
) -> Vec<PathBuf> {
    let mut random = Random(seed);
    let mut paths: Vec<PathBuf> = Vec::new();
    for number in 0..depth {
        let path = directory.join(format!("{number}"));
        let text = path.to_str().expect("text").to_owned();
        let cluster_size = [512, 4096, 16384, 65536][random.next(4) as usize];
        let extended_l2 = cluster_size == 16384 && random.next(2) == 0;
        let size = match random.next(3) {
            0 => MOST,
            _ => (MOST / 4 + random.next(MOST * 3 / 4)) & !511,
        };
        let below = (number > 0).then(|| format!("{}", number - 1));
        let is_ours = random.next(2) == 0;
        let pieces: Vec<(u64, u64, u64)> = (0..4)
            .map(|_| {
                let from = random.next(size / 512) * 512;
                let most = [512, 5000, 70_000][random.next(3) as usize];
                let bytes = (512 + random.next(most) / 512 * 512).min(size - from);
                (from, bytes, random.next(5))
            })
            .collect();
        paths.push(path.clone());
        if is_ours {
            let options = CreateOptions {
                cluster_size,
                extended_l2,
                backing_format: below.as_ref().map(|_| "qcow2".to_owned()),
                backing_file: below,
                ..CreateOptions::new(size)
            };
            create(bql, &path, &options);
            let nodes = open_all(bql, &paths);
            let disk = disk(bql, nodes.last().expect("one"));
            for (from, bytes, kind) in pieces {
                match kind {
                    0 => zero(bql, &disk, from, bytes, WriteFlags::MAY_UNMAP).expect("zeroed"),
                    _ => {
                        let data = vec![number as u8 + 1; bytes as usize];
                        write(bql, &disk, from, &data).expect("written");
                    }
                }
            }
            close(bql, (disk, nodes));
        } else {
            let options = format!(
                "cluster_size={cluster_size},extended_l2={}",
                if extended_l2 { "on" } else { "off" }
            );
            let mut arguments = vec!["create", "-q", "-f", "qcow2", "-o", &options];
            if let Some(below) = &below {
                arguments.extend(["-F", "qcow2", "-b", below]);
            }
            let length = size.to_string();
            arguments.extend([text.as_str(), &length]);
            tools.0.succeed(&arguments);
            let commands: Vec<String> = pieces
                .into_iter()
                .map(|(from, bytes, kind)| match kind {
                    0 => format!("write -z -u {from} {bytes}"),
                    1 => format!("discard {from} {bytes}"),
                    _ => format!("write -P {} {from} {bytes}", number + 1),
                })
                .collect();
            let mut arguments = vec!["-f", "qcow2"];
            arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
            arguments.push(&text);
            tools.1.succeed(&arguments);
        }
    }
    paths
}

/// What is known of a range, as QEMU's `map` tells it.
#[derive(PartialEq, Eq, Debug)]
struct Known {
    start: u64,
    length: u64,
    depth: usize,
    flags: StatusFlags,
    at: Option<(NodeUid, u64)>,
}

const TOLD: StatusFlags = StatusFlags::DATA
    .union(StatusFlags::ZERO)
    .union(StatusFlags::ALLOCATED)
    .union(StatusFlags::COMPRESSED);

async fn look(top: Request<'_>, start: u64, end: u64) -> Result<Known, IoError> {
    let mut at = top;
    let mut length = end - start;
    for depth in 0.. {
        let status = at.block_status(start, length, true).await?;
        length = status.bytes;
        let flags = status.flags & TOLD;
        let place = status.at.map(|(node, offset)| (node.uid(), offset));
        let decides = flags.intersects(StatusFlags::ZERO | StatusFlags::DATA);
        let below = at.cow();
        let known = |flags, at| Known {
            start,
            length,
            depth,
            flags,
            at,
        };
        match below {
            _ if decides => return Ok(known(flags, place)),
            Some(below) => at = below,
            None => return Ok(known(StatusFlags::empty(), None)),
        }
    }
    Err(IoError::NotSupported)
}

/// As `qemu-img map --output=json` has it.
fn map(bql: &mut BqlGuard, node: &Node) -> String {
    let end = node.io().length();
    let all = node
        .drain(bql)
        .io(async |request: Request<'_>| -> Result<_, IoError> {
            let mut all: Vec<Known> = Vec::new();
            let mut start = 0;
            while start < end {
                let next = look(request, start, end).await?;
                start += next.length;
                match all.last_mut() {
                    Some(last)
                        if last.flags == next.flags
                            && last.depth == next.depth
                            && match (last.at, next.at) {
                                (None, None) => true,
                                (Some((node, offset)), Some((other, begin))) => {
                                    node == other && offset + last.length == begin
                                }
                                _ => false,
                            } =>
                    {
                        last.length += next.length;
                    }
                    _ => all.push(next),
                }
            }
            Ok(all)
        })
        .expect("known");
    let lines = all.iter().map(|known| {
        let has = |flag| known.flags.contains(flag);
        let offset = known.at.map_or(String::new(), |(_, offset)| {
            format!(", \"offset\": {offset}")
        });
        format!(
            "{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, \
             \"data\": {}, \"compressed\": {}{offset}}}",
            known.start,
            known.length,
            known.depth,
            has(StatusFlags::ALLOCATED),
            has(StatusFlags::ZERO),
            has(StatusFlags::DATA),
            has(StatusFlags::COMPRESSED),
        )
    });
    format!("[{}]\n", lines.collect::<Vec<_>>().join(",\n"))
}

/// Start, length, depth, flags and offset of what is alike.
type Alike = (u64, u64, u64, [bool; 4], Option<u64>);

/// A map in which data is data: where a file has holes within what is data,
/// one may tell and the other not.
fn without_holes(map: &str) -> Vec<Alike> {
    let number = |line: &str, key: &str| {
        let (_, value) = line.split_once(&format!("\"{key}\": "))?;
        let end = value.find([',', '}'])?;
        value[..end].trim().parse::<u64>().ok()
    };
    let mut all: Vec<Alike> = Vec::new();
    for line in map.lines() {
        let has = |key: &str| line.contains(&format!("\"{key}\": true"));
        let flags = [
            has("present"),
            has("zero") && !has("data"),
            has("data"),
            has("compressed"),
        ];
        let told = |key: &str| number(line, key).expect("a number");
        let (start, length, depth) = (told("start"), told("length"), told("depth"));
        let offset = number(line, "offset");
        match all.last_mut() {
            Some(last)
                if (last.2, last.3) == (depth, flags)
                    && last.4.map(|offset| offset + last.1) == offset =>
            {
                last.1 += length;
            }
            _ => all.push((start, length, depth, flags, offset)),
        }
    }
    all
}

fn chain_of(depth: usize, seed: u64) {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    let tools = (qemu_img, qemu_io);
    in_layer(|bql, directory| {
        let paths = make_chain(bql, &tools, directory.path(), depth, seed);
        let top = paths.last().expect("one");
        let expected = qemu_reads(&tools.0, top);
        let said = tools
            .0
            .succeed(["map", "--output=json", top.to_str().expect("text")]);
        let nodes = open_all(bql, &paths);
        let node = nodes.last().expect("one");
        assert_eq!(node.io().length(), expected.len() as u64);
        let device = backend(bql, node, Perm::CONSISTENT_READ).expect("a reader");
        let seen = read(bql, &device, 0, expected.len()).expect("read");
        let differs = seen
            .iter()
            .zip(&expected)
            .position(|(one, other)| one != other);
        assert_eq!(differs, None);
        assert_eq!(without_holes(&map(bql, node)), without_holes(&said));
        close(bql, (device, nodes));
        for path in &paths {
            tools
                .0
                .succeed(["check", "-q", path.to_str().expect("text")]);
        }
    });
}

#[test]
fn short_chains_are_read_as_qemu_reads_them() {
    for (depth, seed) in [(2, 1), (3, 2), (5, 3), (9, 4)] {
        chain_of(depth, seed);
    }
}

#[test]
fn a_long_chain_is_read_as_qemu_reads_it() {
    chain_of(64, 5);
}

#[test]
fn a_long_chain_is_used_while_a_node_in_the_middle_is_drained() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    let tools = (qemu_img, qemu_io);
    const SLOTS: u64 = 3;
    in_layer(|bql, directory| {
        let paths = make_chain(bql, &tools, directory.path(), 64, 6);
        let expected = qemu_reads(&tools.0, paths.last().expect("one"));
        let nodes = open_all(bql, &paths);
        let top = nodes.last().expect("one").clone();
        let device = backend(bql, &top, READ_WRITE).expect("nobody objects");
        let threads: Vec<IoThread> = (0..SLOTS)
            .map(|number| IoThread::create(bql, &format!("io{number}")).expect("a thread"))
            .collect();
        let slot = expected.len() as u64 / SLOTS / 512 * 512;
        // Everybody has a part of the image, whose bytes nobody else changes.
        let tasks: Vec<_> = threads
            .iter()
            .zip(0..SLOTS)
            .map(|(thread, number)| {
                let first = number * slot;
                let mut model = expected[first as usize..(first + slot) as usize].to_vec();
                let root = device.root().clone();
                thread.context().spawn(async move {
                    let mut random = Random(number + 100);
                    for step in 0..300u32 {
                        let from = random.next(slot) as usize;
                        let bytes = (1 + random.next(20_000) as usize).min(slot as usize - from);
                        let offset = first + from as u64;
                        let here = from..from + bytes;
                        match random.next(6) {
                            0 => {
                                model[here.clone()].fill(step as u8);
                                let buffer = Buffer::from(&model[here]);
                                root.write(offset, buffer.source()).await.expect("written");
                            }
                            1 => {
                                model[here].fill(0);
                                let flags = WriteFlags::MAY_UNMAP;
                                root.write_zeroes(offset, bytes as u64, flags)
                                    .await
                                    .expect("zeroed");
                            }
                            _ => {
                                let mut buffer = Buffer::zeroed(bytes);
                                root.read(offset, buffer.destination()).await.expect("read");
                                assert!(buffer.as_slice() == &model[here], "{offset}+{bytes}");
                            }
                        }
                    }
                    model
                })
            })
            .collect();
        let mut turn = 0;
        while !tasks.iter().all(|task| task.is_finished()) {
            turn += 1;
            let middle = &nodes[[10, 32, 63, 0][turn % 4]];
            let mut section = middle.drain(bql);
            section
                .io(async |request: Request<'_>| request.length().await)
                .expect("known");
            section.end();
            bql.run_for(std::time::Duration::from_millis(1));
        }
        let mut now = Vec::new();
        for task in tasks {
            now.extend(bql.block_on(task));
        }
        now.extend_from_slice(&expected[now.len()..]);
        assert!(read(bql, &device, 0, now.len()).expect("read") == now);
        close(bql, (device, top, nodes));
        let text = paths
            .last()
            .expect("one")
            .to_str()
            .expect("text")
            .to_owned();
        tools.0.succeed(["check", "-q", &text]);
        assert!(qemu_reads(&tools.0, paths.last().expect("one")) == now);
    });
}
