//! `quiesce bench`: many requests to one image, and how long they take
//! (`qemu-img bench`).

mod image;
mod options;
mod plan;
mod progress;
mod run;

use std::process::ExitCode;
use std::time::Duration;

use block_gs::{BlockLayer, GraphError, IoError};
use block_open::OpenError;

pub use options::{ABOUT, EXAMPLES, Options};

use plan::{Plan, Setup};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// The command line contradicts itself or the tool. The whole message.
    #[error("{0}")]
    Usage(String),
    #[error("Could not open '{name}': {error}")]
    Open { name: String, error: OpenError },
    #[error(transparent)]
    Layer(#[from] GraphError),
    #[error("Failed request: {}", strerror(.0))]
    Request(IoError),
}

/// What a C caller would print.
fn strerror(error: &IoError) -> String {
    IoError::from(std::io::Error::from_raw_os_error(error.errno())).to_string()
}

impl BenchError {
    /// What else there is to say.
    fn hint(&self) -> Option<String> {
        match self {
            BenchError::Open { error, .. } => error.hint(),
            BenchError::Request(error) => {
                let words = error.to_string();
                (words != strerror(error)).then_some(words)
            }
            _ => None,
        }
    }
}

/// Runs the subcommand.
pub fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quiesce bench: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("{hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), BenchError> {
    let setup = Setup::check(options)?;
    let layer = BlockLayer::new()?;
    let elapsed = layer.enter(|bql| {
        let disk = image::open(bql, &setup)?;
        if !options.quiet {
            announce(&setup.plan);
        }
        run::run(bql, &disk, &setup.plan, !options.quiet)
    })?;
    report(options, &setup.plan, elapsed);
    Ok(())
}

fn announce(plan: &Plan) {
    println!(
        "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size \
         {})",
        plan.count,
        plan.direction(),
        plan.size,
        plan.depth,
        plan.start,
        plan.step
    );
    if let Some(interval) = plan.flush_interval {
        println!("Sending flush every {interval} requests");
    }
}

fn report(options: &Options, plan: &Plan, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    if !options.quiet {
        println!("Run completed in {seconds:.3} seconds.");
    }
    if options.json {
        let count = plan.count as f64;
        let report = serde_json::json!({
            "requests": plan.count,
            "direction": plan.direction(),
            "bytes": plan.count * plan.size as u64,
            "depth": plan.depth,
            "seconds": seconds,
            "ns_per_request": elapsed.as_nanos() as f64 / count,
            "requests_per_second": if seconds > 0.0 { count / seconds } else { 0.0 },
        });
        println!("{report}");
    }
}
