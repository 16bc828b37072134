//! A file in memory that remembers what it was told, and fails when it is to.

use std::sync::{Arc, Mutex, MutexGuard};

use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, NodeOptions};
use block_io::aio::yield_now;
use block_io::{
    Capabilities, Destination, DriverIo, IoError, IoFuture, Request, Source, Truncation, WriteFlags,
};
use test_support::Random;
use test_support::stored::put;

use crate::crash::recorder::sectors;

/// What the file was told.
#[derive(Clone, Debug)]
pub enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Flush,
}

/// Which steps fail; the first one is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fails {
    Never,
    /// This one, whether or not it is done all the same.
    Once {
        step: usize,
        done: bool,
    },
    /// This one and all after it.
    From(usize),
}

/// The file.
pub struct Tape(Mutex<State>);

pub struct State {
    pub bytes: Vec<u8>,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// How many steps were asked for, done or not.
    pub asked: usize,
    pub fails: Fails,
    /// How many bytes were given up.
    pub discarded: u64,
}

impl Tape {
    pub fn new(bytes: &[u8]) -> Arc<Tape> {
        Arc::new(Tape(Mutex::new(State {
            bytes: bytes.to_vec(),
            steps: Vec::new(),
            asked: 0,
            fails: Fails::Never,
            discarded: 0,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    /// What the file has now.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// A node that is the file.
    pub fn open(self: &Arc<Tape>, bql: &mut BqlGuard) -> Result<Node, GraphError> {
        let driver: Arc<dyn BlockDriver> = self.clone();
        let unmaps = NodeOptions {
            unmap: true,
            ..NodeOptions::default()
        };
        NodeBuilder::new("").options(unmaps).open(bql, driver)
    }

    fn step(&self, step: Step) -> Result<(), IoError> {
        let state = &mut *self.lock();
        let number = state.asked;
        state.asked += 1;
        let (fails, is_done) = match state.fails {
            Fails::Once { step, done } if step == number => (true, done),
            Fails::From(first) if first <= number => (true, false),
            _ => (false, true),
        };
        if is_done {
            step.apply(&mut state.bytes);
            state.steps.push(step);
        }
        match fails {
            true => Err(IoError::from_errno(5)),
            false => Ok(()),
        }
    }
}

impl Step {
    /// Does the same to other bytes.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Step::Write(offset, data) => put(bytes, *offset, data),
            Step::Length(length) => bytes.resize(*length as usize, 0),
            Step::Flush => {}
        }
    }

    /// As [`apply`](Step::apply), but of a write only some sectors.
    pub fn tear(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let Step::Write(offset, data) = self else {
            return self.apply(bytes);
        };
        for (from, sector) in sectors(*offset, data) {
            if random.next(2) == 0 {
                put(bytes, from, sector);
            }
        }
    }
}

impl DriverIo for Tape {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            flushes_to_disk: true,
            discards: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(&'r self, _: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            yield_now().await;
            let state = self.lock();
            let mut data = vec![0; into.len()];
            let from = (offset as usize).min(state.bytes.len());
            let there = (state.bytes.len() - from).min(data.len());
            data[..there].copy_from_slice(&state.bytes[from..from + there]);
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
            let done = self.step(Step::Write(offset, data));
            // Who is cancelled here does not know that it is done.
            yield_now().await;
            done
        })
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        IoFuture::ready(self.step(Step::Length(to.length)))
    }

    fn flush_to_disk<'r>(&'r self, _: Request<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            yield_now().await;
            self.step(Step::Flush)
        })
    }

    fn discard<'r>(&'r self, _: Request<'r>, _: u64, bytes: u64) -> IoFuture<'r> {
        self.lock().discarded += bytes;
        IoFuture::done()
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.lock().bytes.len() as u64))
    }
}

impl BlockDriver for Tape {
    fn format_name(&self) -> &'static str {
        "tape"
    }
}
