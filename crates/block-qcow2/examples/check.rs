//! What a check costs: `check IMAGE TIMES`.
//!
//! Checks an image in the page cache so often. To be run with a counter of
//! instructions around it, with two counts, whose difference is that of the
//! checks.

use block_drivers::File;
use block_gs::BlockLayer;
use block_io::{Repairs, Request};
use block_qcow2::Qcow2Image;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, times] = &arguments[..] else {
        return Err("IMAGE TIMES".into());
    };
    let times: u64 = times.parse()?;
    BlockLayer::new()?.enter(|bql| -> Result<(), Box<dyn std::error::Error>> {
        let file = File::new(path).read_only(true).open(bql, "file")?;
        let image = Qcow2Image::read_to_be_checked(bql, &file)?;
        let node = image.read_only(true).open(bql, "image")?;
        for _ in 0..times {
            let check = async |request: Request<'_>| request.check(Repairs::empty()).await;
            let found = node.drain(bql).io(check)?;
            let clusters = found.clusters.unwrap_or_default();
            println!(
                "{} of {} clusters, {} corruptions, {} leaks",
                clusters.allocated, clusters.total, found.corruptions, found.leaks
            );
        }
        Ok(())
    })
}
