//! A driver that writes down what it is told, and can be reopened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use block_common::GraphError;
use block_gs::{
    AfterReopen, BlockDriver, BqlGuard, Drained, Node, NodeBuilder, NodeOptions, PermPair,
    PreparedReopen, ReopenCommit, ReopenOptions, ReopenTo, Role,
};
use block_io::{
    BlockLimits, Destination, DriverIo, GraphCell, IoFuture, Request, Source, WriteFlags,
};

/// What all drivers of a test have been told, in order.
pub type Story = Arc<Mutex<Vec<String>>>;

/// Takes what was told since the last time.
pub fn told(story: &Story) -> Vec<String> {
    std::mem::take(&mut story.lock().expect("no panic"))
}

/// What is read from the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letter(pub u8);

/// Where a driver does not go along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    None,
    RefusesToPrepare,
    PanicsIn(&'static str),
}

pub struct Scribe {
    name: String,
    story: Story,
    trouble: Trouble,
    /// Set when the node is open: it panics once.
    armed: AtomicBool,
    backing: bool,
    letter: GraphCell<u8>,
    /// What it demands of requests.
    alignment: OnceLock<u32>,
}

impl Scribe {
    fn tell(&self, what: &'static str) {
        let line = format!("{what} {}", self.name);
        self.story.lock().expect("no panic").push(line);
        let panics = self.trouble == Trouble::PanicsIn(what);
        if panics && self.armed.swap(false, Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("as told"));
        }
    }
}

pub fn open_with(
    bql: &mut BqlGuard,
    story: &Story,
    name: &str,
    trouble: Trouble,
    options: NodeOptions,
    child: Option<(&str, &Node, Role)>,
) -> Node {
    let mut builder = NodeBuilder::new(name).options(options);
    if let Some((edge, child, role)) = child {
        builder = builder.child(edge, child, role);
    }
    let scribe = Scribe {
        name: name.to_owned(),
        story: Arc::clone(story),
        trouble,
        armed: AtomicBool::new(false),
        backing: true,
        letter: GraphCell::new(builder.uid(), b'a'),
        alignment: OnceLock::new(),
    };
    let node = builder.open(bql, Arc::new(scribe)).expect("opened");
    let scribe = node.driver::<Scribe>().expect("ours");
    scribe.armed.store(true, Ordering::Relaxed);
    told(story);
    node
}

pub fn open(bql: &mut BqlGuard, story: &Story, name: &str) -> Node {
    open_with(
        bql,
        story,
        name,
        Trouble::None,
        NodeOptions::default(),
        None,
    )
}

/// The node as it is, with another letter.
pub fn with_letter(bql: &BqlGuard, node: &Node, letter: u8) -> ReopenOptions {
    ReopenOptions::new(node.view(bql).options()).settings(Letter(letter))
}

/// The node as it is, but for reading only or not.
pub fn read_only(bql: &BqlGuard, node: &Node, read_only: bool) -> ReopenOptions {
    ReopenOptions::new(NodeOptions {
        read_only,
        ..node.view(bql).options()
    })
}

/// What is read.
pub fn letter(bql: &mut BqlGuard, node: &Node) -> u8 {
    let mut section = node.drain(bql);
    section.io(async |request: Request<'_>| {
        let mut buffer = block_io::Buffer::zeroed(512);
        request.read(0, buffer.destination()).await.expect("read");
        buffer.as_slice()[0]
    })
}

impl DriverIo for Scribe {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        _offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        let letter = *self.letter.get(request);
        IoFuture::new(async move {
            block_io::aio::yield_now().await;
            // Still there: a reopen waits for this request.
            assert_eq!(letter, *self.letter.get(request));
            into.fill(letter);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.tell("flush");
        IoFuture::done()
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512 * u64::from(*self.letter.get(request))))
    }
}

impl BlockDriver for Scribe {
    fn format_name(&self) -> &'static str {
        "scribe"
    }

    fn supports_backing(&self) -> bool {
        self.backing
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.request_alignment = self.alignment.get().copied().unwrap_or(1);
        Ok(())
    }

    fn check_perm(&self, _bql: &BqlGuard, _asked: PermPair) -> Result<(), GraphError> {
        self.tell("check");
        Ok(())
    }

    fn set_perm(&self, _bql: &BqlGuard, _granted: PermPair) {
        self.tell("set");
    }

    fn abort_perm_update(&self, _bql: &BqlGuard) {
        self.tell("unset");
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        self.tell("prepare");
        assert!(section.node().view(section).quiesce_count() > 0);
        if self.trouble == Trouble::RefusesToPrepare {
            return Err(GraphError::Refused {
                message: "the test driver refuses".into(),
                errno: 5,
            });
        }
        // What it got ready is not shared: two of them would be seen.
        section.io(async |request: Request<'_>| request.refresh_length().await)?;
        let letter = to.settings::<Letter>()?.copied();
        Ok(Box::new(Chapter { letter }))
    }
}

struct Chapter {
    letter: Option<Letter>,
}

impl PreparedReopen for Chapter {
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        let node = reopen.node().clone();
        let scribe = node.driver::<Scribe>().expect("ours");
        scribe.tell("commit");
        if let Some(Letter(letter)) = self.letter {
            reopen.set(&scribe.letter, letter);
            if letter == b'Z' {
                let _ = scribe.alignment.set(512);
            }
        }
        Some(Box::new(move |section| {
            let scribe = section
                .node()
                .driver::<Scribe>()
                .expect("ours")
                .name
                .clone();
            let read = section.io(async |request: Request<'_>| {
                let mut buffer = block_io::Buffer::zeroed(512);
                request.read(0, buffer.destination()).await
            });
            read.expect("it can do I/O");
            node.driver::<Scribe>().expect("ours").tell("after");
            assert_eq!(scribe, node.name());
        }))
    }

    fn abort(self: Box<Self>, _bql: &BqlGuard, node: &Node) {
        node.driver::<Scribe>().expect("ours").tell("abort");
    }
}
