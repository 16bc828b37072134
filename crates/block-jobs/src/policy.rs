//! What a job does about requests that fail.

use std::fmt;

use block_common::error::errno;

/// What is to be done about a request that fails (`BlockdevOnError`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// The job fails.
    #[default]
    Report,
    /// The job goes on as if it had not failed.
    Ignore,
    /// The job pauses if there is no space left, and fails otherwise. `auto`
    /// means this too.
    Enospc,
    /// The job pauses.
    Stop,
}

/// What is done (`BlockErrorAction`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorAction {
    /// The job goes on.
    Ignore,
    /// The job fails.
    Report,
    /// The job pauses until the user resumes it, and then tries again.
    Stop,
}

/// What a request was to do (`IoOperationType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Read.
    Read,
    /// Write.
    Write,
}

/// Whether a request has failed since the user last looked
/// (`BlockDeviceIoStatus`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoStatus {
    /// None has.
    #[default]
    Ok,
    /// One has.
    Failed,
    /// One has, for want of space.
    NoSpace,
}

impl OnError {
    /// What is done about a request that failed with `errno`, a positive
    /// number.
    pub fn action(self, errno: i32) -> ErrorAction {
        match self {
            OnError::Report => ErrorAction::Report,
            OnError::Ignore => ErrorAction::Ignore,
            OnError::Enospc if errno == errno::ENOSPC => ErrorAction::Stop,
            OnError::Enospc => ErrorAction::Report,
            OnError::Stop => ErrorAction::Stop,
        }
    }
}

impl IoStatus {
    /// What the first failure makes of it; later ones change nothing.
    pub(crate) fn after(self, errno: i32) -> IoStatus {
        match self {
            IoStatus::Ok if errno == errno::ENOSPC => IoStatus::NoSpace,
            IoStatus::Ok => IoStatus::Failed,
            known => known,
        }
    }
}

impl fmt::Display for ErrorAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorAction::Ignore => "ignore",
            ErrorAction::Report => "report",
            ErrorAction::Stop => "stop",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Read => "read",
            Operation::Write => "write",
        })
    }
}

impl fmt::Display for IoStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoStatus::Ok => "ok",
            IoStatus::Failed => "failed",
            IoStatus::NoSpace => "nospace",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_qemus() {
        use ErrorAction as A;
        let table = [
            (OnError::Report, A::Report, A::Report),
            (OnError::Ignore, A::Ignore, A::Ignore),
            (OnError::Enospc, A::Report, A::Stop),
            (OnError::Stop, A::Stop, A::Stop),
        ];
        for (policy, other, no_space) in table {
            assert_eq!(policy.action(errno::EIO), other);
            assert_eq!(policy.action(errno::ENOSPC), no_space);
        }
    }

    #[test]
    fn the_first_failure_stays() {
        let status = IoStatus::Ok.after(errno::ENOSPC);
        assert_eq!(status, IoStatus::NoSpace);
        assert_eq!(status.after(errno::EIO), IoStatus::NoSpace);
        assert_eq!(IoStatus::Ok.after(errno::EIO), IoStatus::Failed);
    }
}
