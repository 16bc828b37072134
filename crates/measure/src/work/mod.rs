//! What the contestants of this program do, each as a process of its own.
//!
//! They print what `qemu-img bench` prints, with more digits. Whatever is not
//! repeated, such as opening files, is outside the time.

mod change;
mod image;
mod layer;
mod plain;
#[allow(unsafe_code)]
mod ring;

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use proof_cost::{Case, Variant};

use crate::error::Failure;

use change::Change;

/// One contestant.
#[derive(Args, Debug)]
pub struct Work {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand, Debug)]
enum Kind {
    /// Requests through this block layer.
    Layer(Requests),
    /// System calls, one after the other.
    Plain(Requests),
    /// io_uring without anything around it.
    Ring(Requests),
    /// Changes of a graph.
    Change(Change),
    /// How many bytes a node takes.
    Memory(Change),
    /// A function with or without a proof.
    Proof(Proof),
    /// Makes an image.
    Create(image::Create),
    /// Opens an image and asks for what there is to know of its chain.
    Open(image::Open),
    /// What `quiesce img` does.
    Img(image::Img),
}

/// Which function.
#[derive(Args, Clone, Debug)]
struct Proof {
    /// A case of `proof-cost`
    case: String,
    /// One of its variants
    variant: String,
    /// How often
    #[arg(short)]
    count: u64,
}

impl Proof {
    fn run(&self) -> Result<Duration, Failure> {
        let case = Case::named(&self.case).ok_or(Failure::Usage("there is no such case"))?;
        let variant = Variant::named(&self.variant);
        let variant = variant.ok_or(Failure::Usage("there is no such variant"))?;
        let start = Instant::now();
        proof_cost::repeat(&case, variant, self.count)?;
        Ok(start.elapsed())
    }
}

/// Which requests.
#[derive(Args, Clone, Debug)]
pub struct Requests {
    /// Options of a node, or a path
    pub target: String,
    /// How many
    #[arg(short)]
    pub count: u64,
    /// How many at a time
    #[arg(short, default_value_t = 1)]
    pub depth: usize,
    /// The bytes of each
    #[arg(short, default_value_t = 4096)]
    pub size: usize,
    /// From one to the next; without it they go anywhere
    #[arg(short = 'S')]
    pub step: Option<u64>,
    /// Write instead of reading
    #[arg(short, long)]
    pub write: bool,
    /// Look for holes instead of reading
    #[arg(long)]
    pub holes: bool,
    /// Past the page cache
    #[arg(long)]
    pub direct: bool,
}

impl Requests {
    /// Where they go in an image of `length` bytes.
    ///
    /// # Errors
    /// When none fits in there.
    fn offsets(&self, length: u64) -> Result<Offsets, Failure> {
        let size = self.size as u64;
        if size == 0 || length < size {
            return Err(Failure::Usage("the image is shorter than a request"));
        }
        Ok(Offsets {
            blocks: length / size,
            size,
            step: self.step,
        })
    }
}

/// Where requests go: the same places for everybody.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    blocks: u64,
    size: u64,
    step: Option<u64>,
}

impl Offsets {
    /// Of request number `n`. Costs everybody the same few instructions.
    #[inline]
    fn at(self, n: u64) -> u64 {
        match self.step {
            Some(step) => (n * step) % (self.blocks * self.size),
            None => {
                let part = u128::from(scatter(n)) * u128::from(self.blocks);
                (part >> 64) as u64 * self.size
            }
        }
    }
}

/// Numbers without order, the same each time (splitmix64).
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Does the work, and prints how long it took.
///
/// # Errors
/// Whatever went wrong.
pub fn main(work: &Work) -> Result<(), Failure> {
    let took: Duration = match &work.kind {
        Kind::Layer(requests) => layer::run(requests)?,
        Kind::Plain(requests) => plain::run(requests)?,
        Kind::Ring(requests) => ring::run(requests)?,
        Kind::Change(change) => change.run()?,
        Kind::Proof(proof) => proof.run()?,
        Kind::Create(create) => return create.run(),
        Kind::Open(open) => return open.run(),
        Kind::Img(img) => return img.run(),
        Kind::Memory(change) => {
            println!("{}", change.memory()?);
            return Ok(());
        }
    };
    println!("Run completed in {:.9} seconds.", took.as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_inside_and_reach_all_of_it() {
        for step in [None, Some(3 * 4096)] {
            let offsets = Offsets {
                blocks: 16,
                size: 4096,
                step,
            };
            let mut seen = [false; 16];
            for n in 0..1000 {
                let at = offsets.at(n);
                assert_eq!(at % 4096, 0);
                seen[(at / 4096) as usize] = true;
            }
            assert!(seen.iter().all(|&seen| seen), "{step:?}");
        }
    }
}
