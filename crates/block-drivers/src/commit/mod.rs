//! Writing what an overlay has into its backing image, from beginning to end
//! (`block/commit.c`, `bdrv_commit`). For images that are in use and large
//! there are jobs, which let requests through meanwhile.

mod top;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use block_common::error::errno;
use block_gs::{
    Backend, BqlGuard, DrainedBackend, GraphError, IoError, Node, Operations, Perm, Transaction,
    backends, iothreads,
};
use block_io::aio::sleep_until;
use block_io::{Buffer, IoNode, Preallocation, Request, Root, StatusFlags, WriteFlags};

use top::CommitTop;

/// So much is copied at a time, in bytes.
const CHUNK: u64 = 1 << 20;

/// Writes everything that `overlay` has on top of its backing image into that,
/// and then empties the overlay, if its driver
/// [can](block_gs::BlockDriver::make_empty) (`bdrv_commit`). It is what
/// [`Commit`] does when it is told nothing else.
///
/// # Errors
/// Those of [`Commit::run`].
pub fn commit(bql: &mut BqlGuard, overlay: &Node) -> Result<(), GraphError> {
    Commit::of(overlay).run(bql)
}

/// What is to be committed, and into what.
#[must_use = "nothing is written yet"]
pub struct Commit<'c> {
    overlay: &'c Node,
    base: Option<&'c Node>,
    keeps: bool,
    rate: u64,
    progress: Box<dyn FnMut(u64, u64) + 'c>,
}

impl fmt::Debug for Commit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("overlay", &self.overlay)
            .field("base", &self.base)
            .field("keeps", &self.keeps)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

impl<'c> Commit<'c> {
    /// What `overlay` has on top of its backing image, into that.
    pub fn of(overlay: &'c Node) -> Self {
        Commit {
            overlay,
            base: None,
            keeps: false,
            rate: 0,
            progress: Box::new(|_, _| {}),
        }
    }

    /// Into an image further down the chain: with what those between have.
    pub fn into_base(mut self, base: &'c Node) -> Self {
        self.base = Some(base);
        self
    }

    /// The overlay is not emptied.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keeps = keep;
        self
    }

    /// Writes at most so many bytes a second; 0 is no limit.
    pub fn rate(mut self, bytes: u64) -> Self {
        self.rate = bytes;
        self
    }

    /// `progress` hears how many bytes have been looked at, of how many.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + 'c) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Does it.
    ///
    /// A shorter backing image becomes as long as the overlay. One that is
    /// read-only is [reopened](Node::set_read_only) for writing, and for
    /// reading only afterwards.
    ///
    /// The overlay is drained from the first byte that is read until it has
    /// been emptied: what is written meanwhile waits, and is not lost. It
    /// polls, so it takes the exclusive proof.
    ///
    /// # Errors
    /// `ENOTSUP` without a backing image; [`GraphError::NotInChain`] for a
    /// base that is not one; [`GraphError::Blocked`]; `EACCES` when the
    /// backing image cannot be written; refusals of the permission system,
    /// when somebody does not share it; `EBUSY` when the chain from the overlay
    /// to the base is another one than it was, as what runs meanwhile may have
    /// made it; the errors of requests. The graph is as it was, or as others
    /// have made it meanwhile; what was written stays written, and the overlay
    /// still has all it had, unless it is its own flush that fails.
    pub fn run(self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        let view = self.overlay.view(bql);
        let next = view.cow_node().ok_or(IoError::NotSupported)?;
        let base = match self.base {
            None => next,
            Some(base) => base.view(bql),
        };
        // What is above the base, and will see it through a filter.
        let above = view.find_overlay(Some(base));
        let chain = above.and_then(|above| Chain::of(bql, self.overlay, &above.node(bql)));
        let Some(chain) = chain else {
            return Err(GraphError::NotInChain {
                node: base.name().to_owned(),
                top: self.overlay.name().to_owned(),
            });
        };
        view.check_operations(Operations::COMMIT_SOURCE)?;
        base.check_operations(Operations::COMMIT_TARGET)?;
        let was_writable = !base.is_read_only();
        let base = base.node(bql);
        if was_writable {
            return commit_into(bql, self, chain, &base);
        }
        base.set_read_only(bql, false).map_err(|error| {
            let (message, errno) = (error.to_string(), errno::EACCES);
            match error.hint().map(str::to_owned) {
                Some(hint) => GraphError::RefusedWithHint {
                    message,
                    hint,
                    errno,
                },
                None => GraphError::Refused { message, errno },
            }
        })?;
        let writable = Writable { bql, node: &base };
        commit_into(writable.bql, self, chain, &base)
    }
}

