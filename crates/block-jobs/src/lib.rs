//! Long operations beside the guest's requests.
//!
//! A job copies, merges or changes images while a machine uses them. Its code
//! runs in the loop of its nodes, beside their requests; everything else about
//! it happens in the main loop, which makes it, pauses it, and changes the
//! graph when it has ended.
//!
//! # Two halves
//!
//! Whoever writes a type of job writes both: [`JobDriver`], whose methods have
//! a `BqlGuard`, and [`JobRun`], the code, which has a [`JobContext`] and no
//! guard. [`JobDriver::start`] makes the code. Thus nothing runs before what
//! it needs was prepared, and what needs the main loop is not done by the code:
//! neither compiles.
//!
//! # An example
//!
//! A job that writes zeroes over a node, in steps.
//!
//! ```
//! use std::sync::Arc;
//!
//! use block_common::WriteFlags;
//! use block_drivers::NullCo;
//! use block_gs::{BlockLayer, BqlGuard, Perm};
//! use block_jobs::{
//!     Failure, Job, JobBackend, JobBuilder, JobContext, JobDriver, JobRun, JobType,
//! };
//!
//! struct Wipe;
//!
//! struct WipeRun {
//!     target: Arc<JobBackend>,
//! }
//!
//! impl JobDriver for Wipe {
//!     type Run = WipeRun;
//!
//!     fn kind(&self) -> JobType {
//!         JobType::Create
//!     }
//!
//!     // In the main loop: takes the permission that the code will need.
//!     fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<WipeRun, Failure> {
//!         let node = job.nodes(bql).remove(0);
//!         let target = JobBackend::new(bql, job, &node, Perm::WRITE, Perm::all())?;
//!         Ok(WipeRun { target })
//!     }
//! }
//!
//! impl JobRun for WipeRun {
//!     // In the context of the node.
//!     async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
//!         const STEP: u64 = 64 << 10;
//!         let length = job.length(&self.target).await?;
//!         job.progress_set_remaining(length);
//!         for offset in (0..length).step_by(STEP as usize) {
//!             // As fast as the user allows; drained sections pause it here.
//!             job.throttle().await;
//!             job.check_cancelled()?;
//!             let bytes = STEP.min(length - offset);
//!             let flags = WriteFlags::empty();
//!             job.write_zeroes(&self.target, offset, bytes, flags).await?;
//!             job.progress_done(bytes);
//!             job.processed(bytes);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let layer = BlockLayer::new()?;
//! layer.enter(|bql| {
//!     let disk = NullCo::new(1 << 20).open(bql, "disk")?;
//!     let created = JobBuilder::new()
//!         .id("wipe0")
//!         .manual_dismiss()
//!         .create_block_job(bql, &disk, Perm::empty(), Perm::all(), Wipe)?;
//!     let job = created.start(bql)?;
//!     job.wait(bql)?;
//!     assert_eq!(job.progress().current, 1 << 20);
//!     job.dismiss(bql)?;
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where things are
//!
//! * [`JobBuilder`] makes a job and [`CreatedJob::start`] starts it.
//! * [`Job`] is the handle: what it tells, what users ask of it, waiting for
//!   its end. [`jobs`], [`find`] and [`find_block_job`] look for them,
//!   [`cancel_all`] ends them.
//! * [`JobStatus`], [`JobVerb`]: the states, and what is allowed in each.
//! * [`JobTransaction`]: jobs that end together.
//! * [`listen`] and its [events](JobEvent).
//! * [`OnError`]: what a job does about requests that fail.
//!
//! # Pauses
//!
//! A job rests while there is a reason to: its user, each of its edges that
//! leads to a quiesced node, and that it was not started. A drained section
//! waits until its code has come to a pause point.
//! [`JobContext`] says which these are.

#![forbid(unsafe_code)]

mod builder;
mod completion;
mod context;
mod driver;
mod engine;
mod error;
mod event;
mod info;
mod job;
mod nodes;
mod rate_limit;
mod registry;
mod shared;
mod state;
mod transaction;

pub use block_common::{ErrorAction, IoStatus, OnError, Operation};
pub use builder::{CreatedJob, JobBuilder};
pub use context::JobContext;
pub use driver::{HookFuture, JobDriver, JobRun, PauseHooks};
pub use error::{Failure, JobError};
pub use event::{BlockJobEvent, JobEvent, Listener, listen};
pub use info::{BlockJobInfo, CopyMode, JobChange, JobInfo, JobType, Progress};
pub use job::{Job, PauseHold};
pub use nodes::JobBackend;
pub use registry::{block_jobs, cancel_all, find, find_block_job, jobs};
pub use state::{JobStatus, JobVerb};
pub use transaction::JobTransaction;
