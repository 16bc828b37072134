//! The last look at the images of a chain, when the graph of the tour is gone:
//! each of them is checked, and all together are opened once more by what
//! their headers say.

use std::path::Path;

use block_gs::{BlockLayer, BqlGuard, GraphError};
use block_io::Buffer;
use block_open::OpenError;
use serde_json::json;

use super::make::options;
use super::qemu::QemuImg;
use super::{Chain, check};
use crate::tour::failure::Failure;
use crate::tour::image::{self, Region};
use crate::tour::load::Lane;
use crate::tour::watch::Watch;

/// How much is read at once, in bytes.
const CHUNK: u64 = 256 << 10;

/// What has been looked at.
#[derive(Clone, Copy, Default, Debug)]
pub struct Checked {
    /// Images that were checked.
    pub images: u64,
    /// Those of them that `qemu-img` has checked too; `None` when there is
    /// none.
    pub by_qemu_img: Option<u64>,
    /// Bytes that were right.
    pub bytes: u64,
}

/// A chain that has been closed, and what must be in it.
pub struct Closed<'c> {
    /// The images.
    pub chain: &'c Chain,
    /// Its contents.
    pub region: &'c Region,
    /// What the tasks have written.
    pub lanes: &'c [Lane],
    /// Who is told.
    pub watch: &'c Watch,
}

impl std::fmt::Debug for Closed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Closed({} images)", self.chain.layers.len())
    }
}

impl Closed<'_> {
    /// Looks at everything, up to the first thing that is wrong. The watch is
    /// told of that. What was right is added to `checked`.
    pub fn look(&self, checked: &mut Checked) {
        if let Err(failure) = self.try_look(checked) {
            self.watch.fail(failure);
        }
    }

    fn try_look(&self, checked: &mut Checked) -> Result<(), Failure> {
        let layer = BlockLayer::new().map_err(|error| self.failed("checking", error.into()))?;
        layer.enter(|bql| self.with_our_own(bql, checked))?;
        drop(layer);
        if let Some(qemu_img) = QemuImg::find() {
            self.with_qemus(&qemu_img, checked)?;
        }
        Ok(())
    }

    fn with_our_own(&self, bql: &mut BqlGuard, checked: &mut Checked) -> Result<(), Failure> {
        for layer in &self.chain.layers {
            self.watch.run.beat();
            let found = open(bql, &layer.path, false)
                .and_then(|node| Ok(check(bql, &node).map_err(GraphError::from)?))
                .map_err(|error| self.failed(&name(&layer.path), error))?;
            self.judge(&layer.path, found)?;
            checked.images += 1;
        }
        let path = &self.chain.active().path;
        let place = format!("{} and what is below it", name(path));
        let node = open(bql, path, true).map_err(|error| self.failed(&place, error))?;
        let images = node.view(bql).chain().count();
        if images != self.chain.layers.len() {
            return Err(Failure::Promise {
                step: self.watch.run.journal.step(),
                promise: format!(
                    "headers name {images} images, and {} were below each other",
                    self.chain.layers.len()
                ),
            });
        }
        let mut buffer = Buffer::zeroed(CHUNK as usize);
        for at in (0..self.region.length).step_by(CHUNK as usize) {
            self.watch.run.beat();
            let bytes = CHUNK.min(self.region.length - at) as usize;
            let read = node.drain(bql).io(async |request| {
                let (into, _) = buffer.destination().split_at(bytes);
                request.read(at, into).await
            });
            read.map_err(|error| self.failed(&place, GraphError::from(error).into()))?;
            let bytes = &buffer.as_slice()[..bytes];
            image::check_region(self.region, self.lanes, at, bytes).map_err(|mismatch| {
                Failure::WrongByte {
                    place: place.clone(),
                    mismatch,
                    step: self.watch.run.journal.step(),
                }
            })?;
            checked.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn with_qemus(&self, qemu_img: &QemuImg, checked: &mut Checked) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| {
            let error = GraphError::from(block_gs::IoError::from(error));
            self.failed("running qemu-img", error.into())
        };
        let count = checked.by_qemu_img.insert(0);
        for layer in &self.chain.layers {
            self.watch.run.beat();
            let found = qemu_img.check(&layer.path).map_err(cannot)?;
            self.judge(&layer.path, found)?;
            *count += 1;
        }
        let active = &self.chain.active().path;
        let raw = match qemu_img.flatten(active).map_err(cannot)? {
            Ok(raw) => raw,
            Err(words) => return self.judge(active, Some(words)),
        };
        self.watch.run.beat();
        let outcome = image::check(&raw, self.region, self.lanes).map_err(cannot)?;
        outcome.map_err(|mismatch| Failure::WrongByte {
            place: format!("{}, as qemu-img converts it", name(active)),
            mismatch,
            step: self.watch.run.journal.step(),
        })?;
        checked.bytes += self.region.length;
        Ok(())
    }

    fn judge(&self, path: &Path, found: Option<String>) -> Result<(), Failure> {
        match found {
            None => Ok(()),
            Some(findings) => Err(Failure::Inconsistent {
                image: name(path),
                findings,
                step: self.watch.run.journal.step(),
            }),
        }
    }

    fn failed(&self, what: &str, error: OpenError) -> Failure {
        Failure::Open {
            step: self.watch.run.journal.step(),
            what: what.to_owned(),
            error,
        }
    }
}

