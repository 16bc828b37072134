//! What is done about requests that fail.

use std::fmt;

use crate::error::errno;

/// What is to be done about a request that fails (`BlockdevOnError`).
///
/// `auto` is resolved by whoever reads options: for a job it means
/// [`Enospc`](OnError::Enospc); for a device that for writes, and
/// [`Report`](OnError::Report) for reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum OnError {
    /// Whoever asked hears of it.
    #[default]
    Report,
    /// As if it had not failed.
    Ignore,
    /// Wait if there is no space left, report anything else.
    Enospc,
    /// Wait for the user, who resumes what then tries again.
    Stop,
}

/// What is done (`BlockErrorAction`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorAction {
    /// Nothing: go on.
    Ignore,
    /// The request ends with its error.
    Report,
    /// The request waits until the user resumes, and is tried again.
    Stop,
}

/// What a request was to do (`IoOperationType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Read.
    Read,
    /// Write, and whatever else changes something.
    Write,
}

/// Whether a request has failed since the user last resumed
/// (`BlockDeviceIoStatus`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
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
    /// number (`blk_get_error_action`).
    pub const fn action(self, errno: i32) -> ErrorAction {
        match self {
            OnError::Report => ErrorAction::Report,
            OnError::Ignore => ErrorAction::Ignore,
            OnError::Enospc if errno == errno::ENOSPC => ErrorAction::Stop,
            OnError::Enospc => ErrorAction::Report,
            OnError::Stop => ErrorAction::Stop,
        }
    }

    /// The policy kept as this number: what `self as u8` gave.
    pub const fn from_u8(number: u8) -> Self {
        match number {
            1 => OnError::Ignore,
            2 => OnError::Enospc,
            3 => OnError::Stop,
            _ => OnError::Report,
        }
    }
}

impl IoStatus {
    /// What a failure with `errno` makes of [`IoStatus::Ok`].
    pub const fn of(errno: i32) -> Self {
        match errno {
            errno::ENOSPC => IoStatus::NoSpace,
            _ => IoStatus::Failed,
        }
    }

    /// What a further failure makes of it: the first one stays.
    pub const fn after(self, errno: i32) -> Self {
        match self {
            IoStatus::Ok => IoStatus::of(errno),
            known => known,
        }
    }

    /// The status kept as this number: what `self as u8` gave.
    pub const fn from_u8(number: u8) -> Self {
        match number {
            1 => IoStatus::Failed,
            2 => IoStatus::NoSpace,
            _ => IoStatus::Ok,
        }
    }
}

impl fmt::Display for OnError {
    /// The name as options have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnError::Report => "report",
            OnError::Ignore => "ignore",
            OnError::Enospc => "enospc",
            OnError::Stop => "stop",
        })
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
    fn a_policy_looks_at_the_errno_only_for_want_of_space() {
        use ErrorAction as A;
        let table = [
            (OnError::Report, A::Report, A::Report),
            (OnError::Ignore, A::Ignore, A::Ignore),
            (OnError::Enospc, A::Report, A::Stop),
            (OnError::Stop, A::Stop, A::Stop),
        ];
        for (policy, for_eio, for_enospc) in table {
            assert_eq!(policy.action(errno::EIO), for_eio, "{policy}");
            assert_eq!(policy.action(errno::ENOSPC), for_enospc, "{policy}");
            assert_eq!(OnError::from_u8(policy as u8), policy);
        }
    }

    #[test]
    fn the_first_failure_stays() {
        let first = IoStatus::Ok.after(errno::ENOSPC);
        assert_eq!(first, IoStatus::NoSpace);
        assert_eq!(first.after(errno::EIO), IoStatus::NoSpace);
        assert_eq!(IoStatus::Ok.after(errno::EIO), IoStatus::Failed);
        for status in [IoStatus::Ok, IoStatus::Failed, IoStatus::NoSpace] {
            assert_eq!(IoStatus::from_u8(status as u8), status);
        }
    }
}
