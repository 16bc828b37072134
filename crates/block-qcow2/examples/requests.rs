//! What a request costs: `requests IMAGE read|write|fresh COUNT [raw]`.
//!
//! Runs random 4 KiB requests one after the other on an image in the page
//! cache and says how long one took. To be run with a counter of instructions
//! around it, with two counts, whose difference is that of the requests.

use std::time::Instant;

use block_drivers::{File, Raw};
use block_gs::{Backend, BlockLayer, IoError, Perm};
use block_io::Buffer;
use block_qcow2::Qcow2Image;
use test_support::Random;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, what, count, rest @ ..] = &arguments[..] else {
        return Err("IMAGE read|write|fresh COUNT [raw]".into());
    };
    let count: u64 = count.parse()?;
    let is_raw = rest.iter().any(|word| word == "raw");
    BlockLayer::new()?.enter(|bql| -> Result<(), Box<dyn std::error::Error>> {
        let file = File::new(path).open(bql, "file")?;
        let node = match is_raw {
            true => Raw::over(&file).open(bql, "image")?,
            false => {
                let mut image = Qcow2Image::read(bql, &file)?;
                if let Some(said) = image.backing_file() {
                    let below = File::new(&said.file).read_only(true).open(bql, "below")?;
                    let below = match said.format.as_deref() {
                        Some("qcow2") => Qcow2Image::read(bql, &below)?
                            .read_only(true)
                            .open(bql, "")?,
                        _ => Raw::over(&below).read_only(true).open(bql, "")?,
                    };
                    image = image.backing(&below);
                }
                image.open(bql, "image")?
            }
        };
        let length = node.length(bql);
        let disk = Backend::new(bql, "", Perm::CONSISTENT_READ | Perm::WRITE, Perm::all())?;
        disk.insert(bql, &node)?;
        let began = Instant::now();
        bql.block_on(async {
            let mut buffer = Buffer::zeroed(4096);
            let mut random = Random(1);
            for number in 0..count {
                let block = match what.as_str() {
                    "fresh" => number * 16 % (length / 4096),
                    _ => random.next(length / 4096),
                };
                match what.as_str() {
                    "read" => disk.root().read(block * 4096, buffer.destination()).await?,
                    _ => disk.root().write(block * 4096, buffer.source()).await?,
                }
            }
            Ok::<(), IoError>(())
        })?;
        println!(
            "{:.3} us a request",
            began.elapsed().as_secs_f64() * 1e6 / count.max(1) as f64
        );
        Ok(())
    })
}