fn name(path: &Path) -> String {
    format!("the image '{}'", path.display())
}

/// Opens an image for reading, with what its header names below or without.
fn open(bql: &mut BqlGuard, path: &Path, with_backing: bool) -> Result<block_gs::Node, OpenError> {
    let mut described = json!({
        "driver": "qcow2",
        "read-only": true,
        "file": {"driver": "file", "filename": path},
    });
    if !with_backing {
        described["backing"] = serde_json::Value::Null;
    }
    block_open::open(bql, options(&described)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tour::pattern::Pattern;

    fn region() -> Region {
        Region {
            at: 0,
            length: 1 << 20,
            lanes_at: 1 << 18,
            pattern: Pattern::new(3),
        }
    }

    /// What is told of a chain whose base has been `damaged` after it was
    /// closed.
    fn told(damage: impl FnOnce(&mut Vec<u8>)) -> (Checked, Vec<String>) {
        let dir = tempfile::tempdir().expect("a directory");
        let layer = BlockLayer::new().expect("a layer");
        let built = layer.enter(|bql| Chain::build(bql, dir.path().to_owned(), &region()));
        let chain = built.expect("built");
        drop(layer);
        let base = &chain.layers[0].path;
        let mut bytes = fs::read(base).expect("read");
        damage(&mut bytes);
        fs::write(base, bytes).expect("written");
        let watch = Watch::default();
        let mut checked = Checked::default();
        let (region, lanes) = (region(), Lane::cut(region().lanes(), 3));
        let closed = Closed {
            chain: &chain,
            region: &region,
            lanes: &lanes,
            watch: &watch,
        };
        closed.look(&mut checked);
        (checked, watch.run.told())
    }

    #[test]
    fn a_chain_that_is_right_is_looked_at_in_full() {
        let (checked, told) = told(|_| {});
        assert_eq!(told, [] as [String; 0]);
        assert_eq!(checked.images, 2);
        assert!(checked.by_qemu_img.is_none_or(|images| images == 2));
        assert!(checked.bytes >= region().length);
    }

    #[test]
    fn a_wrong_count_is_found() {
        let (checked, told) = told(|image| {
            let word = |at: usize| -> usize {
                let bytes = image[at..at + 8].try_into().expect("eight bytes");
                u64::from_be_bytes(bytes) as usize
            };
            // The first count of the first block: that of the header.
            let block = word(word(48));
            image[block..block + 2].fill(0);
        });
        assert_eq!(checked.images, 0);
        assert!(told[0].contains("is not consistent"), "{told:?}");
        assert!(told[0].contains("1 corruptions"), "{told:?}");
    }

    #[test]
    fn a_wrong_byte_is_found_where_it_is() {
        let mut first = vec![0; 512];
        region().pattern.fill(0, &mut first, |_| 0);
        let (checked, told) = told(|image| {
            let mut sectors = image.chunks_mut(512);
            let sector = sectors.find(|sector| **sector == *first);
            sector.expect("the first sector is somewhere")[7] ^= 1;
        });
        assert_eq!(checked.images, 2, "nothing else is wrong with it");
        assert!(told[0].contains("the byte at offset 7 is"), "{told:?}");
    }
}
