//! The disks: a file, what is over it, and what must be on it.
//!
//! ```text
//!    disk0           disk0-b            reads only
//!      │                │
//!   [filters]           │
//!      │                │
//!     raw               │               all of the file, or a window
//!      │                │
//!   [filters] ──────────┘
//!      │
//!     file                              one of several kinds
//! ```

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use block_drivers::file::Aio;
use block_drivers::{File, Injector, Raw, ThrottleGroup};
use block_gs::{Backend, BqlGuard, GraphError, Node, NodeOptions, Perm};
use block_io::Root;

use super::locks::{EVERYTHING, Locks};
use super::model::Model;
use crate::tour::failure::SetupError;
use crate::tour::rng::Rng;

/// What the file has where the window does not show it.
const OUTSIDE: u8 = 0x5a;

/// What disks do with their nodes.
pub const ALL: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE).union(Perm::RESIZE);

/// A disk, as its tasks see it.
#[derive(Debug)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// Where requests enter.
    pub root: Root,
    /// Where a second reader enters, at the file.
    pub second: Root,
    /// Where the disk begins in the file.
    pub offset: u64,
    /// How much of the file comes after the disk.
    pub tail: u64,
    /// Whether the length can change.
    pub resizes: bool,
    /// What lengths are a multiple of.
    pub granularity: u64,
    /// The disk gets no longer.
    pub most: u64,
    /// What can be on it.
    pub model: Mutex<Model>,
    /// Who uses which part of it.
    pub locks: Mutex<Locks>,
    /// The file at the bottom. Stays while a request is in flight.
    pub path: Mutex<PathBuf>,
    /// Requests between their begin and their end.
    pub active: AtomicU64,
}

impl Disk {
    /// What can be on it.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who uses which part of it.
    pub fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file at the bottom.
    pub fn path(&self) -> PathBuf {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone()
    }

    /// In a drained section: compares those parts of the file with the model
    /// that no task uses. Of the others the outcome may be known to the task
    /// and not yet to the model.
    pub fn check_unused(&self) -> Result<u64, String> {
        let taken = self.locks().taken();
        self.compare(true, &taken)
    }

    /// Compares the file, as the system shows it, with the model. `settles`
    /// when nobody may still be writing.
    pub fn check_file(&self, settles: bool) -> Result<u64, String> {
        self.compare(settles, &[])
    }

    fn compare(&self, settles: bool, except: &[Range<u64>]) -> Result<u64, String> {
        if except.contains(&EVERYTHING) {
            return Ok(0);
        }
        let path = self.path();
        let complain = |what: String| format!("'{}' ({}): {what}", self.name, path.display());
        let bytes = std::fs::read(&path).map_err(|error| complain(error.to_string()))?;
        let mut model = self.model();
        let expected = self.offset + model.len() + self.tail;
        if bytes.len() as u64 != expected {
            let found = bytes.len();
            return Err(complain(format!("{found} bytes, and must have {expected}")));
        }
        let (before, rest) = bytes.split_at(self.offset as usize);
        let (shown, after) = rest.split_at(model.len() as usize);
        if before.iter().chain(after).any(|&byte| byte != OUTSIDE) {
            return Err(complain("bytes outside the window were written".to_owned()));
        }
        for part in gaps(except, model.len()) {
            let found = &shown[part.start as usize..part.end as usize];
            let seen = model.observe(part.start, found, settles);
            seen.map_err(|mismatch| complain(format!("corruption: {mismatch}")))?;
        }
        Ok(expected)
    }
}

/// What of the first `length` bytes is in none of the ranges.
fn gaps(except: &[Range<u64>], length: u64) -> Vec<Range<u64>> {
    let mut except = except.to_vec();
    except.sort_by_key(|range| range.start);
    let (mut gaps, mut at) = (Vec::new(), 0);
    for range in except {
        gaps.push(at..range.start.clamp(at, length.max(at)));
        at = at.max(range.end);
    }
    gaps.push(at..length.max(at));
    gaps
}

/// The same, as the main thread sees it.
#[derive(Debug)]
pub struct Held {
    /// What its tasks see.
    pub disk: std::sync::Arc<Disk>,
    /// Its backend.
    pub backend: Backend,
    /// The second reader.
    pub reader: Backend,
    /// The node at the bottom.
    pub file: Node,
    /// Makes its requests fail and wait.
    pub injector: Injector,
    /// What limits it, shared by all disks.
    pub throttle: ThrottleGroup,
    /// The files take turns.
    pub paths: [PathBuf; 2],
}

/// The nodes are told that space may be given back.
pub fn unmapping() -> NodeOptions {
    NodeOptions {
        unmap: true,
        ..NodeOptions::default()
    }
}

