//! Requests by io_uring, with nothing around it but what it needs.
//!
//! **Fenced module.** The kernel writes to memory that the loop owns: each
//! slot's buffer stays where it is, and untouched, from submission to
//! completion, and all have completed before the memory goes.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use super::{Requests, plain};
use crate::error::Failure;

/// Keeps `depth` requests in flight until all have been sent.
pub fn run(requests: &Requests) -> Result<Duration, Failure> {
    let failed = Failure::system::<io::Error>;
    let (file, length) = plain::open(requests)?;
    let offsets = requests.offsets(length)?;
    let entries = requests.depth.next_power_of_two().clamp(1, 4096) as u32;
    // The flags with which the kernel does least.
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(entries)
        .or_else(|_| IoUring::new(entries))
        .map_err(failed("io_uring"))?;

    let depth = requests.depth.min(entries as usize);
    let mut memory = vec![0u8; (depth + 1) * requests.size.next_multiple_of(4096)];
    let aligned = memory.as_ptr().align_offset(4096);
    let base = memory[aligned..].as_mut_ptr();
    let fd = types::Fd(file.as_raw_fd());
    let size = requests.size as u32;
    let stride = requests.size.next_multiple_of(4096);
    let entry = |slot: usize, number: u64| -> Entry {
        // In the allocation: `slot` is less than `depth`, and the last slot
        // is followed by one more for alignment.
        let buffer = base.wrapping_add(slot * stride);
        let entry = match requests.write {
            false => opcode::Read::new(fd, buffer, size)
                .offset(offsets.at(number))
                .build(),
            true => opcode::Write::new(fd, buffer, size)
                .offset(offsets.at(number))
                .build(),
        };
        entry.user_data(slot as u64)
    };

    let start = Instant::now();
    let (mut sent, mut done) = (0, 0);
    let mut error = None;
    let mut free: Vec<usize> = (0..depth).collect();
    loop {
        while sent < requests.count && error.is_none() {
            let Some(slot) = free.pop() else { break };
            // SAFETY: the memory of the slot is ours and in flight once: the
            // slot was free, and comes back with its completion. `memory` and
            // `file` go after the loop, which ends when nothing is in flight.
            // There is room, for as many as there are slots.
            let pushed = unsafe { ring.submission().push(&entry(slot, sent)) };
            assert!(pushed.is_ok(), "there are as many entries as slots");
            sent += 1;
        }
        if done == sent {
            break;
        }
        match ring.submit_and_wait(1) {
            Err(interrupted) if interrupted.raw_os_error() == Some(4) => continue,
            Err(other) => {
                // What is in flight may still be written to: keep it for ever.
                std::mem::forget(memory);
                return Err(failed("io_uring_enter")(other));
            }
            Ok(_) => {}
        }
        for completion in ring.completion() {
            done += 1;
            free.push(completion.user_data() as usize);
            if completion.result() < 0 {
                error = Some(io::Error::from_raw_os_error(-completion.result()));
            } else if completion.result() as usize != requests.size {
                error = Some(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    let took = start.elapsed();
    drop(memory);
    match error {
        Some(error) => Err(failed("a transfer")(error)),
        None => Ok(took),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Whether each slot writes and reads the memory that it owns.
    #[test]
    fn requests_reach_the_file_and_errors_come_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("image");
        fs::write(&path, [7; 16 * 4096]).expect("written");
        let mut requests = Requests {
            target: path.to_str().expect("text").to_owned(),
            count: 16,
            depth: 3,
            size: 4096,
            step: Some(4096),
            write: false,
            holes: false,
            direct: false,
        };
        if IoUring::new(2).is_err() {
            eprintln!("skipped: the kernel has no io_uring for us");
            return;
        }
        run(&requests).expect("read");
        assert!(fs::read(&path).expect("read") == [7; 16 * 4096]);
        requests.write = true;
        run(&requests).expect("written");
        assert!(fs::read(&path).expect("read") == [0; 16 * 4096]);
        requests.target = directory.path().to_str().expect("text").to_owned();
        requests.write = false;
        requests.size = 1;
        run(&requests).expect_err("a directory cannot be read");
    }
}
