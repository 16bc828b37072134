//! Threads that run requests.

use std::fmt;

use block_common::GraphError;
use block_io::aio::{AioContext, ContextThread};
use futures_channel::oneshot;

use crate::BqlGuard;

/// An iothread: an operating system thread with an event loop of its own
/// (`IOThread`). A handle; the thread belongs to the block layer.
#[derive(Clone, PartialEq, Eq)]
pub struct IoThread {
    name: String,
    context: AioContext,
}

impl fmt::Debug for IoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoThread({})", self.name)
    }
}

impl IoThread {
    /// Starts an iothread (`object-add` of type `iothread`).
    ///
    /// # Errors
    /// [`GraphError::DuplicateIoThread`]; [`GraphError::EventLoop`] when the
    /// system has no thread or file descriptor left.
    pub fn create(bql: &mut BqlGuard, name: &str) -> Result<IoThread, GraphError> {
        if find(bql, name).is_some() {
            return Err(GraphError::DuplicateIoThread(name.to_owned()));
        }
        let thread =
            ContextThread::spawn(name).map_err(|error| GraphError::EventLoop(error.to_string()))?;
        let context = thread.context().clone();
        bql.graph_mut().iothreads.push((name.to_owned(), thread));
        Ok(IoThread {
            name: name.to_owned(),
            context,
        })
    }

    /// The iothread called `name` (`iothread_by_id`).
    ///
    /// # Errors
    /// [`GraphError::NoSuchIoThread`].
    pub fn find(bql: &BqlGuard, name: &str) -> Result<IoThread, GraphError> {
        let found = find(bql, name).map(|thread| IoThread {
            name: name.to_owned(),
            context: thread.context().clone(),
        });
        found.ok_or_else(|| GraphError::NoSuchIoThread(name.to_owned()))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its event loop (`iothread_get_aio_context`).
    pub fn context(&self) -> &AioContext {
        &self.context
    }

    /// Stops the thread once it has run what was scheduled to it, and waits
    /// for that (`object-del`). Tasks that still wait for something are
    /// dropped.
    ///
    /// # Errors
    /// [`GraphError::IoThreadInUse`] when a node or backend is at home there;
    /// [`GraphError::NoSuchIoThread`] when it is gone already.
    pub fn remove(&self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        let graph = bql.graph();
        let mut nodes = graph.nodes.values();
        let mut backends = graph.backends.values();
        if nodes.any(|node| node.io.context() == self.context)
            || backends.any(|backend| backend.root.context() == self.context)
        {
            return Err(GraphError::IoThreadInUse(self.name.clone()));
        }
        let iothreads = &mut bql.graph_mut().iothreads;
        let position = iothreads
            .iter()
            .position(|(name, thread)| *name == self.name && *thread.context() == self.context);
        let Some(position) = position else {
            return Err(GraphError::NoSuchIoThread(self.name.clone()));
        };
        let (_, thread) = iothreads.remove(position);
        // Joined elsewhere: what the thread still has to do may need us.
        let (ended, end) = oneshot::channel();
        let joiner = std::thread::Builder::new().spawn(move || {
            let _ = ended.send(thread.stop());
        });
        joiner.map_err(|error| GraphError::EventLoop(error.to_string()))?;
        match bql.block_on(end) {
            Ok(stopped) => stopped.map_err(|error| GraphError::EventLoop(error.to_string())),
            Err(oneshot::Canceled) => Ok(()),
        }
    }
}

/// All iothreads, in the order of their creation (`query-iothreads`).
pub fn iothreads<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = IoThread> + use<'b> {
    let threads = bql.graph().iothreads.iter();
    threads.map(|(name, thread)| IoThread {
        name: name.clone(),
        context: thread.context().clone(),
    })
}

fn find<'b>(bql: &'b BqlGuard, name: &str) -> Option<&'b ContextThread> {
    let mut threads = bql.graph().iothreads.iter();
    threads
        .find(|(known, _)| known == name)
        .map(|(_, thread)| thread)
}
