//! Writing what an overlay has into its backing image, from beginning to end
//! (`block/commit.c`, `bdrv_commit`). For images that are in use and large
//! there are jobs, which let requests through meanwhile.

mod top;

use block_common::error::errno;
use block_gs::{
    Backend, BqlGuard, DrainedBackend, GraphError, IoError, Node, Operations, Perm, backends,
};
use block_io::{Buffer, Preallocation, Request, Root};

use top::CommitTop;

/// So much is copied at a time, in bytes.
const CHUNK: u64 = 1 << 20;

/// Writes everything that `overlay` has on top of its backing image into that,
/// and then empties the overlay, if its driver
/// [can](block_gs::BlockDriver::make_empty) (`bdrv_commit`). A shorter backing
/// image becomes as long as the overlay. One that is read-only is
/// [reopened](Node::set_read_only) for writing, and for reading only
/// afterwards.
///
/// The overlay is drained from the first byte that is read until it has been
/// emptied: what is written meanwhile waits, and is not lost. It polls, so it
/// takes the exclusive proof.
///
/// # Errors
/// `ENOTSUP` without a backing image; [`GraphError::Blocked`]; `EACCES` when
/// the backing image cannot be written; refusals of the permission system,
/// when somebody does not share it; the errors of requests. The graph is as it
/// was; what was written stays written, and the overlay still has all it had.
pub fn commit(bql: &mut BqlGuard, overlay: &Node) -> Result<(), GraphError> {
    let view = overlay.view(bql);
    let backing = view.cow_node().ok_or(IoError::NotSupported)?;
    view.check_operations(Operations::COMMIT_SOURCE)?;
    backing.check_operations(Operations::COMMIT_TARGET)?;
    let was_writable = backing.is_writable();
    let backing = backing.node(bql);
    if was_writable {
        return commit_into(bql, overlay, &backing);
    }
    backing
        .set_read_only(bql, false)
        .map_err(|error| GraphError::Refused {
            message: error.to_string(),
            errno: errno::EACCES,
        })?;
    let writable = Writable {
        bql,
        node: &backing,
    };
    commit_into(writable.bql, overlay, &backing)
}

/// Commits the image of every backend that has one with a backing image
/// (`blk_commit_all`).
///
/// # Errors
/// As [`commit`], of the first that fails. Those before have been committed.
pub fn commit_all(bql: &mut BqlGuard) -> Result<(), GraphError> {
    let all: Vec<Backend> = backends(bql).collect();
    for backend in all {
        let Some(node) = backend.node(bql) else {
            continue;
        };
        let image = node.view(bql).skip_filters();
        if image.cow_node().is_some() {
            let image = image.node(bql);
            commit(bql, &image)?;
        }
    }
    Ok(())
}

/// A node that was read-only, and will be again.
struct Writable<'b> {
    bql: &'b mut BqlGuard,
    node: &'b Node,
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        // It polls.
        if !std::thread::panicking() {
            // Somebody may write to it by now; then it stays writable.
            let _ = self.node.set_read_only(self.bql, true);
        }
    }
}

fn commit_into(bql: &mut BqlGuard, overlay: &Node, backing: &Node) -> Result<(), GraphError> {
    let top = CommitTop::over(bql, backing)?;
    // The edge through which the image may be emptied, and by which it is
    // drained.
    let perm = Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED;
    let source = Backend::new(bql, "", perm, Perm::all())?;
    source.insert(bql, overlay)?;
    let target = Backend::new(bql, "", Perm::WRITE | Perm::RESIZE, Perm::all())?;
    let mut committing = Committing {
        section: source.drain(bql),
        overlay,
        backing,
        target: &target,
        inserted: false,
    };
    committing.insert(&top)?;
    let outcome = committing.run();
    drop(committing);
    source.remove(bql);
    outcome
}

/// An overlay that is being committed. Dropping it takes out what was put
/// between it and its backing image.
struct Committing<'c> {
    section: DrainedBackend<'c>,
    overlay: &'c Node,
    backing: &'c Node,
    target: &'c Backend,
    inserted: bool,
}

impl Committing<'_> {
    fn insert(&mut self, top: &Node) -> Result<(), GraphError> {
        self.section.also(self.overlay).set_backing(Some(top))?;
        self.inserted = true;
        let (target, backing) = (self.target, self.backing);
        self.section.with(|bql| target.insert(bql, backing))
    }

    fn run(&mut self) -> Result<(), GraphError> {
        let target = self.target.root();
        let mut section = self.section.also(self.overlay);
        section.io(async |overlay| copy(overlay, target).await)?;
        match section.make_empty() {
            Err(error) if error.errno() != errno::ENOTSUP => return Err(error),
            _ => {}
        }
        section.io(async |overlay| overlay.flush().await)?;
        section.block_on(target.flush())?;
        Ok(())
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        let (target, overlay, backing) = (self.target, self.overlay, self.backing);
        self.section.with(|bql| target.remove(bql));
        if self.inserted {
            // The graph was so before. What polls may have frozen nothing
            // here: the link to the filter cannot be.
            let _ = self.section.also(overlay).set_backing(Some(backing));
        }
    }
}

async fn copy(overlay: Request<'_>, target: &Root) -> Result<(), IoError> {
    let length = overlay.node().length();
    if length > target.length().await? {
        target.truncate(length, false, Preallocation::Off).await?;
    }
    let mut buffer = Buffer::zeroed(CHUNK.min(length.max(1)) as usize);
    let mut offset = 0;
    while offset < length {
        let (allocated, bytes) = overlay
            .is_allocated(offset, CHUNK.min(length - offset))
            .await?;
        if allocated {
            let (part, _) = buffer.destination().split_at(bytes as usize);
            overlay.read(offset, part).await?;
            let (part, _) = buffer.source().split_at(bytes as usize);
            target.write(offset, part).await?;
        }
        offset += bytes.max(1);
    }
    Ok(())
}
