//! The files below the graph: the tour's own, and the user's.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use super::failure::SetupError;
use super::load::Lane;
use super::pattern::{Mismatch, Pattern};

/// The user's image is checked at this many places at most, evenly spread.
const PIECES: u64 = 512;

/// How long each of them is, in bytes.
const PIECE: u64 = 64 << 10;

/// What is written over a file that is no longer below the graph: no pattern
/// has a run of it, so a request that still went there would be noticed.
pub const STALE: u8 = 0xa5;

/// A disk inside an image file of the tour.
#[derive(Clone, Debug)]
pub struct Region {
    /// Where in the file, in bytes.
    pub at: u64,
    /// How long, in bytes.
    pub length: u64,
    /// Where the lanes begin, in bytes from the start of the region.
    pub lanes_at: u64,
    /// What is there.
    pub pattern: Pattern,
}

impl Region {
    /// The lanes' area, in bytes from the start of the region.
    pub fn lanes(&self) -> Range<u64> {
        self.lanes_at..self.length
    }
}

/// Makes an image file in which each region has its pattern. The lanes are
/// there only in the `first` file of a set; in the others they are stale
/// until the file is put below the graph.
pub fn create(path: &Path, regions: &[Region], first: bool) -> Result<(), SetupError> {
    let complain = |error| SetupError::file("cannot create the image", path, error);
    let size = regions.iter().map(|region| region.at + region.length).max();
    block_drivers::File::create(path, size.unwrap_or(0))
        .map_err(|error| complain(io::Error::from_raw_os_error(error.errno())))?;
    let file = File::options().write(true).open(path).map_err(complain)?;
    for region in regions {
        let mut bytes = vec![STALE; region.length as usize];
        let fixed = if first {
            region.length
        } else {
            region.lanes_at
        };
        region.pattern.fill(0, &mut bytes[..fixed as usize], |_| 0);
        file.write_all_at(&bytes, region.at).map_err(complain)?;
    }
    Ok(())
}

/// Compares a region of a file, read without the block layer, with what its
/// lanes say.
pub fn check(path: &Path, region: &Region, lanes: &[Lane]) -> io::Result<Result<(), Mismatch>> {
    let mut bytes = vec![0; region.length as usize];
    File::open(path)?.read_exact_at(&mut bytes, region.at)?;
    Ok(check_region(region, lanes, 0, &bytes))
}

/// Compares bytes of a region with what its lanes say.
pub fn check_region(
    region: &Region,
    lanes: &[Lane],
    offset: u64,
    bytes: &[u8],
) -> Result<(), Mismatch> {
    let end = offset + bytes.len() as u64;
    let mut at = offset;
    while at < end {
        let lane = lanes.iter().find(|lane| lane.range().contains(&at));
        let stop = lane.map_or(region.lanes_at.max(at + 1), |lane| lane.range().end);
        let stop = stop.min(end);
        let part = &bytes[(at - offset) as usize..(stop - offset) as usize];
        let generation = |sector| lane.map_or(0, |lane| lane.generation(sector));
        region.pattern.check(at, part, generation)?;
        at = stop;
    }
    Ok(())
}

/// The user's image.
#[derive(Debug)]
pub struct UserImage {
    /// Where it is.
    pub path: PathBuf,
    /// Its contents in places, by offset.
    pub pieces: Vec<(u64, Vec<u8>)>,
}

