//! `overlay`: an image without contents of its own, for tests of what images
//! with a backing image are told.

use std::sync::Arc;

use block_common::{GraphError, Role};
use block_gs::{
    BlockDriver, BqlGuard, Drained, HeaderBacking, NodeBuilder, PreparedReopen, ReopenTo,
};
use block_io::{Destination, DriverIo, IoFuture, Request, WriteFlags};

use super::{Child, Driver, Key, Reopen};

const HEADER: Key = Key::text("header", "what the header says about the backing image");

pub(super) static OVERLAY: Driver = Driver {
    name: "overlay",
    about: "an image without contents of its own",
    options: &[HEADER],
    children: &[Child {
        name: "backing",
        role: Role::COW,
        required: false,
        about: "what is read",
    }],
    protocol: None,
    is_format: true,
    probe: None,
    create: None,
    compresses: false,
    open: |opening| {
        let header = opening.text(&HEADER)?;
        let mut builder =
            NodeBuilder::new(&opening.general().node_name).options(opening.general().node);
        if let Ok(backing) = opening.child("backing") {
            builder = builder.child("backing", &backing, Role::COW);
        }
        opening.make(|bql, _| builder.open(bql, Arc::new(Overlay { header })))
    },
    reopen: Reopen::NOTHING,
};

struct Overlay {
    header: Option<String>,
}

impl DriverIo for Overlay {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        match request.backing() {
            Ok(backing) => backing.read(offset, into),
            Err(_) => {
                into.fill(0);
                IoFuture::done()
            }
        }
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: block_io::Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(4096))
    }
}

impl BlockDriver for Overlay {
    fn format_name(&self) -> &'static str {
        "overlay"
    }

    fn supports_backing(&self) -> bool {
        true
    }

    fn header_backing(&self, _bql: &BqlGuard) -> Option<HeaderBacking> {
        let file = self.header.clone()?;
        Some(HeaderBacking { file, format: None })
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        _section: &mut Drained<'_>,
        _to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        Ok(Box::new(()))
    }
}
