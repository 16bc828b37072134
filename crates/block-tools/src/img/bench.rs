//! `bench`: how long many requests take.

use std::collections::VecDeque;
use std::time::Instant;

use block_gs::BqlGuard;
use block_io::aio::JoinHandle;
use block_io::{Buffer, IoError, Root};

use super::call::{Call, Command, Failed, fail, number, reason, size};
use super::image::{Image, OpenAs};
use super::say;
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "bench",
    about: "Sends many requests to an image, and tells how long they took",
    usage: "[-f FMT | --image-opts] [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-o OFFSET]\n         \
            [-w [--pattern BYTE] [--flush-interval N [--no-drain]]] [-t CACHE]\n         \
            [-i AIO] [-n] [-U] [-q] FILE",
    help: "  -c, --count COUNT         how many requests; 75000 without
  -d, --depth DEPTH         how many of them at a time; 64 without
  -s, --buffer-size SIZE    how long each is; 4096 without
  -S, --step-size STEP      how far from one to the next; SIZE without
  -o, --offset OFFSET       where the first is
  -w, --write               writes; without, it reads
      --pattern BYTE        what is written; 0 without
      --flush-interval N    flushes after every N writes
      --no-drain            does not wait for what is under way before that
  -f, --format FMT          what the image is; without, it is looked into
      --image-opts          FILE is a string of options
  -t, --cache CACHE         none, writeback, ...
  -i, --aio AIO             threads, native or io_uring
  -n, --native              as -i native
  -U, --force-share         reads even if somebody else is writing
  -q, --quiet               is accepted, and has no effect
",
    known: &[
        Known::both('h', "help"),
        Known::both('q', "quiet"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('t', "cache").value(),
        Known::both('c', "count").value(),
        Known::both('d', "depth").value(),
        Known::both('o', "offset").value(),
        Known::both('s', "buffer-size").value(),
        Known::both('S', "step-size").value(),
        Known::both('i', "aio").value(),
        Known::both('n', "native"),
        Known::both('w', "write"),
        Known::name("pattern").value(),
        Known::name("flush-interval").value(),
        Known::name("no-drain"),
        Known::both('U', "force-share"),
    ],
    run,
};

const MOST: u64 = i32::MAX as u64;
/// How much memory all requests together may have.
const MEMORY: u64 = 16 << 30;

/// What is sent.
#[derive(Clone, Copy)]
struct Plan {
    count: u64,
    depth: u64,
    offset: u64,
    bytes: u64,
    step: Option<u64>,
    writes: bool,
    pattern: u8,
    /// After how many writes; 0 for never.
    flush_after: u64,
    waits: bool,
}

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let mut plan = Plan {
        count: 75000,
        depth: 64,
        offset: 0,
        bytes: 4096,
        step: None,
        writes: false,
        pattern: 0,
        flush_after: 0,
        waits: true,
    };
    let (mut format, mut aio, mut with) = (None, None, OpenAs::default());
    call.each(bql, |name, value| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "force-share" => with.force_share = true,
            "cache" => {
                let mode = block_open::CacheMode::parse(value);
                with.cache = mode.ok_or_else(|| fail("Invalid cache mode"))?;
            }
            "count" => plan.count = number("request count", value, 1, MOST)?,
            "depth" => plan.depth = number("queue depth", value, 1, MOST)?,
            "offset" => plan.offset = size("offset", value)?,
            "buffer-size" => plan.bytes = number("buffer size", value, 1, MOST)?,
            "step-size" => plan.step = Some(number("step size", value, 1, MOST)?),
            "aio" => {
                block_open::parse_aio(value)
                    .ok_or_else(|| fail(format!("Invalid aio option: {value}")))?;
                aio = Some(value.to_owned());
            }
            "native" => aio = Some("native".to_owned()),
            "write" => plan.writes = true,
            "pattern" => plan.pattern = number("pattern byte", value, 0, 0xff)? as u8,
            "flush-interval" => plan.flush_after = number("flush interval", value, 1, MOST)?,
            "no-drain" => plan.waits = false,
            _ => {}
        }
        Ok(())
    })?;
    let filename = call.filename()?;
    if !plan.writes && plan.flush_after > 0 {
        let text = "--flush-interval is only available in write tests";
        return Err(fail(text));
    }
    if plan.flush_after > 0 && plan.flush_after < plan.depth {
        return Err(fail("Flush interval can't be smaller than depth"));
    }
    with.format = format.as_deref();
    with.aio = aio.as_deref();
    with.writable = plan.writes;
    let image = Image::open(bql, filename, &with)?;
    let length = image.length(bql).map_err(|_| Failed::Exit(1))?;
    say(&format!(
        "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size \
         {})\n",
        plan.count,
        if plan.writes { "write" } else { "read" },
        plan.bytes,
        plan.depth,
        plan.offset,
        plan.step.unwrap_or(plan.bytes)
    ));
    if plan.flush_after > 0 {
        say(&format!(
            "Sending flush every {} requests\n",
            plan.flush_after
        ));
    }
    let at_a_time = plan.depth.min(plan.count);
    if at_a_time.saturating_mul(plan.bytes) > MEMORY {
        return Err(fail("Failed request: Cannot allocate memory"));
    }
    let root = image.root().clone();
    let begun = Instant::now();
    bql.block_on(send(&root, plan, length))?;
    let took = begun.elapsed().as_secs_f64();
    say(&format!("Run completed in {took:.3} seconds.\n"));
    image.close(bql);
    Ok(0)
}