/// From an overlay on down to the image above the base. Whatever polls may
/// have changed it.
struct Chain {
    /// The overlay first, the image above the base last. There is one. With
    /// each, what its edge down the chain is called.
    down: Vec<(Node, String)>,
    /// What the last one has as its backing image.
    below: Node,
}

impl Chain {
    /// `None` if `above` is not there, or has no backing image.
    fn of(bql: &BqlGuard, overlay: &Node, above: &Node) -> Option<Chain> {
        let mut down = Vec::new();
        let mut next = overlay.view(bql);
        loop {
            let edge = next.filter_or_cow_child()?;
            let node = next.node(bql);
            let is_last = node == *above;
            down.push((node, edge.name().to_owned()));
            next = edge.child();
            if is_last {
                let below = next.node(bql);
                return Some(Chain { down, below });
            }
        }
    }

    fn overlay(&self) -> &Node {
        &self.down[0].0
    }

    fn above(&self) -> &Node {
        &self.down[self.down.len() - 1].0
    }

    /// What the edge of the last one is called.
    fn link(&self) -> &str {
        &self.down[self.down.len() - 1].1
    }

    /// Lets changes depend on its being what it was.
    fn expect(&self, changes: &mut Transaction<'_>) {
        let below = self.down.iter().skip(1).map(|(node, _)| node);
        let children = below.chain([&self.below]);
        for ((node, edge), child) in self.down.iter().zip(children) {
            changes.at(node).expect_child(edge, Some(child));
        }
    }

    fn changed(&self) -> GraphError {
        let overlay = self.overlay().name();
        GraphError::Refused {
            message: format!("The backing chain of '{overlay}' has changed meanwhile"),
            errno: errno::EBUSY,
        }
    }

    /// Whether it still is what it was, but for `below` at its end.
    ///
    /// # Errors
    /// [`GraphError::Refused`] with `EBUSY` if it is not.
    fn check(&self, bql: &BqlGuard, below: &Node) -> Result<(), GraphError> {
        let now = Chain::of(bql, self.overlay(), self.above());
        if now.is_some_and(|now| now.down == self.down && now.below == *below) {
            return Ok(());
        }
        Err(self.changed())
    }
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

fn commit_into(
    bql: &mut BqlGuard,
    commit: Commit<'_>,
    chain: Chain,
    base: &Node,
) -> Result<(), GraphError> {
    let overlay = commit.overlay;
    let top = CommitTop::over(bql, base)?;
    // The edge through which the image may be emptied, and by which it is
    // drained.
    let perm = Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED;
    let source = beside(bql, overlay, perm)?;
    source.insert(bql, overlay)?;
    let target = beside(bql, base, Perm::WRITE | Perm::RESIZE)?;
    let mut committing = Committing {
        section: source.drain(bql),
        chain,
        base,
        top,
        target: &target,
    };
    let outcome = committing.run(commit);
    drop(committing);
    source.remove(bql);
    outcome
}

/// An unnamed backend for a node, at home where the node is: it does not take the
/// node, and whatever else is there, out of an iothread.
fn beside(bql: &mut BqlGuard, node: &Node, perm: Perm) -> Result<Backend, GraphError> {
    let backend = Backend::new(bql, "", perm, Perm::all())?;
    backend.set_allow_context_change(bql, true);
    let home = node.io().context();
    let home = iothreads(bql).find(|iothread| *iothread.context() == home);
    backend.set_iothread(bql, home.as_ref())?;
    Ok(backend)
}

/// An overlay that is being committed. Dropping it takes out what was put
/// between the base and the image above it, unless others have done that.
struct Committing<'c> {
    section: DrainedBackend<'c>,
    chain: Chain,
    base: &'c Node,
    top: Node,
    target: &'c Backend,
}

