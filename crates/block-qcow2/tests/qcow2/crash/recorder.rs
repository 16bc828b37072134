//! Files in memory that remember in which order they were written, lose what
//! was not flushed, and fail when they are told to.

use std::sync::{Arc, Mutex, MutexGuard};

use block_common::error::errno;
use block_gs::{BlockDriver, BqlGuard, Node, NodeBuilder};
use block_io::aio::yield_now;
use block_io::{
    Capabilities, Destination, DriverIo, IoError, IoFuture, Request, Source, Truncation, WriteFlags,
};

use crate::writing::Random;

/// A device stores so many bytes at once.
pub const SECTOR: u64 = 512;

/// What reached a file.
#[derive(Clone, Debug)]
pub enum Step {
    Write(u64, Vec<u8>),
    /// Nobody needs these any more: from where, how many.
    Discard(u64, u64),
    Length(u64),
    /// Whatever the file was told before this step is durable.
    Flush(usize),
}

/// Several files, whose steps have one order.
pub struct Disk(Mutex<State>);

pub struct State {
    /// What the files have now.
    pub files: Vec<Vec<u8>>,
    /// Which file was told what.
    pub steps: Vec<(usize, Step)>,
    pub fault: Option<Fault>,
    /// How many requests there were while something was to fail.
    pub requests: u64,
    random: Random,
}

/// Requests that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// How many go well before.
    pub after: u64,
    /// Whether everything fails from then on, or one request.
    pub forever: bool,
    pub errno: i32,
    /// Reads fail too, not only what changes something.
    pub reads: bool,
}

impl Disk {
    pub fn new(files: Vec<Vec<u8>>, seed: u64) -> Arc<Disk> {
        Arc::new(Disk(Mutex::new(State {
            files,
            steps: Vec::new(),
            fault: None,
            requests: 0,
            random: Random(seed),
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    /// How much has been done.
    pub fn now(&self) -> usize {
        self.lock().steps.len()
    }

    /// A node that is one of the files.
    pub fn open(self: &Arc<Disk>, bql: &mut BqlGuard, file: usize) -> Node {
        self.open_with(bql, file, false)
    }

    pub fn open_with(self: &Arc<Disk>, bql: &mut BqlGuard, file: usize, read_only: bool) -> Node {
        let driver: Arc<dyn BlockDriver> = Arc::new(Recorder {
            disk: self.clone(),
            file,
        });
        let options = block_gs::NodeOptions {
            read_only,
            unmap: true,
            ..Default::default()
        };
        let builder = NodeBuilder::new("").options(options);
        builder.open(bql, driver).expect("opened")
    }

    /// Lets others go first, now and then, and fails if it is time to.
    async fn begin(&self, is_read: bool) -> Result<(), IoError> {
        let times = self.lock().random.next(4);
        for _ in 0..times {
            yield_now().await;
        }
        let state = &mut *self.lock();
        let Some(fault) = state.fault else {
            return Ok(());
        };
        if is_read && !fault.reads {
            return Ok(());
        }
        let number = state.requests;
        state.requests += 1;
        match number == fault.after || (fault.forever && number > fault.after) {
            true => Err(IoError::from_errno(fault.errno)),
            false => Ok(()),
        }
    }
}

/// One of the files.
struct Recorder {
    disk: Arc<Disk>,
    file: usize,
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let end = offset as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset as usize..end].copy_from_slice(data);
}

/// What a device may have where something was discarded.
fn discard(bytes: &mut [u8], offset: u64, length: u64, random: &mut Random) {
    let start = bytes.len().min(offset as usize);
    let end = bytes.len().min((offset + length) as usize);
    for sector in bytes[start..end].chunks_mut(SECTOR as usize) {
        match random.next(3) {
            0 => sector.fill(0),
            1 => sector.fill(0xde),
            _ => {}
        }
    }
}

impl DriverIo for Recorder {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            flushes_to_disk: true,
            discards: true,
            zero_flags: Some(WriteFlags::MAY_UNMAP),
            ..Capabilities::default()
        }
    }

    fn read<'r>(&'r self, _: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.disk.begin(true).await?;
            let state = self.disk.lock();
            let bytes = &state.files[self.file];
            let mut data = vec![0; into.len()];
            let from = (offset as usize).min(bytes.len());
            let there = (bytes.len() - from).min(data.len());
            data[..there].copy_from_slice(&bytes[from..from + there]);
            into.copy_from_slice(&data);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.disk.begin(false).await?;
            let mut data = vec![0; from.len()];
            from.copy_to_slice(&mut data);
            let state = &mut *self.disk.lock();
            put(&mut state.files[self.file], offset, &data);
            state.steps.push((self.file, Step::Write(offset, data)));
            Ok(())
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        bytes: u64,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.disk.begin(false).await?;
            let data = vec![0; bytes as usize];
            let state = &mut *self.disk.lock();
            put(&mut state.files[self.file], offset, &data);
            state.steps.push((self.file, Step::Write(offset, data)));
            Ok(())
        })
    }

    fn discard<'r>(&'r self, _: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.disk.begin(false).await?;
            let state = &mut *self.disk.lock();
            discard(
                &mut state.files[self.file],
                offset,
                bytes,
                &mut state.random,
            );
            state.steps.push((self.file, Step::Discard(offset, bytes)));
            Ok(())
        })
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.disk.begin(false).await?;
            let state = &mut *self.disk.lock();
            state.files[self.file].resize(to.length as usize, 0);
            state.steps.push((self.file, Step::Length(to.length)));
            Ok(())
        })
    }

    fn flush_to_disk<'r>(&'r self, _: Request<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            // What is written meanwhile need not be durable.
            let began = self.disk.now();
            self.disk.begin(false).await?;
            self.disk.lock().steps.push((self.file, Step::Flush(began)));
            Ok(())
        })
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.disk.lock().files[self.file].len() as u64))
    }
}

