//! Who is faster: contestants in turns, the least of the clean runs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::cli::Options;
use crate::cpu::Pinned;
use crate::error::Failure;
use crate::report::Cell;
use crate::tools::{self, QEMU_IMG};

/// A program that does something so many times and says how long it took, in
/// the words of `qemu-img bench`.
#[derive(Clone, Debug)]
pub struct Contestant {
    program: PathBuf,
    arguments: Vec<OsString>,
    has_helpers: bool,
    /// What has to be there before each run.
    before: Option<Before>,
    /// It can do no more than so many.
    most: u64,
    /// It does it once, and its whole time counts: it does not say how long
    /// it took.
    whole: bool,
}

/// What a contestant finds.
#[derive(Clone, Debug)]
enum Before {
    /// A copy of the first file in the place of the second.
    Fresh(PathBuf, PathBuf),
    /// Nothing there.
    Gone(PathBuf),
}

impl Contestant {
    fn new(program: PathBuf, arguments: Vec<OsString>) -> Contestant {
        Contestant {
            program,
            arguments,
            has_helpers: false,
            before: None,
            most: MOST,
            whole: false,
        }
    }

    /// This program; `arguments` are those of [`Work`](crate::work::Work).
    ///
    /// # Errors
    /// [`Failure::System`] when it does not find itself.
    pub fn work(arguments: &[&str]) -> Result<Contestant, Failure> {
        let mut words: Vec<OsString> = vec!["work".into()];
        words.extend(arguments.iter().map(Into::into));
        let this = env::current_exe().map_err(Failure::system("finding this program"))?;
        Ok(Contestant::new(this, words))
    }

    /// `qemu-img bench`, with its arguments.
    ///
    /// # Errors
    /// [`Failure::NoTool`].
    pub fn qemu_img(arguments: &[&str]) -> Result<Contestant, Failure> {
        let mut words: Vec<OsString> = vec!["bench".into()];
        words.extend(arguments.iter().map(Into::into));
        Ok(Contestant::new(QEMU_IMG.path()?, words))
    }

    /// Any other program that takes a `-c` and says how long it took.
    pub fn program(program: PathBuf, arguments: &[&str]) -> Contestant {
        Contestant::new(program, arguments.iter().map(Into::into).collect())
    }

    /// A program whose whole time counts, from its start to its end.
    pub fn whole(program: PathBuf, arguments: &[&str]) -> Contestant {
        Contestant {
            whole: true,
            most: 1,
            ..Contestant::program(program, arguments)
        }
    }

    /// As [`whole`](Contestant::whole), of this program.
    ///
    /// # Errors
    /// Those of [`work`](Contestant::work).
    pub fn whole_work(arguments: &[&str]) -> Result<Contestant, Failure> {
        Ok(Contestant {
            whole: true,
            most: 1,
            ..Contestant::work(arguments)?
        })
    }

    /// Each run finds a copy of `template` at `path`, in which no more than
    /// `most` things can be done.
    #[must_use]
    pub fn on_fresh(mut self, template: &Path, path: &Path, most: u64) -> Contestant {
        self.before = Some(Before::Fresh(template.to_owned(), path.to_owned()));
        self.most = most;
        self
    }

    /// Each run finds nothing at `path`.
    #[must_use]
    pub fn on_nothing(mut self, path: &Path) -> Contestant {
        self.before = Some(Before::Gone(path.to_owned()));
        self
    }

    /// Does what has to be done before a run.
    ///
    /// # Errors
    /// [`Failure::File`].
    pub fn prepare(&self) -> Result<(), Failure> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| Failure::File { path, error }
        };
        match &self.before {
            None => Ok(()),
            Some(Before::Fresh(template, path)) => {
                fs::copy(template, path).map(drop).map_err(failed(path))
            }
            Some(Before::Gone(path)) => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
                _ => Ok(()),
            },
        }
    }

    /// Its main thread shares the CPU with others of its own, the kernel's
    /// included: that somebody had the CPU does not make a run unclean.
    #[must_use]
    pub fn with_helpers(mut self) -> Contestant {
        self.has_helpers = true;
        self
    }

    /// Whether it is this program.
    pub fn is_own(&self) -> bool {
        self.arguments.first().is_some_and(|word| word == "work")
    }

    /// The program and its arguments, to do it `count` times.
    pub fn words(&self, count: u64) -> Vec<OsString> {
        let mut words = vec![self.program.clone().into_os_string()];
        words.extend(self.arguments.iter().cloned());
        if !self.whole {
            words.extend(["-c".into(), count.to_string().into()]);
        }
        words
    }

    fn command(&self, count: u64) -> Command {
        let words = self.words(count);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// One run.
    fn run(&self, count: u64) -> Result<Run, Failure> {
        self.prepare()?;
        let mut command = self.command(count);
        let (output, waited, took) = output_and_wait(&mut command, self.whole)?;
        let output = tools::check(&command, output)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said = match self.whole {
            true => Some(took),
            false => seconds(&said),
        };
        let seconds = said.ok_or_else(|| Failure::NoFigure {
            command: tools::describe(&command),
            what: "time",
        })?;
        Ok(Run {
            nanoseconds: seconds * 1e9 / count as f64,
            clean: self.has_helpers || waited < UNCLEAN * seconds,
        })
    }

    /// How often to do it for a run of about `seconds`.
    fn calibrate(&self, seconds: f64) -> Result<u64, Failure> {
        let mut count = self.most.min(200);
        if count == 1 {
            return Ok(1);
        }
        loop {
            let took = self.run(count)?.nanoseconds * 1e-9 * count as f64;
            if took >= seconds / 8.0 || count >= self.most {
                let wanted = count as f64 * seconds / took.max(1e-6);
                return Ok((wanted as u64).clamp(self.most.min(100), self.most));
            }
            count *= if took < seconds / 80.0 { 10 } else { 4 };
            count = count.min(self.most);
        }
    }
}

