//! Requests as a program without a block layer makes them: one system call
//! each, one after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, SeekFrom};

use super::Requests;
use crate::error::Failure;

/// Sends the requests, whatever the depth.
pub fn run(requests: &Requests) -> Result<Duration, Failure> {
    let (file, length) = open(requests)?;
    let offsets = requests.offsets(length)?;
    let mut memory = vec![0; requests.size + 4096];
    let aligned = memory.as_ptr().align_offset(4096);
    let buffer = &mut memory[aligned..aligned + requests.size];
    let start = Instant::now();
    for number in 0..requests.count {
        let offset = offsets.at(number);
        if requests.holes {
            look(&file, offset)?;
            continue;
        }
        let done = match requests.write {
            false => rustix::io::pread(&file, &mut *buffer, offset),
            true => rustix::io::pwrite(&file, &*buffer, offset),
        };
        if done.map_err(Failure::system("a transfer"))? != requests.size {
            return Err(Failure::Usage("a transfer came back short"));
        }
    }
    Ok(start.elapsed())
}

/// Finds out where the data ends.
fn look(file: &OwnedFd, offset: u64) -> Result<(), Failure> {
    let data = rustix::fs::seek(file, SeekFrom::Data(offset));
    let data = data.map_err(Failure::system("looking for data"))?;
    let hole = rustix::fs::seek(file, SeekFrom::Hole(data));
    std::hint::black_box(hole.map_err(Failure::system("looking for a hole"))?);
    Ok(())
}

/// The file, and its length in bytes.
pub fn open(requests: &Requests) -> Result<(OwnedFd, u64), Failure> {
    let mut flags = match requests.write {
        true => OFlags::RDWR,
        false => OFlags::RDONLY,
    };
    flags.set(OFlags::DIRECT, requests.direct);
    let failed = |error: rustix::io::Errno| Failure::File {
        path: Path::new(&requests.target).to_owned(),
        error: io::Error::from(error),
    };
    let file = rustix::fs::open(&*requests.target, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let length = rustix::fs::fstat(&file).map_err(failed)?.st_size;
    Ok((file, length.unsigned_abs()))
}
