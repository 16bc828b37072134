//! Flushes.

use block_io::{IoFuture, Request};

use crate::commit::Goal;
use crate::image::{Image, Standing};
use crate::steps::{is_heard, step};

impl Image {
    /// Makes durable what was written.
    pub fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        let is_heard = is_heard(request);
        // What a repair could not store is not what the guest wrote.
        let stores = !self.standing.is(Standing::HALTED) && (is_heard || self.is_dirty());
        if !stores {
            return match self.geometry.keeps_data {
                true => match request.file() {
                    Ok(file) => file.flush(),
                    Err(error) => IoFuture::failed(error),
                },
                false => IoFuture::new(async move { self.flush_data(request).await }),
            };
        }
        IoFuture::new(async move {
            if is_heard {
                step(request, "flush_to_os").await;
                self.commit(request, Goal::Written).await?;
                step(request, "flush_to_disk").await;
            }
            self.commit(request, Goal::Durable).await
        })
    }

    /// Whether something is not stored yet that a flush has to store.
    pub fn is_dirty(&self) -> bool {
        let state = self.lock();
        !state.l1_dirty.is_empty()
            || !state.freed.is_empty()
            || !state.released.is_empty()
            || !state.unused.is_empty()
            || state.unsure.is_some()
            || !state.places.are_stored()
            || (!state.counts_are_lazy() && state.refs.is_dirty())
    }
}
