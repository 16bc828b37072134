//! Drained sections: the scenarios of `test-bdrv-drain.c`.

mod attach;
mod blockjob;
mod detach;
mod driver_cb;
mod graph_change;
mod iothread;
mod job_ends;
mod quiesce;