impl Committing<'_> {
    fn run(&mut self, mut commit: Commit<'_>) -> Result<(), GraphError> {
        self.insert()?;
        let target = self.target.root();
        // What is above the filter is committed. The filter would say of what
        // the base does not have that it has zeroes.
        let base = Arc::clone(self.top.io());
        let mut section = self.section.also(commit.overlay);
        let (rate, progress) = (commit.rate, &mut commit.progress);
        section.io(async |overlay| copy(overlay, &base, target, rate, progress).await)?;
        // The overlay has it until the base has it for good.
        section.block_on(target.flush())?;
        self.chain.check(&section, &self.top)?;
        if !commit.keeps {
            match section.make_empty() {
                Err(error) if error.errno() != errno::ENOTSUP => return Err(error),
                _ => {}
            }
            section.io(async |overlay| overlay.flush().await)?;
        }
        Ok(())
    }

    fn insert(&mut self) -> Result<(), GraphError> {
        let (target, base, above) = (self.target, self.base, self.chain.above());
        let mut section = self.section.also(above);
        let mut changes = section.transaction();
        self.chain.expect(&mut changes);
        changes.at(above).set_backing(Some(&self.top));
        changes.commit().map_err(|error| match error {
            GraphError::ChildChanged { .. } => self.chain.changed(),
            error => error,
        })?;
        section.end();
        self.section.with(|bql| target.insert(bql, base))
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        let target = self.target;
        self.section.with(|bql| target.remove(bql));
        let above = self.chain.above();
        let mut section = self.section.also(above);
        let mut changes = section.transaction();
        // The graph was so before. What polls may have frozen nothing here: the
        // link to the filter cannot be. If it is another one, it stays.
        changes.expect_child(self.chain.link(), Some(&self.top));
        changes.set_backing(Some(&self.chain.below));
        let _ = changes.commit();
    }
}

async fn copy(
    overlay: Request<'_>,
    base: &IoNode,
    target: &Root,
    rate: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), IoError> {
    let length = overlay.node().length();
    if length > target.length().await? {
        target.truncate(length, false, Preallocation::Off).await?;
    }
    let begun = Instant::now();
    let mut written = 0;
    let mut buffer = Buffer::zeroed(CHUNK.min(length.max(1)) as usize);
    let mut offset = 0;
    while offset < length {
        let asked = overlay.block_status_above(Some(base), offset, length - offset, true);
        let (status, _) = asked.await?;
        let mut bytes = status.bytes.max(1);
        if !status.flags.contains(StatusFlags::ALLOCATED) {
            // The base has it.
        } else if status.flags.contains(StatusFlags::ZERO) {
            let flags = WriteFlags::MAY_UNMAP;
            target.write_zeroes(offset, bytes, flags).await?;
        } else {
            bytes = bytes.min(CHUNK);
            let (part, _) = buffer.destination().split_at(bytes as usize);
            overlay.read(offset, part).await?;
            let (part, _) = buffer.source().split_at(bytes as usize);
            target.write(offset, part).await?;
            written += bytes;
            if rate > 0 {
                let due = Duration::from_secs_f64(written as f64 / rate as f64);
                sleep_until(begun + due).await;
            }
        }
        offset += bytes;
        progress(offset, length);
    }
    Ok(())
}