/// One request after the other, from `offset` on.
struct Lane {
    root: Root,
    plan: Plan,
    buffer: Buffer,
}

impl Lane {
    async fn send(&mut self, offset: u64) -> Result<(), IoError> {
        match self.plan.writes {
            true => self.root.write(offset, self.buffer.source()).await,
            false => self.root.read(offset, self.buffer.destination()).await,
        }
    }
}

fn failed(error: &IoError) -> Failed {
    fail(format!("Failed request: {}", reason(error)))
}

fn failed_flush(error: &IoError) -> Failed {
    fail(format!("Failed flush request: {}", reason(error)))
}

type Sent = JoinHandle<(Lane, Result<(), IoError>)>;

async fn send(root: &Root, plan: Plan, length: u64) -> Result<(), Failed> {
    let mut idle = Vec::new();
    for _ in 0..plan.depth.min(plan.count) {
        let mut buffer = Buffer::with_alignment(plan.bytes as usize, 4096);
        buffer.as_mut_slice().fill(plan.pattern);
        idle.push(Lane {
            root: root.clone(),
            plan,
            buffer,
        });
    }
    let context = root.context();
    let mut running: VecDeque<Sent> = VecDeque::new();
    let mut flushes = Vec::new();
    let mut offset = plan.offset;
    let mut since_flush = 0;
    for _ in 0..plan.count {
        let mut lane = match idle.pop() {
            Some(lane) => lane,
            None => finish(&mut running).await?,
        };
        let at = offset;
        let next = offset + plan.step.unwrap_or(plan.bytes);
        offset = next.checked_rem(length).unwrap_or(next);
        running.push_back(context.spawn(async move {
            let outcome = lane.send(at).await;
            (lane, outcome)
        }));
        since_flush += 1;
        if plan.flush_after > 0 && since_flush == plan.flush_after {
            since_flush = 0;
            if plan.waits {
                while !running.is_empty() {
                    idle.push(finish(&mut running).await?);
                }
                root.flush().await.map_err(|error| failed(&error))?;
            } else {
                let root = root.clone();
                flushes.push(context.spawn(async move { root.flush().await }));
            }
        }
    }
    while !running.is_empty() {
        finish(&mut running).await?;
    }
    for flush in flushes {
        flush.await.map_err(|error| failed_flush(&error))?;
    }
    Ok(())
}

/// Waits for the one that was sent first.
async fn finish(running: &mut VecDeque<Sent>) -> Result<Lane, Failed> {
    let Some(first) = running.pop_front() else {
        return Err(fail("Failed to issue request"));
    };
    let (lane, outcome) = first.await;
    outcome.map_err(|error| failed(&error))?;
    Ok(lane)
}
