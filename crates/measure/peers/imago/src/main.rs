//! Requests to a qcow2 image through imago, in the words of `qemu-img bench`.
//!
//! imago makes its system calls in the thread that polls, so the cheapest
//! executor there is does, and as many futures as there are requests at a
//! time. `create` and `open` do what their names say, once.

use std::error::Error;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};
use futures::executor::block_on;
use futures::stream::{FuturesUnordered, TryStreamExt};
use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{
    FormatAccess, FormatCreateBuilder, FormatDriverBuilder, PermissiveImplicitOpenGate, Storage,
    StorageOpenOptions,
};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Requests
    Bench(Bench),
    /// Makes an image
    Create {
        /// Its name; the file must not be there
        image: PathBuf,
        /// Its size in bytes
        size: u64,
    },
    /// Opens an image and what is below, and closes it
    Open {
        /// Its name
        image: PathBuf,
    },
}

#[derive(clap::Args)]
struct Bench {
    /// The image
    image: PathBuf,
    /// How many requests
    #[arg(short)]
    count: u64,
    /// How many at a time
    #[arg(short, default_value_t = 1)]
    depth: usize,
    /// The bytes of each
    #[arg(short, default_value_t = 4096)]
    size: usize,
    /// From one to the next
    #[arg(short = 'S')]
    step: u64,
    /// Write instead of reading
    #[arg(short, long)]
    write: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    block_on(async {
        match Cli::parse().command {
            Command::Bench(bench) => bench.run().await,
            Command::Create { image, size } => create(&image, size).await,
            Command::Open { image } => open(&image, false).await.map(drop),
        }
    })
}

async fn open(image: &PathBuf, write: bool) -> Result<Arc<FormatAccess<File>>, Box<dyn Error>> {
    let image = Qcow2::<File>::builder_path(image)
        .write(write)
        .open(PermissiveImplicitOpenGate::default())
        .await?;
    Ok(Arc::new(FormatAccess::new(image)))
}

async fn create(image: &PathBuf, size: u64) -> Result<(), Box<dyn Error>> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(image)?;
    let file = File::open(StorageOpenOptions::new().filename(image).write(true)).await?;
    let builder = Qcow2::<File>::create_builder(file);
    builder.size(size).create().await?;
    Ok(())
}

impl Bench {
    async fn run(&self) -> Result<(), Box<dyn Error>> {
        let image = open(&self.image, self.write).await?;
        let length = image.size() / self.size as u64 * self.size as u64;
        let sent = AtomicU64::new(0);
        let start = Instant::now();
        let lanes: FuturesUnordered<_> = (0..self.depth)
            .map(|_| self.lane(&image, length, &sent))
            .collect();
        lanes.try_collect::<()>().await?;
        let took = start.elapsed().as_secs_f64();
        println!("Run completed in {took:.9} seconds.");
        image.flush().await?;
        Ok(())
    }

    /// One request after the other, until all have been sent.
    async fn lane(
        &self,
        image: &FormatAccess<File>,
        length: u64,
        sent: &AtomicU64,
    ) -> Result<(), std::io::Error> {
        let mut buffer = vec![0; self.size];
        loop {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return Ok(());
            }
            let offset = (number * self.step) % length;
            match self.write {
                false => image.read(buffer.as_mut_slice(), offset).await?,
                true => image.write(buffer.as_slice(), offset).await?,
            }
        }
    }
}
