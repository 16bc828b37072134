//! The nodes of a job, and its I/O.

use std::fmt;
use std::sync::Arc;

use block_gs::{Backend, BqlGuard, Node, Parent, Perm, iothreads};
use block_io::Root;

use crate::{Job, JobError};

impl Job {
    /// Holds another node (`block_job_add_bdrv`): the job pauses in its
    /// drained sections and moves with it to other AioContexts. `perm` is what
    /// the job does with it by other ways than a backend's, `shared` what it
    /// lets others do. The node comes to the job's context, or else the job
    /// with its other nodes to the node's. May poll.
    ///
    /// # Errors
    /// [`JobError::Graph`] with a refusal of the permission system, or of a
    /// parent that cannot move; [`JobError::HoldsNoNodes`]. Nothing has changed
    /// then.
    pub fn add_node(
        &self,
        bql: &mut BqlGuard,
        name: &str,
        node: &Node,
        perm: Perm,
        shared: Perm,
    ) -> Result<(), JobError> {
        let holder = self.holder(bql)?;
        let edge = holder.attach(bql, name, node, perm, shared)?;
        // Attaching may have polled, and the job have come to its end.
        if let Err(gone) = self.holder(bql) {
            let _ = holder.detach(bql, edge);
            return Err(gone);
        }
        self.main(bql).edges.push((edge, node.clone()));
        Ok(())
    }

    fn holder(&self, bql: &BqlGuard) -> Result<Arc<Parent>, JobError> {
        let holder = self.0.main.get(bql).holder.as_ref();
        holder
            .map(Arc::clone)
            .ok_or_else(|| JobError::HoldsNoNodes(self.name().to_owned()))
    }

    /// Whether it holds `node` (`block_job_has_bdrv`).
    pub fn has_node(&self, bql: &BqlGuard, node: &Node) -> bool {
        let edges = &self.0.main.get(bql).edges;
        edges.iter().any(|(_, held)| held == node)
    }

    /// The nodes that it holds, as they came.
    pub fn nodes(&self, bql: &BqlGuard) -> Vec<Node> {
        let edges = &self.0.main.get(bql).edges;
        edges.iter().map(|(_, node)| node.clone()).collect()
    }

    /// Lets all nodes go (`block_job_remove_all_bdrv`).
    pub fn remove_all_nodes(&self, bql: &mut BqlGuard) {
        // One by one: letting go of a node may change the list.
        while let Some((edge, node)) = self.main(bql).edges.pop() {
            if let Ok(holder) = self.holder(bql) {
                // An edge that is gone already is let go of.
                let _ = holder.detach(bql, edge);
            }
            drop(node);
        }
    }
}

/// A backend through which the code of a job does its I/O: see
/// [`JobContext::begin`](crate::JobContext::begin) and what follows it there.
///
/// Its node is one that the job holds, so whatever closes its gate pauses the
/// job too. It follows its node to other AioContexts. Dropping it takes it
/// away.
pub struct JobBackend {
    backend: Backend,
}

impl fmt::Debug for JobBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobBackend({:?})", self.backend)
    }
}

impl JobBackend {
    /// An unnamed backend of `job` above `node`. May poll.
    ///
    /// # Errors
    /// [`JobError::NodeNotHeld`] when the job does not hold the node,
    /// [`JobError::Graph`] when the permissions are refused.
    pub fn new(
        bql: &mut BqlGuard,
        job: &Job,
        node: &Node,
        perm: Perm,
        shared: Perm,
    ) -> Result<Arc<JobBackend>, JobError> {
        if !job.has_node(bql, node) {
            return Err(JobError::NodeNotHeld(node.name().to_owned()));
        }
        let backend = Backend::new(bql, "", perm, shared)?;
        backend.set_allow_context_change(bql, true);
        // To where the node is: it is the job's, and not to move for this.
        let home = node.io().context();
        let iothread = iothreads(bql).find(|thread| *thread.context() == home);
        backend.set_iothread(bql, iothread.as_ref())?;
        backend.insert(bql, node)?;
        Ok(Arc::new(JobBackend { backend }))
    }

    /// The backend itself, for what changes it in the main loop.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The root, for requests beside the job's code: inside
    /// [`JobContext::wait`](crate::JobContext::wait). Elsewhere they can wait
    /// for a drained section that waits for the job.
    pub fn root(&self) -> &Root {
        self.backend.root()
    }
}
