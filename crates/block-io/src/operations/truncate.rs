//! Changing the length.

use block_common::error::errno;
use block_common::{IoError, Perm, Preallocation, limits};

use crate::after::After;
use crate::engine::Entered;
use crate::node::NodeFlags;
use crate::{IoFuture, Request, Truncation};

impl<'r> Request<'r> {
    /// Makes the node `length` bytes long (`bdrv_co_truncate`). What is new
    /// reads as zeroes. Unless it must be `exact`, a device that is longer is
    /// fine.
    ///
    /// # Errors
    /// `EACCES` for a read-only node, [`IoError::Permission`] without
    /// [`Perm::RESIZE`], [`IoError::OutOfRange`], `ENOTSUP` when the driver
    /// cannot, otherwise the driver's; the length is then what it was.
    pub fn truncate(self, length: u64, exact: bool, preallocation: Preallocation) -> IoFuture<'r> {
        if let Err(error) = limits::check_request(length, 0) {
            return IoFuture::failed(error);
        }
        IoFuture::new(async move { self.set_length_to(length, exact, preallocation).await })
    }

    async fn set_length_to(
        self,
        length: u64,
        exact: bool,
        preallocation: Preallocation,
    ) -> Result<(), IoError> {
        let node = self.node();
        self.old_length().await?;
        if node.flags().contains(NodeFlags::READ_ONLY) {
            return Err(IoError::refused(errno::EACCES, "Image is read-only"));
        }
        if node.flags().contains(NodeFlags::INACTIVE) {
            return Err(IoError::Inactive);
        }
        if !self.perm().contains(Perm::RESIZE) {
            return Err(IoError::Permission(Perm::RESIZE));
        }
        let (_entered, old) = self.enter_ends(length).await?;
        let zeroes = length > old && self.shows_backing_beyond(old).await?;
        if zeroes && !node.capabilities().truncates_to_zeroes {
            return Err(IoError::refused(
                errno::ENOTSUP,
                "Block driver does not support requested flags",
            ));
        }
        let to = Truncation {
            length,
            exact,
            preallocation,
            zeroes,
        };
        let after = After::write(node, length..length, false, None);
        let _cut = (length < old).then(|| After::void_only(node, length..u64::MAX));
        if length < old {
            // Also if this is dropped half way, nobody relies on what goes.
            node.expect_cut(length);
        }
        let resizing = node.begin_resize();
        let outcome = node.driver().truncate(self, to).await;
        drop(after);
        if let Err(error) = outcome {
            // The first error says more than one about the length.
            let now = self.refresh_length().await;
            if let Some(resizing) = resizing
                && now.is_ok_and(|now| now == old)
            {
                resizing.not_changed();
            }
            return Err(error);
        }
        if length > old {
            // What is new is known to be zeroes.
            node.grow_to(length);
        } else {
            node.cut_bitmaps();
        }
        let refreshed = self.refresh_length().await;
        in_words("Could not refresh total sector count", refreshed)?;
        Ok(())
    }

    async fn old_length(self) -> Result<u64, IoError> {
        in_words("Failed to get old image size", self.length().await)
    }

    /// Keeps everybody else from the bytes beyond the lesser of both ends, and
    /// says how long the node is now. What is new must not be written while it
    /// comes into being; a write that makes the node grow must not come
    /// between the driver and the look at the new length; and what is left of
    /// a cancelled write must not make the node longer afterwards.
    async fn enter_ends(self, length: u64) -> Result<(Entered<'r>, u64), IoError> {
        loop {
            let from = self.old_length().await?.min(length);
            let entered = self.node().overlaps().enter(from..u64::MAX, true).await;
            let old = self.old_length().await?;
            if old.min(length) >= from {
                return Ok((entered, old));
            }
            // Whoever we waited for has made it shorter.
            drop(entered);
        }
    }

    /// Whether a backing image would show through where the node grows.
    async fn shows_backing_beyond(self, old: u64) -> Result<bool, IoError> {
        let Ok(backing) = self.backing() else {
            return Ok(false);
        };
        let length = in_words("Could not get backing file size", backing.length().await)?;
        Ok(length > old)
    }
}

/// Says what was being done when it failed.
fn in_words<T>(what: &'static str, outcome: Result<T, IoError>) -> Result<T, IoError> {
    outcome.map_err(|error| IoError::refused(error.errno(), format!("{what}: {error}")))
}
