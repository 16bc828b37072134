//! A chain of qcow2 images: the connected part of the graph that grows and
//! shrinks.
//!
//! ```text
//!    chain          every request of the load enters here
//!      │
//!    qcow2-9 ──── file      the active image: what is written goes here
//!      │ backing
//!    qcow2-7 ──── file
//!      │ backing
//!    qcow2-4 ──── file      the base
//! ```
//!
//! | module | what |
//! |---|---|
//! | `make` | new images, and nodes over them |
//! | `copy` | moving contents between images |
//! | `check` | looking whether images are consistent |
//! | `finish` | the last look at all of them, without the graph of the tour |
//! | `qemu` | the same images in QEMU's eyes |

mod check;
pub mod copy;
pub mod finish;
pub mod make;
mod qemu;

use std::path::PathBuf;

use block_gs::{BqlGuard, GraphError, Node};

pub use self::check::check;
pub use self::finish::Checked;

use self::make::Shape;
use super::failure::SetupError;
use super::image::Region;

/// A chain, and where its images are.
#[derive(Debug)]
pub struct Chain {
    /// Where the files are.
    dir: PathBuf,
    /// The images, the base first. There is one at least.
    pub layers: Vec<Layer>,
    /// How long each of them is, in bytes.
    pub length: u64,
    /// Images that there have been.
    made: u64,
}

/// One image of a chain.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its file.
    pub path: PathBuf,
    /// The node of the file.
    pub file: Node,
    /// The node of the image.
    pub node: Node,
}

impl Chain {
    /// Makes a base with the contents of `region`, and an image over it, in
    /// `dir`.
    ///
    /// # Errors
    /// [`SetupError::Open`].
    pub fn build(bql: &mut BqlGuard, dir: PathBuf, region: &Region) -> Result<Chain, SetupError> {
        let mut chain = Chain {
            dir,
            layers: Vec::new(),
            length: region.length,
            made: 0,
        };
        let complain = |error| SetupError::Open {
            what: "cannot make the chain of qcow2 images".to_owned(),
            error,
        };
        let shape = Shape::usual();
        let base = chain.image(bql, &shape, None).map_err(complain)?;
        let filled = copy::fill(bql, &base.node, region).map_err(GraphError::from);
        filled.map_err(|error| complain(error.into()))?;
        let active = chain.image(bql, &shape, Some(&base)).map_err(complain)?;
        let mut section = active.node.drain(bql);
        let set = section.set_backing(Some(&base.node));
        set.map_err(|error| complain(error.into()))?;
        section.end();
        chain.layers = vec![base, active];
        Ok(chain)
    }

    /// The image that is written.
    pub fn active(&self) -> &Layer {
        &self.layers[self.layers.len() - 1]
    }

    /// All nodes of the images and of their files.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let layers = self.layers.iter();
        layers.flat_map(|layer| [&layer.node, &layer.file])
    }
}
