//! Changing what the header says: where a table is, or how long the image is.
//!
//! One write decides which of two tables an image has. While it is under way,
//! when it failed and when it was dropped in the middle, nobody knows which of
//! them is stored. Then the header in memory says what it said before, what
//! either of them refers to stays counted, and the next commit stores the
//! header before anything else.

use std::ops::Range;

use block_io::{Buffer, IoError, Request};

use crate::format::header::{FEATURES, FIELDS, Header, Incompatible};
use crate::image::{Claimed, Image};

/// How much of the header is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// Sizes and places, which are in one sector. There is always room for
    /// them, whatever else is in the header.
    Fields,
    /// Features, which are in the same sector. Only of version 3.
    Features,
    /// All of it.
    Whole,
}

/// It is not known which header is stored.
#[derive(Debug)]
pub(crate) struct Unsure {
    extent: Extent,
    /// What the header may refer to that is not the one in memory.
    held: Vec<Range<u64>>,
}

impl Unsure {
    /// The stored header may refer to these clusters.
    pub fn hold(&mut self, clusters: Range<u64>) {
        self.held.push(clusters);
    }
}

/// The header in memory has changed, and is not known to be stored. Dropped,
/// it says again what it said before.
struct Switch<'i> {
    image: &'i Image,
    extent: Extent,
    before: Header,
    claimed: Vec<Claimed<'i>>,
    /// Whether something may have reached the file.
    is_sent: bool,
    is_done: bool,
}

impl Image {
    /// Changes the header, and makes that durable. What is `claimed` belongs
    /// to the image then. Only with the turn to commit.
    ///
    /// # Errors
    /// The header in memory is what it was. What is claimed is given back when
    /// nothing stored can refer to it.
    pub async fn switch_header(
        &self,
        request: Request<'_>,
        extent: Extent,
        claimed: Vec<Claimed<'_>>,
        change: impl FnOnce(&mut Header),
    ) -> Result<(), IoError> {
        self.settle_header(request).await?;
        let mut switch = {
            let header = &mut self.lock().header;
            let before = header.clone();
            change(header);
            Switch {
                image: self,
                extent,
                before,
                claimed,
                is_sent: false,
                is_done: false,
            }
        };
        if extent == Extent::Whole {
            // There may be no room for it.
            self.lock().header.write()?;
        }
        switch.is_sent = true;
        self.store_header(request, extent).await?;
        switch.is_done = true;
        for claimed in switch.claimed.drain(..) {
            claimed.keep();
        }
        Ok(())
    }

    /// Stores the header as it is in memory, if another one may be stored.
    /// Only with the turn to commit.
    pub async fn settle_header(&self, request: Request<'_>) -> Result<(), IoError> {
        let extent = match &self.lock().unsure {
            None => return Ok(()),
            Some(unsure) => unsure.extent,
        };
        self.store_header(request, extent).await?;
        let state = &mut *self.lock();
        if let Some(unsure) = state.unsure.take() {
            state.unused.extend(unsure.held);
        }
        Ok(())
    }

    async fn store_header(&self, request: Request<'_>, extent: Extent) -> Result<(), IoError> {
        let file = request.file()?;
        match extent {
            Extent::Whole => self.write_header(request).await?,
            Extent::Fields => {
                let _turn = self.headers.enter(0..1, true).await;
                let fields = self.lock().header.fields();
                file.write(FIELDS, Buffer::from(&fields[..]).source())
                    .await?;
            }
            Extent::Features => {
                let _turn = self.headers.enter(0..1, true).await;
                let features = self.lock().header.features();
                file.write(FEATURES, Buffer::from(&features[..]).source())
                    .await?;
            }
        }
        file.flush().await
    }
}

impl Drop for Switch<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let state = &mut *self.image.lock();
        // Others mark the image as corrupt at any time.
        let marks = state.header.incompatible & Incompatible::CORRUPT;
        std::mem::swap(&mut state.header, &mut self.before);
        state.header.incompatible |= marks;
        if !self.is_sent {
            // `claimed` goes back behind the lock.
            return;
        }
        let unsure = state.unsure.get_or_insert(Unsure {
            extent: self.extent,
            held: Vec::new(),
        });
        if self.extent != unsure.extent {
            unsure.extent = Extent::Whole;
        }
        for claimed in self.claimed.drain(..) {
            unsure.held.push(claimed.clusters());
            claimed.keep();
        }
    }
}