/// Opens a file in one of the ways there are.
pub fn open_file(
    bql: &mut BqlGuard,
    rng: &mut Rng,
    path: &Path,
    name: &str,
    may_be_direct: bool,
) -> Result<Node, GraphError> {
    let plain = File::new(path).options(unmapping());
    let direct = may_be_direct && rng.once_in(2);
    let mut file = plain.clone().direct(direct);
    file = match rng.below(4) {
        0 => file.aio(Aio::Threads),
        1 if direct => file.aio(Aio::Native),
        2 if bql.context().has_io_uring() => file.aio(Aio::IoUring),
        _ => file,
    };
    if rng.once_in(3) {
        let chunk = if direct { 4096 } else { 1000 };
        file = file.chunk(Some(chunk));
    }
    match file.open(bql, name) {
        // Not every file system has direct I/O.
        Err(_) if direct => plain.open(bql, name),
        opened => opened,
    }
}

impl Held {
    /// Makes the files of disk `number` and opens the graph over them.
    pub fn open(
        bql: &mut BqlGuard,
        rng: &mut Rng,
        number: u64,
        dir: &Path,
        size: u64,
        throttle: &ThrottleGroup,
    ) -> Result<Held, SetupError> {
        let name = format!("disk{number}");
        let paths = [0, 1].map(|copy| dir.join(format!("{name}-{copy}.raw")));
        // All of the file, a window with an end, one without.
        let (offset, tail) = match number % 3 {
            0 => (0, 0),
            1 => (rng.below(16) * 512, 8192),
            _ => (4096 + rng.below(8) * 512, 0),
        };
        // With direct I/O, ends are where blocks are.
        let granularity = if number.is_multiple_of(2) { 4096 } else { 1 };
        let offset = offset / granularity * granularity;
        let contents: Vec<u8> = (0..size).map(|_| rng.next() as u8).collect();
        let mut bytes = vec![OUTSIDE; offset as usize];
        bytes.extend_from_slice(&contents);
        bytes.resize(bytes.len() + tail as usize, OUTSIDE);
        std::fs::write(&paths[0], bytes)
            .map_err(|error| SetupError::file("cannot write the image", &paths[0], error))?;
        let opened = (|| -> Result<_, GraphError> {
            let direct = granularity > 1;
            let file = open_file(bql, rng, &paths[0], &format!("{name}-file"), direct)?;
            let mut raw = Raw::over(&file).options(unmapping()).offset(offset);
            if tail > 0 {
                raw = raw.size(Some(size));
            }
            let raw = raw.open(bql, &format!("{name}-raw"))?;
            let backend = Backend::new(bql, &name, ALL, Perm::all())?;
            let reader = format!("{name}-b");
            let reader = Backend::new(bql, &reader, Perm::CONSISTENT_READ, Perm::all())?;
            for (backend, node) in [(&backend, &raw), (&reader, &file)] {
                backend.set_allow_context_change(bql, true);
                backend.insert(bql, node)?;
            }
            Ok((file, backend, reader))
        })();
        let (file, backend, reader) =
            opened.map_err(|error| SetupError::graph(format!("cannot open '{name}'"), error))?;
        let disk = Disk {
            name,
            root: backend.root().clone(),
            second: reader.root().clone(),
            offset,
            tail,
            resizes: tail == 0,
            granularity,
            most: size + size / 2,
            model: Mutex::new(Model::new(contents)),
            locks: Mutex::default(),
            path: Mutex::new(paths[0].clone()),
            active: AtomicU64::new(0),
        };
        Ok(Held {
            disk: std::sync::Arc::new(disk),
            backend,
            reader,
            file,
            injector: Injector::new(rng.next()),
            throttle: throttle.clone(),
            paths,
        })
    }

    /// The nodes from the backend down to the file.
    pub fn chain(&self, bql: &BqlGuard) -> Vec<Node> {
        let mut chain: Vec<Node> = self.backend.node(bql).into_iter().collect();
        while let Some(child) = chain
            .last()
            .and_then(|node| node.view(bql).child("file"))
            .map(|edge| edge.child().node(bql))
        {
            chain.push(child);
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_left() {
        let left = |except: &[(u64, u64)]| {
            let except: Vec<_> = except.iter().map(|&(start, end)| start..end).collect();
            let gaps = gaps(&except, 100).into_iter();
            let gaps = gaps.filter(|gap| !gap.is_empty());
            gaps.map(|gap| (gap.start, gap.end)).collect::<Vec<_>>()
        };
        assert_eq!(left(&[]), [(0, 100)]);
        assert_eq!(left(&[(50, 60), (0, 10), (60, 61)]), [(10, 50), (61, 100)]);
        assert_eq!(left(&[(90, 200)]), [(0, 90)]);
        assert_eq!(left(&[(0, 100)]), []);
    }
}