impl BlockDriver for Recorder {
    fn format_name(&self) -> &'static str {
        "recorder"
    }

    fn has_zero_init(&self, _: &BqlGuard, _: block_gs::NodeView<'_>) -> Option<bool> {
        Some(true)
    }
}

/// The moments at which power may fail: the beginning, and behind each flush;
/// and up to where something may have been stored by then.
pub fn cuts(steps: &[(usize, Step)]) -> Vec<(usize, usize)> {
    let is_flush = |at: &usize| matches!(steps[*at].1, Step::Flush(_));
    let flushes: Vec<usize> = (0..steps.len()).filter(is_flush).collect();
    let starts = std::iter::once(0).chain(flushes.iter().map(|at| at + 1));
    let ends = flushes.iter().copied().chain([steps.len()]);
    starts.zip(ends).collect()
}

/// What `files` have after such a failure: what was flushed before, and a
/// sector of the rest if `stored` says so.
pub fn cut_off(
    files: &[Vec<u8>],
    steps: &[(usize, Step)],
    (cut, next): (usize, usize),
    random: &mut Random,
    mut stored: impl FnMut(&mut Random) -> bool,
) -> Vec<Vec<u8>> {
    let mut files = files.to_vec();
    let mut durable = vec![0; files.len()];
    for (file, step) in &steps[..cut] {
        if let Step::Flush(began) = step {
            durable[*file] = durable[*file].max(*began);
        }
    }
    for (at, (file, step)) in steps[..next].iter().enumerate() {
        let is_durable = at < durable[*file];
        let bytes = &mut files[*file];
        match step {
            Step::Write(offset, data) => {
                let mut from = 0;
                while from < data.len() {
                    let here = *offset as usize + from;
                    let end = (here / SECTOR as usize + 1) * SECTOR as usize;
                    let end = (end - *offset as usize).min(data.len());
                    if is_durable || stored(random) {
                        put(bytes, here as u64, &data[from..end]);
                    }
                    from = end;
                }
            }
            Step::Discard(offset, length) => {
                for sector in 0..length.div_ceil(SECTOR) {
                    if is_durable || stored(random) {
                        let offset = offset + sector * SECTOR;
                        discard(bytes, offset, SECTOR, random);
                    }
                }
            }
            Step::Length(length) => {
                if is_durable || stored(random) {
                    bytes.resize(*length as usize, 0);
                }
            }
            Step::Flush(_) => {}
        }
    }
    files
}

/// No room left.
pub const ENOSPC: i32 = errno::ENOSPC;
/// An error of the device.
pub const EIO: i32 = errno::EIO;
