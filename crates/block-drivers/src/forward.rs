//! Passing a request on to the child.

use block_io::{Capabilities, IoFuture, Request, WriteFlags};

/// The flags of a write that mean the same at the child.
const FLAGS: WriteFlags = WriteFlags::FUA
    .union(WriteFlags::MAY_UNMAP)
    .union(WriteFlags::NO_FALLBACK)
    .union(WriteFlags::COMPRESSED)
    .union(WriteFlags::UNCHANGED);

/// What a driver can do that hands everything to its child: all that the
/// child can, which refuses or emulates the rest by itself.
pub(crate) const AS_THE_CHILD: Capabilities = Capabilities {
    passes_through: false,
    filter: true,
    write_flags: FLAGS,
    zero_flags: Some(FLAGS),
    discards: true,
    flushes_to_disk: false,
    variable_length: true,
    serialises_below: false,
    truncates_to_zeroes: false,
    hears_events: false,
};

/// Does `f` at the child called `file`. The child's future is returned as it
/// is, so a layer that only forwards costs no allocation.
pub(crate) fn at_file<'r, T>(
    request: Request<'r>,
    f: impl FnOnce(Request<'r>) -> IoFuture<'r, T>,
) -> IoFuture<'r, T> {
    match request.file() {
        Ok(file) => f(file),
        Err(error) => IoFuture::failed(error),
    }
}

/// The length of the child called `file`, made into that of the node.
pub(crate) fn file_length<'r>(
    request: Request<'r>,
    shown: impl FnOnce(u64) -> u64 + Send + 'r,
) -> IoFuture<'r, u64> {
    match at_file(request, Request::length).into_ready() {
        Ok(length) => IoFuture::ready(length.map(shown)),
        Err(running) => IoFuture::new(async move { Ok(shown(running.await?)) }),
    }
}

/// Implements the functions of `DriverIo` that a filter hands on unchanged.
macro_rules! forward {
    (the_rest) => {
        fn truncate<'r>(
            &'r self,
            request: block_io::Request<'r>,
            to: block_io::Truncation,
        ) -> block_io::IoFuture<'r> {
            $crate::forward::at_file(request, |file| {
                file.truncate(to.length, to.exact, to.preallocation)
            })
        }

        $crate::forward::forward!(status_copies_and_length);
    };
    (status_copies_and_length) => {
        fn block_status<'r>(
            &'r self,
            request: block_io::Request<'r>,
            offset: u64,
            bytes: u64,
            precise: bool,
        ) -> block_io::IoFuture<'r, block_io::BlockStatus<'r>> {
            $crate::forward::at_file(request, |file| file.block_status(offset, bytes, precise))
        }

        fn copy_range_from<'r>(
            &'r self,
            request: block_io::Request<'r>,
            offset: u64,
            to: block_io::CopyEnd<'r>,
            bytes: u64,
            flags: block_io::WriteFlags,
        ) -> block_io::IoFuture<'r> {
            $crate::forward::at_file(request, |file| file.copy_range(offset, to, bytes, flags))
        }

        fn copy_range_to<'r>(
            &'r self,
            request: block_io::Request<'r>,
            offset: u64,
            from: block_io::CopyEnd<'r>,
            bytes: u64,
            flags: block_io::WriteFlags,
        ) -> block_io::IoFuture<'r> {
            $crate::forward::at_file(request, |file| {
                file.copy_range_to(offset, from, bytes, flags)
            })
        }

        fn length<'r>(&'r self, request: block_io::Request<'r>) -> block_io::IoFuture<'r, u64> {
            $crate::forward::file_length(request, |length| length)
        }
    };
}

pub(crate) use forward;
