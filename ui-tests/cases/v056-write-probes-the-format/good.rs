//! Twin of bad.rs: a list that does not change once it is there needs no proof.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoError, IoFuture, Request, Source, WriteFlags};
use std::sync::{Arc, OnceLock};
use ui_tests::{disk, in_main_loop, null};

struct Format {
    bdrv_probe: fn(&[u8]) -> bool,
}

static BDRV_DRIVERS: OnceLock<Vec<Format>> = OnceLock::new();

fn bdrv_probe_all(header: &[u8]) -> bool {
    let drivers = BDRV_DRIVERS.get().expect("registered");
    drivers.iter().any(|driver| (driver.bdrv_probe)(header))
}

fn raw_co_pwritev<'r>(request: Request<'r>, offset: u64, from: Source<'r>) -> IoFuture<'r> {
    let mut header = [0; 4];
    from.split_at(4).0.copy_to_slice(&mut header);
    if offset == 0 && bdrv_probe_all(&header) {
        return IoFuture::failed(IoError::NotSupported);
    }
    let file = request.file();
    file.map_or_else(IoFuture::failed, |file| file.write(offset, from))
}

struct ProbedRaw;

#[rustfmt::skip]
impl DriverIo for ProbedRaw {
    fn read<'r>(&'r self, _: Request<'r>, _at: u64, _into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    fn write<'r>(&'r self, r: Request<'r>, at: u64, from: Source<'r>, _: WriteFlags) -> IoFuture<'r> {
        raw_co_pwritev(r, at, from)
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for ProbedRaw {
    fn format_name(&self) -> &'static str {
        "probed-raw"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let drivers = vec![Format {
            bdrv_probe: |header| header == b"QFI\xfb",
        }];
        assert!(BDRV_DRIVERS.set(drivers).is_ok());
        let file = null(bql, "file");
        let probed = NodeBuilder::new("probed").child("file", &file, Role::IMAGE);
        let node = probed.open(bql, Arc::new(ProbedRaw))?;
        let mut sector = Buffer::zeroed(512);
        let disk = disk(bql, "disk", &node);
        disk.write_blocking(bql, 0, sector.source())?;
        sector.as_mut_slice()[..4].copy_from_slice(b"QFI\xfb");
        assert!(disk.write_blocking(bql, 0, sector.source()).is_err());
        Ok(())
    });
}