/// `qemu-img` counts in an `int`.
const MOST: u64 = 100_000_000;

/// In which part of its time a run may have been ready and without a CPU.
const UNCLEAN: f64 = 0.01;

struct Run {
    nanoseconds: f64,
    clean: bool,
}

/// What one contestant needs each time.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// In nanoseconds, of the best run.
    pub nanoseconds: f64,
    /// Whether that run had the CPU for itself.
    pub clean: bool,
}

impl Time {
    /// For a table, in nanoseconds.
    pub fn cell(self) -> Cell {
        Cell::Figure(self.nanoseconds, 0, self.clean)
    }

    /// For a table, in milliseconds.
    pub fn cell_ms(self) -> Cell {
        Cell::Figure(self.nanoseconds / 1e6, 2, self.clean)
    }

    /// For a table, in microseconds.
    pub fn cell_us(self) -> Cell {
        Cell::Figure(self.nanoseconds / 1000.0, 2, self.clean)
    }

    /// The time of `of` goes into this one so many times.
    pub fn ratio(self, of: Time) -> Cell {
        Cell::ratio(self.nanoseconds, of.nanoseconds)
    }
}

/// Lets the contestants run in turns; the times are in their order.
///
/// # Errors
/// When one of them fails.
pub fn contest(options: &Options, contestants: &[Contestant]) -> Result<Vec<Time>, Failure> {
    let _pinned = Pinned::here()?;
    contest_everywhere(options, contestants)
}

/// As [`contest`], on all the CPUs there are.
///
/// # Errors
/// When one of them fails.
pub fn contest_everywhere(
    options: &Options,
    contestants: &[Contestant],
) -> Result<Vec<Time>, Failure> {
    let (seconds, runs) = match options.quick {
        true => (0.002, 1),
        false => (0.15, options.runs as usize),
    };
    let counts = contestants.iter().map(|c| c.calibrate(seconds));
    let counts: Vec<u64> = counts.collect::<Result<_, _>>()?;
    let mut all: Vec<Vec<Run>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..runs * 2 {
        let clean = |runs: &Vec<Run>| runs.iter().filter(|run| run.clean).count();
        if round >= runs && all.iter().all(|each| clean(each) >= runs) {
            break;
        }
        for ((contestant, &count), runs) in contestants.iter().zip(&counts).zip(&mut all) {
            runs.push(contestant.run(count)?);
        }
    }
    Ok(all.iter().map(|runs| least(runs)).collect())
}

fn least(runs: &[Run]) -> Time {
    let clean = runs.iter().any(|run| run.clean);
    let counted = runs.iter().filter(|run| run.clean == clean);
    Time {
        nanoseconds: counted.map(|run| run.nanoseconds).fold(f64::MAX, f64::min),
        clean,
    }
}

/// The figure in `Run completed in 0.123 seconds.`
fn seconds(said: &str) -> Option<f64> {
    let (_, rest) = said.split_once("Run completed in ")?;
    rest.split_once(" seconds")?.0.parse().ok()
}

/// What a command printed, and for how many seconds its main thread was ready
/// and had no CPU, and how long it took.
/// One that prints more than fits into a pipe is `silent`.
fn output_and_wait(command: &mut Command, silent: bool) -> Result<(Output, f64, f64), Failure> {
    let failed = |command: &Command, error: io::Error| Failure::Command {
        command: tools::describe(command),
        message: error.to_string(),
    };
    // A handful of lines, which fit into the pipes: nobody has to read them
    // before the end.
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if silent {
        command.stdout(Stdio::null());
    }
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| failed(command, error))?;
    let pid = Pid::from_child(&child);
    // It stays a zombie, and what the kernel knows of it can still be read.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options).map_err(|error| failed(command, error.into()))?;
    let took = start.elapsed().as_secs_f64();
    let waited = fs::read_to_string(format!("/proc/{}/schedstat", child.id()))
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok())
        .unwrap_or(0.0);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let read = |stream: Option<&mut dyn Read>, into: &mut Vec<u8>| {
        stream.map_or(Ok(0), |stream| stream.read_to_end(into))
    };
    let both = read(child.stdout.as_mut().map(|s| s as _), &mut stdout)
        .and_then(|_| read(child.stderr.as_mut().map(|s| s as _), &mut stderr))
        .and_then(|_| child.wait());
    let status = both.map_err(|error| failed(command, error))?;
    let output = Output {
        status,
        stdout,
        stderr,
    };
    Ok((output, waited * 1e-9, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_in_what_qemu_img_prints() {
        let said = "Sending 9 read requests\nRun completed in 0.125 seconds.\n";
        assert_eq!(seconds(said), Some(0.125));
        assert_eq!(seconds("Run completed in no time"), None);
    }

    #[test]
    fn unclean_runs_count_only_where_there_is_no_other() {
        let run = |nanoseconds, clean| Run { nanoseconds, clean };
        let time = least(&[run(5.0, true), run(3.0, false), run(4.0, true)]);
        assert_eq!((time.nanoseconds, time.clean), (4.0, true));
        let time = least(&[run(5.0, false), run(3.0, false)]);
        assert_eq!((time.nanoseconds, time.clean), (3.0, false));
    }
}