impl UserImage {
    /// Looks at the image, without the block layer.
    pub fn read(path: &Path, write: bool) -> Result<UserImage, SetupError> {
        let refuse = |reason: String| SetupError::Image {
            path: path.display().to_string(),
            reason,
        };
        let metadata = fs::metadata(path)
            .map_err(|error| refuse(format!("{error}. Give the path of a raw image")))?;
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(refuse(
                "it is neither a regular file nor a block device. Give the path of a raw image"
                    .into(),
            ));
        }
        let mut file = File::options()
            .read(true)
            .write(write)
            .open(path)
            .map_err(|error| refuse(open_advice(&error, write)))?;
        let read_error = |error: io::Error| refuse(format!("it cannot be read: {error}"));
        // A device has no length in its metadata.
        let length = file.seek(SeekFrom::End(0)).map_err(read_error)?;
        if length == 0 {
            return Err(refuse(
                "it is empty. Give an image with contents; `quiesce` alone makes its own".into(),
            ));
        }
        let mut pieces = Vec::new();
        for at in piece_offsets(length) {
            let mut bytes = vec![0; PIECE.min(length - at) as usize];
            file.seek(SeekFrom::Start(at)).map_err(read_error)?;
            file.read_exact(&mut bytes).map_err(read_error)?;
            pieces.push((at, bytes));
        }
        Ok(UserImage {
            path: path.to_owned(),
            pieces,
        })
    }

    /// Compares the image, read without the block layer, with what it was.
    pub fn check(&self) -> io::Result<Result<(), Mismatch>> {
        let file = File::open(&self.path)?;
        for (at, known) in &self.pieces {
            let mut bytes = vec![0; known.len()];
            file.read_exact_at(&mut bytes, *at)?;
            let outcome = super::load::check_piece(&self.pieces, *at, &bytes);
            if outcome.is_err() {
                return Ok(outcome);
            }
        }
        Ok(Ok(()))
    }
}

fn open_advice(error: &io::Error, write: bool) -> String {
    match (error.kind(), write) {
        (io::ErrorKind::PermissionDenied, true) => {
            format!("{error}. Without --write-image it is opened read-only")
        }
        _ => format!("{error}"),
    }
}

/// Where the pieces of an image that long begin; the first and the last bytes
/// are among them.
fn piece_offsets(length: u64) -> Vec<u64> {
    let all = length.div_ceil(PIECE);
    let count = all.min(PIECES);
    let nth = |index: u64| {
        let spread = u128::from(index) * u128::from(all - 1) / u128::from((count - 1).max(1));
        spread as u64 * PIECE
    };
    (0..count).map(nth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        Region {
            at: 8192,
            length: 16384,
            lanes_at: 4096,
            pattern: Pattern::new(3),
        }
    }

    #[test]
    fn only_the_first_file_of_a_set_has_the_lanes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (first, other) = (dir.path().join("0"), dir.path().join("1"));
        create(&first, &[region()], true).expect("created");
        create(&other, &[region()], false).expect("created");
        let lanes = Lane::cut(region().lanes(), 3);
        assert_eq!(check(&first, &region(), &lanes).expect("read"), Ok(()));
        let stale = check(&other, &region(), &lanes)
            .expect("read")
            .expect_err("stale");
        assert_eq!((stale.at, stale.found), (4096, STALE));
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let path = Path::new("/nonexistent-directory/image");
        let error = create(path, &[region()], true).expect_err("no such directory");
        assert!(error.to_string().contains("--dir"), "{error}");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = SetupError::file("cannot create the image", path, full);
        assert!(error.to_string().contains("Free some space"), "{error}");
    }

    #[test]
    fn pieces_reach_both_ends_of_an_image() {
        assert_eq!(piece_offsets(1), [0]);
        assert_eq!(piece_offsets(PIECE + 1), [0, PIECE]);
        let offsets = piece_offsets(1 << 40);
        assert_eq!(offsets.len() as u64, PIECES);
        assert_eq!(offsets[0], 0);
        assert_eq!(offsets.last(), Some(&((1 << 40) - PIECE)));
        assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn what_is_no_image_is_refused_with_advice() {
        let dir = tempfile::tempdir().expect("a directory");
        let message = |path: &Path| {
            UserImage::read(path, false)
                .expect_err("refused")
                .to_string()
        };
        assert!(message(dir.path()).contains("neither a regular file"));
        let empty = dir.path().join("empty");
        fs::write(&empty, []).expect("written");
        assert!(message(&empty).contains("it is empty"));
        assert!(message(&dir.path().join("missing")).contains("Give the path"));
    }
}
