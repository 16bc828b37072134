//! Passing a request on to the child.

use block_io::{IoError, IoFuture, Request};

/// Does `f` at the child called `file`. The child's future is returned as it
/// is, so a layer that only forwards costs no allocation.
pub(crate) fn at_file<'r, T>(
    request: Request<'r>,
    f: impl FnOnce(Request<'r>) -> IoFuture<'r, Result<T, IoError>>,
) -> IoFuture<'r, Result<T, IoError>> {
    match request.file() {
        Ok(file) => f(file),
        Err(error) => IoFuture::ready(Err(error)),
    }
}

/// The length of the child called `file`, as last noted.
pub(crate) fn file_length(request: Request<'_>) -> Result<u64, IoError> {
    Ok(request.file()?.node().length())
}
