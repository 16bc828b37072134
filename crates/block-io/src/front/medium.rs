//! Media that can be taken out, as I/O code sees them.

use block_common::IoError;

use crate::Root;

impl Root {
    /// Whether there is a medium, in the backend and in the drive of the host
    /// (`blk_co_is_inserted`).
    pub async fn is_inserted(&self) -> bool {
        let in_flight = self.begin().await;
        match in_flight.request() {
            Ok(request) => request.is_inserted().await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Whether requests have a chance: there is a medium and the tray is
    /// closed (`blk_co_is_available`).
    pub async fn is_available(&self) -> bool {
        self.is_inserted().await && !self.is_tray_open()
    }

    /// The guest moved the tray (`blk_eject`): so does the drive of the host,
    /// and listeners hear of it whether there is one or not. In any thread;
    /// the id of the device in the event is shared, not asked of the device.
    ///
    /// # Errors
    /// The driver's; that there is no medium is none.
    pub async fn eject(&self, open: bool) -> Result<(), IoError> {
        let moved = {
            let in_flight = self.begin().await;
            match in_flight.request() {
                Ok(request) => request.eject(open).await,
                Err(_) => Ok(()),
            }
        };
        self.tell_tray_moved(open);
        moved
    }

    /// The guest keeps the user from opening the tray of the host, or lets
    /// him again (`blk_lock_medium`). Nothing without a medium.
    ///
    /// # Errors
    /// The driver's.
    pub async fn lock_medium(&self, locked: bool) -> Result<(), IoError> {
        let in_flight = self.begin().await;
        match in_flight.request() {
            Ok(request) => request.lock_medium(locked).await,
            Err(_) => Ok(()),
        }
    }
}
