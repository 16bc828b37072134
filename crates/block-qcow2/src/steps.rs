//! What a node for debugging below hears of.

use block_io::Request;

/// Says which step comes next (`BLKDBG_EVENT`), to the node that has the file.
/// It may hold the step here, or fail the request that follows.
#[inline]
pub(crate) async fn step(request: Request<'_>, event: &'static str) {
    if is_heard(request) {
        tell(request, event).await;
    }
}

/// Whether somebody hears of the steps. What is done at once says nothing, so
/// then everything takes the long way.
#[inline]
pub(crate) fn is_heard(request: Request<'_>) -> bool {
    request.file().is_ok_and(Request::hears_events)
}

#[cold]
async fn tell(request: Request<'_>, event: &'static str) {
    if let Ok(file) = request.file() {
        // What fails is what follows.
        let _ = file.debug_event(event).await;
    }
}
