//! What is done about requests of a device that fail.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use block_common::{ErrorAction, IoError, IoStatus, OnError, Operation};

use crate::events::BlockIoError;
use crate::{BackendEvent, Root};

/// What the user asked for, and what has happened. Atomic, because a device
/// meets errors in its iothread: each field is a value of its own, and none
/// says anything about other memory, so nothing is ordered.
pub(super) struct Policies {
    on_read: AtomicU8,
    on_write: AtomicU8,
    status_kept: AtomicBool,
    status: AtomicU8,
}

impl Default for Policies {
    fn default() -> Self {
        Policies {
            on_read: AtomicU8::new(OnError::Report as u8),
            on_write: AtomicU8::new(OnError::Enospc as u8),
            status_kept: AtomicBool::new(false),
            status: AtomicU8::new(IoStatus::Ok as u8),
        }
    }
}

impl Root {
    fn policies(&self) -> &Policies {
        &self.front().policies
    }

    /// Says what is done about reads and writes that fail
    /// (`blk_set_on_error`). Any thread.
    pub fn set_on_error(&self, read: OnError, write: OnError) {
        let policies = self.policies();
        policies.on_read.store(read as u8, Ordering::Relaxed);
        policies.on_write.store(write as u8, Ordering::Relaxed);
    }

    /// What is done about requests of this kind that fail
    /// (`blk_get_on_error`): at first reads are reported, and writes wait for
    /// space. Any thread.
    pub fn on_error(&self, operation: Operation) -> OnError {
        let policies = self.policies();
        OnError::from_u8(match operation {
            Operation::Read => policies.on_read.load(Ordering::Relaxed),
            Operation::Write => policies.on_write.load(Ordering::Relaxed),
        })
    }

    /// What is done about a request that failed with `errno`, a positive
    /// number (`blk_get_error_action`). Any thread.
    pub fn action_for(&self, operation: Operation, errno: i32) -> ErrorAction {
        self.on_error(operation).action(errno)
    }

    /// Keeps the status from now on, beginning with [`IoStatus::Ok`]
    /// (`blk_iostatus_enable`): for devices that can stop the machine. Any
    /// thread.
    pub fn enable_io_status(&self) {
        let policies = self.policies();
        policies.status.store(IoStatus::Ok as u8, Ordering::Relaxed);
        policies.status_kept.store(true, Ordering::Relaxed);
    }

    /// Keeps no status any more. Any thread.
    pub fn disable_io_status(&self) {
        self.policies().status_kept.store(false, Ordering::Relaxed);
    }

    /// Whether the status is kept and means something: some error stops the
    /// machine (`blk_iostatus_is_enabled`). Any thread.
    pub fn keeps_io_status(&self) -> bool {
        let stops = matches!(
            self.on_error(Operation::Write),
            OnError::Enospc | OnError::Stop
        ) || self.on_error(Operation::Read) == OnError::Stop;
        stops && self.policies().status_kept.load(Ordering::Relaxed)
    }

    /// Whether a request has failed since the user last resumed
    /// (`blk_iostatus`). Any thread.
    pub fn io_status(&self) -> IoStatus {
        IoStatus::from_u8(self.policies().status.load(Ordering::Relaxed))
    }

    /// The user resumes (`blk_iostatus_reset`). Any thread.
    pub fn reset_io_status(&self) {
        if self.keeps_io_status() {
            let status = &self.policies().status;
            status.store(IoStatus::Ok as u8, Ordering::Relaxed);
        }
    }

    /// Notes a failure (`blk_iostatus_set_err`). Of several the first stays,
    /// whichever threads meet them. Nothing where no status is kept.
    pub fn note_failure(&self, errno: i32) {
        if !self.keeps_io_status() {
            return;
        }
        let failed = IoStatus::of(errno) as u8;
        // Somebody else's failure came first: it stays.
        let _ = self.policies().status.compare_exchange(
            IoStatus::Ok as u8,
            failed,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Does what `action` says about a failed request, short of ending or
    /// keeping the request itself (`blk_error_action`): notes the failure,
    /// tells listeners, and stops the machine. Any thread, without a proof:
    /// a completion has none.
    ///
    /// The order is QEMU's: the stop is prepared before listeners hear of it,
    /// so that a resume which answers the event comes after.
    pub fn error_action(&self, action: ErrorAction, operation: Operation, error: &IoError) {
        let errno = error.errno();
        let machine = match action {
            ErrorAction::Stop => self.front().events.machine(),
            _ => None,
        };
        if action == ErrorAction::Stop {
            self.note_failure(errno);
        }
        if let Some(machine) = &machine {
            machine.prepare_stop();
        }
        let no_space = errno == block_common::error::errno::ENOSPC;
        let event = BlockIoError {
            qom_path: self.device_path(),
            device: self.name().to_owned(),
            node_name: self.node_name(),
            operation,
            action,
            nospace: self.keeps_io_status().then_some(no_space),
            reason: error.to_string(),
        };
        self.front().events.tell(&BackendEvent::IoError(event));
        if let Some(machine) = machine {
            machine.stop();
        }
    }
}
