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

/// Something that a file was told.
#[derive(Clone, Debug)]
pub struct Told {
    pub file: usize,
    pub step: Step,
    /// How much the files had been told when the request for it began: from
    /// then on it may be stored, whoever has heard that it is.
    pub began: usize,
}

/// What reached a file.
#[derive(Clone, Debug)]
pub enum Step {
    Write(u64, Vec<u8>),
    /// Nobody needs these any more: from where, how many.
    Discard(u64, u64),
    Length(u64),
    /// Whatever the file was told before this began is durable.
    Flush,
}

/// Several files, whose steps have one order.
pub struct Disk(Mutex<State>);

pub struct State {
    /// What the files have now.
    pub files: Vec<Vec<u8>>,
    pub steps: Vec<Told>,
    /// The files are devices: as long as they are, and with anything in them.
    pub devices: bool,
    pub fault: Option<Fault>,
    /// How many requests there were while something was to fail.
    pub requests: u64,
    random: Random,
}

/// Requests that fail. A write that fails may be stored in part.
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
            devices: false,
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

    /// As [`new`](Disk::new), for files that are devices.
    pub fn devices(files: Vec<Vec<u8>>, seed: u64) -> Arc<Disk> {
        let disk = Disk::new(files, seed);
        disk.lock().devices = true;
        disk
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

impl State {
    fn tell(&mut self, file: usize, began: usize, step: Step) {
        self.steps.push(Told { file, step, began });
    }

    fn write(&mut self, file: usize, began: usize, offset: u64, data: Vec<u8>) {
        put(&mut self.files[file], offset, &data);
        self.tell(file, began, Step::Write(offset, data));
    }
}

impl Recorder {
    async fn store(&self, offset: u64, data: Vec<u8>) -> Result<(), IoError> {
        let began = self.disk.now();
        let outcome = self.disk.begin(false).await;
        let state = &mut *self.disk.lock();
        if let Err(error) = outcome {
            for (from, sector) in sectors(offset, &data) {
                if state.random.next(3) == 0 {
                    state.write(self.file, began, from, sector.to_vec());
                }
            }
            return Err(error);
        }
        let end = offset as usize + data.len();
        if state.devices && end > state.files[self.file].len() {
            return Err(IoError::from_errno(ENOSPC));
        }
        state.write(self.file, began, offset, data);
        Ok(())
    }
}

/// The parts of a write that are stored or not, each as a whole, and where
/// they go.
pub fn sectors(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let here = offset + from as u64;
        let left = (SECTOR - here % SECTOR) as usize;
        let end = (from + left).min(data.len());
        let part = &data[from..end];
        from = end;
        (!part.is_empty()).then_some((here, part))
    })
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
            let mut data = vec![0; from.len()];
            from.copy_to_slice(&mut data);
            self.store(offset, data).await
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        bytes: u64,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(self.store(offset, vec![0; bytes as usize]))
    }

    fn discard<'r>(&'r self, _: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        IoFuture::new(async move {
            let began = self.disk.now();
            self.disk.begin(false).await?;
            let state = &mut *self.disk.lock();
            discard(
                &mut state.files[self.file],
                offset,
                bytes,
                &mut state.random,
            );
            state.tell(self.file, began, Step::Discard(offset, bytes));
            Ok(())
        })
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        IoFuture::new(async move {
            let began = self.disk.now();
            self.disk.begin(false).await?;
            let state = &mut *self.disk.lock();
            if state.devices {
                let length = state.files[self.file].len() as u64;
                return match to.length < length && !to.exact || to.length == length {
                    true => Ok(()),
                    false => Err(IoError::from_errno(errno::EINVAL)),
                };
            }
            state.files[self.file].resize(to.length as usize, 0);
            state.tell(self.file, began, Step::Length(to.length));
            Ok(())
        })
    }

    fn flush_to_disk<'r>(&'r self, _: Request<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            // What is written meanwhile need not be durable.
            let began = self.disk.now();
            self.disk.begin(false).await?;
            self.disk.lock().tell(self.file, began, Step::Flush);
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
        Some(!self.disk.lock().devices)
    }
}

