//! Making images: what a format does with the file that is to hold one.
//!
//! An image is made by writing to its file, which is a node by then, so it is
//! I/O; some of it wants the graph changed in between, for instance the new
//! image opened. Both is possible in an asynchronous function that has the
//! file's node and the way to the main loop: [`NewImage`] is these two, with
//! the permissions that making an image needs.

use std::future::Future;
use std::pin::Pin;

use block_io::Root;

use crate::{
    Backend, BqlGuard, GraphError, IoError, MainLoop, MainLoopGone, Measurement, Node, Perm,
};

/// What becomes of making an image. It is polled by the main loop or by a
/// job, in any thread.
pub type Creation = Pin<Box<dyn Future<Output = Result<(), GraphError>> + Send>>;

/// How to make an image of a format: what was asked for, with types, checked
/// as far as that needs no I/O (`BlockdevCreateOptions` of a driver).
pub trait CreateImage: Send + 'static {
    /// Writes the image into its file (`BlockDriver.bdrv_co_create`), whatever
    /// that had.
    ///
    /// # Errors
    /// [`GraphError`] in QEMU's words; `EFBIG` when the format has no images
    /// so large, for which the caller has words. The file has anything in it
    /// then, and is deleted by whoever made it.
    fn create(self: Box<Self>, image: NewImage) -> Creation;

    /// What such an image allocates at once, in bytes.
    fn unit(&self) -> u64 {
        1
    }

    /// How much storage it will take when `data` bytes of it, in whole
    /// [units](CreateImage::unit), are in use (`BlockDriver.bdrv_measure`).
    ///
    /// # Errors
    /// `ENOTSUP` when the format cannot tell, for which the caller has words.
    fn measure(&self, _data: u64) -> Result<Measurement, GraphError> {
        Err(IoError::NotSupported.into())
    }
}

/// A file in which an image is being made. While it exists its node has a
/// writer that may resize it, and lets others do the same.
#[derive(Debug)]
#[must_use = "nothing is written yet"]
pub struct NewImage {
    main: MainLoop,
    file: Node,
    backend: Backend,
}

impl NewImage {
    /// Takes the node of a file to make an image in. Needs the exclusive
    /// proof because permissions change.
    ///
    /// # Errors
    /// Those of [`Backend::insert`]: the node cannot be written, or somebody
    /// else keeps it for himself.
    pub fn over(bql: &mut BqlGuard, file: &Node) -> Result<Self, GraphError> {
        let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
        let backend = Backend::new(bql, "", perm, Perm::all())?;
        backend.set_allow_context_change(bql, true);
        backend.set_grows(bql, true);
        backend.insert(bql, file)?;
        Ok(NewImage {
            main: bql.main_loop(),
            file: file.clone(),
            backend,
        })
    }

    /// The file, to write to; also beyond its end, which moves it.
    pub fn root(&self) -> &Root {
        self.backend.root()
    }

    /// The file's node, to put something above it.
    pub fn file(&self) -> &Node {
        &self.file
    }

    /// The way to the main loop.
    pub fn main_loop(&self) -> &MainLoop {
        &self.main
    }

    /// Gives the permissions up, and the node back: for what wants the file
    /// for itself, such as a node of the new image.
    ///
    /// # Errors
    /// [`GraphError::Io`] when the block layer has gone.
    pub async fn into_file(self) -> Result<Node, GraphError> {
        let NewImage {
            main,
            file,
            backend,
        } = self;
        let removed = main.call(move |bql| backend.remove(bql)).await;
        removed.map_err(GraphError::from)?;
        Ok(file)
    }
}

/// Nobody is left to do it.
impl From<MainLoopGone> for GraphError {
    fn from(_: MainLoopGone) -> Self {
        GraphError::Io(IoError::Cancelled)
    }
}
