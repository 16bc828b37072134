//! The states of a job, and what users may ask for in each.

use std::fmt;

/// Where a job is in its life (`JobStatus`).
///
/// The names that [`Display`](fmt::Display) prints are those of QMP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobStatus {
    /// Not yet a job.
    Undefined,
    /// It exists, and has not been started.
    Created,
    /// Its code runs.
    Running,
    /// Its code rests until whoever paused it lets it go on.
    Paused,
    /// It has done what it had to, and goes on until it is told to complete.
    Ready,
    /// Paused while [`Ready`](JobStatus::Ready).
    Standby,
    /// Its code has ended well; it waits for the others of its transaction.
    Waiting,
    /// It waits to be finalized.
    Pending,
    /// It has failed or was cancelled, and is being undone.
    Aborting,
    /// Over; it waits to be dismissed.
    Concluded,
    /// Gone.
    Null,
}

/// What a user can ask of a job (`JobVerb`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobVerb {
    /// End early.
    Cancel,
    /// Rest.
    Pause,
    /// Go on.
    Resume,
    /// Go at another speed.
    SetSpeed,
    /// End, with what there is.
    Complete,
    /// Make the outcome lasting.
    Finalize,
    /// Be forgotten.
    Dismiss,
    /// Go on otherwise.
    Change,
}

impl JobStatus {
    /// All of them, in the order of a life.
    pub const ALL: [JobStatus; 11] = [
        JobStatus::Undefined,
        JobStatus::Created,
        JobStatus::Running,
        JobStatus::Paused,
        JobStatus::Ready,
        JobStatus::Standby,
        JobStatus::Waiting,
        JobStatus::Pending,
        JobStatus::Aborting,
        JobStatus::Concluded,
        JobStatus::Null,
    ];

    /// Whether a job goes from this state to `next` (`JobSTT`).
    pub fn may_become(self, next: JobStatus) -> bool {
        use JobStatus as S;
        match self {
            S::Undefined => next == S::Created,
            S::Created => matches!(next, S::Running | S::Aborting | S::Null),
            S::Running => matches!(next, S::Paused | S::Ready | S::Waiting | S::Aborting),
            S::Paused => next == S::Running,
            S::Ready => matches!(next, S::Standby | S::Waiting | S::Aborting),
            S::Standby => next == S::Ready,
            S::Waiting => matches!(next, S::Pending | S::Aborting),
            S::Pending | S::Aborting => matches!(next, S::Aborting | S::Concluded),
            S::Concluded => next == S::Null,
            S::Null => false,
        }
    }

    /// Whether users may ask for `verb` in this state (`JobVerbTable`).
    pub fn allows(self, verb: JobVerb) -> bool {
        use JobStatus as S;
        let under_way = matches!(
            self,
            S::Created | S::Running | S::Paused | S::Ready | S::Standby
        );
        match verb {
            JobVerb::Cancel => under_way || matches!(self, S::Waiting | S::Pending),
            JobVerb::Pause | JobVerb::Resume | JobVerb::SetSpeed | JobVerb::Change => under_way,
            JobVerb::Complete => matches!(self, S::Ready | S::Standby),
            JobVerb::Finalize => self == S::Pending,
            JobVerb::Dismiss => self == S::Concluded,
        }
    }

    /// Whether the job's code has ended, well or not
    /// (`job_is_completed_locked`).
    pub fn is_completed(self) -> bool {
        matches!(
            self,
            JobStatus::Waiting
                | JobStatus::Pending
                | JobStatus::Aborting
                | JobStatus::Concluded
                | JobStatus::Null
        )
    }

    /// Whether the job can be told to complete (`job_is_ready_locked`).
    pub fn is_ready(self) -> bool {
        matches!(self, JobStatus::Ready | JobStatus::Standby)
    }
}

impl JobVerb {
    /// All of them.
    pub const ALL: [JobVerb; 8] = [
        JobVerb::Cancel,
        JobVerb::Pause,
        JobVerb::Resume,
        JobVerb::SetSpeed,
        JobVerb::Complete,
        JobVerb::Finalize,
        JobVerb::Dismiss,
        JobVerb::Change,
    ];
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JobStatus::Undefined => "undefined",
            JobStatus::Created => "created",
            JobStatus::Running => "running",
            JobStatus::Paused => "paused",
            JobStatus::Ready => "ready",
            JobStatus::Standby => "standby",
            JobStatus::Waiting => "waiting",
            JobStatus::Pending => "pending",
            JobStatus::Aborting => "aborting",
            JobStatus::Concluded => "concluded",
            JobStatus::Null => "null",
        })
    }
}

impl fmt::Display for JobVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JobVerb::Cancel => "cancel",
            JobVerb::Pause => "pause",
            JobVerb::Resume => "resume",
            JobVerb::SetSpeed => "set-speed",
            JobVerb::Complete => "complete",
            JobVerb::Finalize => "finalize",
            JobVerb::Dismiss => "dismiss",
            JobVerb::Change => "change",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter for each state, in the order of [`JobStatus::ALL`].
    const LETTERS: &str = "UCRPYSWDXEN";

    fn letters(which: impl Fn(JobStatus) -> bool) -> String {
        let all = JobStatus::ALL.into_iter().zip(LETTERS.chars());
        all.filter(|(status, _)| which(*status))
            .map(|(_, letter)| letter)
            .collect()
    }

    #[test]
    fn transitions_are_qemus() {
        let table = [
            "C", "RXN", "PYWX", "R", "SWX", "Y", "DX", "XE", "XE", "N", "",
        ];
        for (from, to) in JobStatus::ALL.into_iter().zip(table) {
            assert_eq!(letters(|next| from.may_become(next)), to, "from {from}");
        }
    }

    #[test]
    fn verbs_are_allowed_where_qemu_allows_them() {
        let table = [
            "CRPYSWD", "CRPYS", "CRPYS", "CRPYS", "YS", "D", "E", "CRPYS",
        ];
        for (verb, states) in JobVerb::ALL.into_iter().zip(table) {
            assert_eq!(letters(|status| status.allows(verb)), states, "{verb}");
        }
    }

    #[test]
    fn code_has_ended_from_waiting_on() {
        assert_eq!(letters(JobStatus::is_completed), "WDXEN");
        assert_eq!(letters(JobStatus::is_ready), "YS");
    }
}