/// The moments at which power may fail: the beginning, and behind each flush;
/// and up to where something may have been stored by then.
pub fn cuts(steps: &[Told]) -> Vec<(usize, usize)> {
    let is_flush = |at: &usize| matches!(steps[*at].step, Step::Flush);
    let flushes: Vec<usize> = (0..steps.len()).filter(is_flush).collect();
    let starts = std::iter::once(0).chain(flushes.iter().map(|at| at + 1));
    let ends = flushes.iter().copied().chain([steps.len()]);
    starts.zip(ends).collect()
}

/// What is stored of that which need not be.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Nothing,
    /// A sector so many times in ten, each by itself.
    Sectors(u64),
    /// A request so many times in ten, as a whole or not at all.
    Requests(u64),
    /// What one of the files was told, nothing of the others.
    File(usize),
    /// What was told from some moment on, and nothing before.
    Last,
    /// Everything but one request.
    AllButOne,
}

impl Fate {
    pub fn any(random: &mut Random) -> Fate {
        match random.next(8) {
            0 => Fate::Nothing,
            1 => Fate::Sectors(3),
            2 => Fate::Sectors(7),
            3 => Fate::Requests(3),
            4 => Fate::Requests(7),
            5 => Fate::File(random.next(2) as usize),
            6 => Fate::Last,
            _ => Fate::AllButOne,
        }
    }
}

/// What `files` have after such a failure: what was flushed before, and of the
/// rest, which may be under way still, what its fate is.
pub fn cut_off(
    files: &[Vec<u8>],
    steps: &[Told],
    (cut, next): (usize, usize),
    random: &mut Random,
    fate: Fate,
) -> Vec<Vec<u8>> {
    let mut files = files.to_vec();
    let mut durable = vec![0; files.len()];
    for told in &steps[..cut] {
        if let Step::Flush = told.step {
            durable[told.file] = durable[told.file].max(told.began);
        }
    }
    let is_durable = |at: usize| at < durable[steps[at].file];
    let may_be = |at: &usize| *at < next || steps[*at].began < next;
    let open: Vec<usize> = (0..steps.len())
        .filter(|at| may_be(at) && !is_durable(*at))
        .collect();
    let one = open.get(random.next(open.len().max(1) as u64) as usize);
    let one = one.copied().unwrap_or(next);
    for (at, told) in steps.iter().enumerate() {
        if !may_be(&at) {
            continue;
        }
        let by_request = match fate {
            _ if is_durable(at) => Some(true),
            Fate::Nothing => Some(false),
            Fate::Sectors(_) => None,
            Fate::Requests(times) => Some(random.next(10) < times),
            Fate::File(file) => Some(told.file == file),
            Fate::Last => Some(at >= one),
            Fate::AllButOne => Some(at != one),
        };
        let stored = |random: &mut Random| match (by_request, fate) {
            (Some(all), _) => all,
            (None, Fate::Sectors(times)) => random.next(10) < times,
            (None, _) => false,
        };
        let bytes = &mut files[told.file];
        match &told.step {
            Step::Write(offset, data) => {
                for (from, sector) in sectors(*offset, data) {
                    if stored(random) {
                        put(bytes, from, sector);
                    }
                }
                // A file system may know of the length, and of no data.
                let end = *offset as usize + data.len();
                if end > bytes.len() && random.next(8) == 0 {
                    bytes.resize(end, 0);
                }
            }
            Step::Discard(offset, length) => {
                for sector in 0..length.div_ceil(SECTOR) {
                    if stored(random) {
                        let offset = offset + sector * SECTOR;
                        discard(bytes, offset, SECTOR, random);
                    }
                }
            }
            Step::Length(length) => {
                if stored(random) {
                    bytes.resize(*length as usize, 0);
                }
            }
            Step::Flush => {}
        }
    }
    files
}

/// No room left.
pub const ENOSPC: i32 = errno::ENOSPC;
/// An error of the device.
pub const EIO: i32 = errno::EIO;
