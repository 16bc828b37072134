//! A filter that keeps requests waiting.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_gs::{BlockDriver, BqlGuard, IoError, Node, NodeBuilder, Role};
use block_io::aio::sleep;
use block_io::{Destination, DriverIo, IoFuture, Request, Source, Truncation, WriteFlags};

/// Passes everything on, and keeps some requests waiting.
#[derive(Default)]
pub struct Held {
    /// Writes there wait, and fail when they are let go.
    pub places: Mutex<Vec<u64>>,
    /// The next read there waits, and is done when it is let go.
    pub read: Mutex<Option<u64>>,
    /// It waits.
    pub reads: AtomicBool,
    waiting: AtomicU64,
}

impl Held {
    pub fn over(bql: &mut BqlGuard, file: &Node) -> Node {
        let role = Role::FILTERED | Role::PRIMARY;
        let held = NodeBuilder::new("").child("file", file, role);
        held.open(bql, Arc::new(Held::default())).expect("opened")
    }

    /// Runs the main loop until a request waits.
    pub fn until_waiting(&self, bql: &mut BqlGuard) {
        while self.waiting.load(Ordering::Relaxed) == 0 {
            bql.run_for(Duration::from_millis(1));
        }
    }
}

impl DriverIo for Held {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        let file = request.file().expect("a child");
        let is_held = |place: &mut u64| offset == *place;
        let mut read = self.read.lock().expect("nobody panics");
        if read.take_if(is_held).is_none() {
            return file.read(offset, into);
        }
        self.reads.store(true, Ordering::Relaxed);
        IoFuture::new(async move {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            while self.reads.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
            file.read(offset, into).await
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let is_held = move || {
            let places = self.places.lock().expect("nobody panics");
            places.iter().any(|place| offset / 4096 == place / 4096)
        };
        if !is_held() {
            let file = request.file().expect("a child");
            return file.write_with(offset, from, flags);
        }
        IoFuture::new(async move {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            while is_held() {
                sleep(Duration::from_millis(1)).await;
            }
            Err(IoError::from_errno(5))
        })
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let file = request.file().expect("a child");
        IoFuture::new(async move { file.truncate(to.length, to.exact, to.preallocation).await })
    }

    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        request.file().expect("a child").flush()
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Held {
    fn format_name(&self) -> &'static str {
        "held"
    }

    fn is_filter(&self) -> bool {
        true
    }
}
