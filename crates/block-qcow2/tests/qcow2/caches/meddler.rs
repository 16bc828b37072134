//! A filter that has something to do with a reopen of the node below.

use std::sync::Arc;

use block_gs::{
    BlockDriver, BqlGuard, Drained, GraphError, Node, NodeBuilder, PreparedReopen, ReopenTo, Role,
};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request, Source, WriteFlags};

/// A filter whose reopen is refused after another node's was got ready, or
/// which writes meanwhile.
pub struct Meddler {
    refuses: bool,
}

impl Meddler {
    pub fn over(bql: &mut BqlGuard, node: &Node, refuses: bool) -> Node {
        let role = Role::FILTERED | Role::PRIMARY;
        let builder = NodeBuilder::new("").child("file", node, role);
        let driver = Arc::new(Meddler { refuses });
        builder.open(bql, driver).expect("opened")
    }
}

impl DriverIo for Meddler {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        request.file().expect("a child").read(offset, into)
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let file = request.file().expect("a child");
        file.write_with(offset, from, flags)
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Meddler {
    fn format_name(&self) -> &'static str {
        "meddler"
    }

    fn is_filter(&self) -> bool {
        true
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        _to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        if self.refuses {
            return Err(GraphError::NoMedium("meddler".into()));
        }
        let buffer = Buffer::from(&[7; 65536][..]);
        section.io(async |request: Request<'_>| {
            request.file()?.write(1 << 20, buffer.source()).await
        })?;
        Ok(Box::new(()))
    }
}
