//! Requests and moves across threads: the scenarios of
//! `test-block-iothread.c`.

mod moves;
mod propagate;
mod sync_op;
