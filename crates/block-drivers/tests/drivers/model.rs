//! Random requests, compared with a vector of bytes.

use std::fs;

use block_drivers::{File, Raw};
use block_gs::{BlockLayer, Perm};
use block_io::aio::Engine;
use proptest::prelude::*;

use crate::support::{
    READ_WRITE, backend, flush, pattern, read, read_as_parent, write, write_as_parent,
};

const FILE: usize = 16 << 10;

#[derive(Clone, Debug)]
enum Step {
    Read {
        offset: usize,
        len: usize,
    },
    Write {
        offset: usize,
        len: usize,
        seed: u64,
    },
    Flush,
    Move {
        offset: usize,
        sectors: Option<usize>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Somewhat beyond the file, so that ends are crossed.
    let offset = 0..FILE + 1000;
    let len = prop_oneof![Just(0), 1..600usize, Just(4096), 0..FILE];
    let sectors = proptest::option::of(0..FILE / 512 + 2);
    let step = prop_oneof![
        4 => (offset.clone(), len.clone()).prop_map(|(offset, len)| Step::Read { offset, len }),
        4 => (offset.clone(), len, any::<u64>())
            .prop_map(|(offset, len, seed)| Step::Write { offset, len, seed }),
        1 => Just(Step::Flush),
        1 => (offset, sectors).prop_map(|(offset, sectors)| Step::Move { offset, sectors }),
    ];
    prop::collection::vec(step, 1..30)
}

/// The file, and the window that the node shows.
struct Model {
    file: Vec<u8>,
    offset: usize,
    size: Option<usize>,
}

impl Model {
    fn shown(&self) -> &[u8] {
        let rest = &self.file[self.offset..];
        match self.size {
            Some(size) => &rest[..size],
            None => rest,
        }
    }

    /// What a parent reads: zeroes beyond the end.
    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let shown = self.shown();
        let at = |index: usize| shown.get(index).copied().unwrap_or(0);
        (offset..offset + len).map(at).collect()
    }

    /// Whether the parent, who may resize, may write this.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return true;
        }
        if self.size.is_some_and(|size| end > size) {
            return false;
        }
        let end = end + self.offset;
        if end > self.file.len() {
            self.file.resize(end, 0);
        }
        self.file[self.offset + offset..end].copy_from_slice(bytes);
        true
    }

    fn move_to(&mut self, offset: usize, size: Option<usize>) -> bool {
        let fits = self
            .file
            .len()
            .checked_sub(offset)
            .is_some_and(|rest| size.is_none_or(|size| size <= rest));
        if fits {
            self.offset = offset;
            self.size = size;
        }
        fits
    }
}

fn run(engine: Engine, steps: &[Step]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    let mut model = Model {
        file: pattern(FILE, 3),
        offset: 1000,
        size: Some(8192),
    };
    fs::write(&path, &model.file).expect("written");
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| {
        let file = File::new(&path).engine(Some(engine)).open(bql, "file");
        let file = file.expect("opened");
        let node = Raw::over(&file).offset(1000).size(Some(8192));
        let node = node.open(bql, "raw").expect("opened");
        let disk = backend(bql, &node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        for step in steps {
            match *step {
                Step::Read { offset, len } => {
                    let got = read_as_parent(bql, &disk, offset as u64, len).expect("read");
                    assert_eq!(got, model.read(offset, len), "{step:?}");
                    let within = offset + len <= model.shown().len();
                    let got = read(bql, &disk, offset as u64, len);
                    assert_eq!(got.is_ok(), within, "{step:?}");
                }
                Step::Write { offset, len, seed } => {
                    let bytes = pattern(len, seed);
                    let within = offset + len <= model.shown().len();
                    let allowed = model.write(offset, &bytes);
                    let written = write_as_parent(bql, &disk, offset as u64, &bytes);
                    assert_eq!(written.is_ok(), allowed, "{step:?}: {written:?}");
                    if within {
                        write(bql, &disk, offset as u64, &bytes).expect("within the node");
                    }
                }
                Step::Flush => flush(bql, &disk).expect("flushed"),
                Step::Move { offset, sectors } => {
                    let size = sectors.map(|sectors| sectors * 512);
                    let fits = model.move_to(offset, size);
                    let moved = Raw::set_window(
                        &mut node.drain(bql),
                        offset as u64,
                        size.map(|size| size as u64),
                    );
                    assert_eq!(moved.is_ok(), fits, "{step:?}: {moved:?}");
                }
            }
            let length = model.shown().len() as u64;
            assert_eq!(node.io().length(), length, "{step:?}");
        }
    });
    assert_eq!(fs::read(&path).expect("read"), model.file);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_window_of_a_file_is_a_vector_of_bytes(steps in steps(), threads: bool) {
        let layer = BlockLayer::new().expect("a block layer");
        let best = layer.enter(|_| Engine::best());
        drop(layer);
        run(if threads { Engine::Threads } else { best }, &steps);
    }
}
