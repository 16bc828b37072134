//! What is to be done, checked.

use block_open::{SizeError, parse_size};

use super::{BenchError, Options};

/// The requests. Everything about them is known before the first is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How many.
    pub count: u64,
    /// How many at a time.
    pub depth: u64,
    /// The bytes of each.
    pub size: usize,
    /// From one to the next, in bytes.
    pub step: u64,
    /// Where the first begins.
    pub start: u64,
    /// The byte to write; `None` reads.
    pub pattern: Option<u8>,
    /// A flush for each so many requests.
    pub flush_interval: Option<u64>,
    /// Flush when no request is in flight.
    pub drain: bool,
    /// In a thread of their own.
    pub iothread: bool,
}

impl Plan {
    /// `read` or `write`.
    pub fn direction(&self) -> &'static str {
        if self.pattern.is_some() {
            "write"
        } else {
            "read"
        }
    }

    /// As many tasks as can have something to do.
    pub fn lanes(&self) -> u64 {
        self.depth.min(self.count)
    }

    /// Where request number `n`, from 0, begins in an image of `length`
    /// bytes. The first begins where the user said, wherever that is.
    pub fn offset(&self, n: u64, length: u64) -> u64 {
        if n == 0 || length == 0 {
            return self.start;
        }
        // Both are below 2^31, and the start below 2^63: nothing overflows.
        (self.start + n * self.step) % length
    }

    /// Whether a flush is due when `sent` requests have been sent. Intervals
    /// are counted from the end, so that the last request is followed by one,
    /// and the first `depth` requests are sent whatever comes.
    pub fn is_flush_due(&self, sent: u64) -> bool {
        let rest = self.count - sent.min(self.count);
        let every = |interval: u64| sent >= self.lanes() && rest.is_multiple_of(interval);
        self.flush_interval.is_some_and(every)
    }
}

/// How the host caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cache {
    /// Bypass the cache (`cache.direct`).
    pub direct: bool,
    /// Never wait for the medium (`cache.no-flush`).
    pub no_flush: bool,
    /// Wait after each write.
    pub writethrough: bool,
}

impl Cache {
    /// From the names that QEMU has for them (`bdrv_parse_cache_mode`).
    fn parse(name: &str) -> Result<Self, BenchError> {
        let (direct, no_flush, writethrough) = match name {
            "none" | "off" => (true, false, false),
            "directsync" => (true, false, true),
            "writeback" => (false, false, false),
            "unsafe" => (false, true, false),
            "writethrough" => (false, false, true),
            _ => return usage("Invalid cache mode"),
        };
        Ok(Cache {
            direct,
            no_flush,
            writethrough,
        })
    }
}

/// The requests, and the image that they go to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The requests.
    pub plan: Plan,
    /// The image, as the user names it.
    pub filename: String,
    /// Its format, if the user says.
    pub format: Option<String>,
    /// Whether its name is a set of options.
    pub image_opts: bool,
    /// How the host caches.
    pub cache: Cache,
    /// Who carries out transfers, if the user says.
    pub aio: Option<String>,
    /// Whether others may be writing to it.
    pub force_share: bool,
    /// Objects to make first.
    pub objects: Vec<String>,
    /// Whether to say only what is wrong.
    pub quiet: bool,
}

/// What all buffers together may take.
const MAX_BUFFERS: u64 = i32::MAX as u64;
const MAX_INT: u64 = i32::MAX as u64;

impl Setup {
    /// Checks the command line.
    ///
    /// # Errors
    /// [`BenchError::Usage`] in the words of `qemu-img`.
    pub fn check(options: &Options) -> Result<Setup, BenchError> {
        let cache = Cache::parse(&options.cache)?;
        let aio = match options.aio.as_deref() {
            None if options.native => Some("native"),
            Some(known @ ("threads" | "native" | "io_uring")) => Some(known),
            Some(unknown) => return usage(format!("Invalid aio option: {unknown}")),
            None => None,
        };
        let count = integer("request count", &options.count, 1, MAX_INT)?;
        let depth = integer("queue depth", &options.depth, 1, MAX_INT)?;
        let size = size("buffer size", &options.buffer_size, 1, MAX_INT)?;
        let step = match &options.step_size {
            Some(step) => self::size("step size", step, 0, MAX_INT)?,
            None => 0,
        };
        let start = self::size("offset", &options.offset, 0, i64::MAX as u64)?;
        let pattern = integer("pattern byte", &options.pattern, 0, 255)?;
        let interval = match &options.flush_interval {
            Some(interval) => integer("flush interval", interval, 0, MAX_INT)?,
            None => 0,
        };
        let [filename] = &*options.filename else {
            return usage("Expecting one image file name");
        };
        if options.image_opts && options.format.is_some() {
            return usage("--image-opts and --format are mutually exclusive");
        }
        if !options.write && interval > 0 {
            return usage("--flush-interval is only available in write tests");
        }
        if interval > 0 && interval < depth {
            return usage("Flush interval can't be smaller than depth");
        }
        let plan = Plan {
            count,
            depth,
            size: size as usize,
            // Like a step that was not given.
            step: if step == 0 { size } else { step },
            start,
            pattern: options.write.then_some(pattern as u8),
            flush_interval: (interval > 0).then_some(interval),
            drain: !options.no_drain,
            iothread: options.iothread,
        };
        if plan.lanes() * size > MAX_BUFFERS {
            return usage(format!(
                "{} requests of {size} bytes at a time need buffers of more than 2 GiB",
                plan.lanes()
            ));
        }
        Ok(Setup {
            plan,
            filename: filename.clone(),
            format: options.format.clone(),
            image_opts: options.image_opts,
            cache,
            aio: aio.map(str::to_owned),
            force_share: options.force_share,
            objects: options.object.clone(),
            quiet: options.quiet,
        })
    }
}

fn usage<T>(message: impl Into<String>) -> Result<T, BenchError> {
    Err(BenchError::Usage(message.into()))
}

fn within(what: &str, number: Option<u64>, min: u64, max: u64) -> Result<u64, BenchError> {
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => usage(format!(
            "Invalid {what} specified. Must be between {min} and {max}."
        )),
    }
}

fn size(what: &str, text: &str, min: u64, max: u64) -> Result<u64, BenchError> {
    match parse_size(text) {
        Ok(size) => within(what, Some(size), min, max),
        Err(SizeError::Range) => within(what, None, min, max),
        Err(SizeError::Syntax) => usage(format!("Invalid {what} specified: '{text}'.")),
    }
}

/// A number as C reads it: decimal, `0x` or with a leading `0` octal.
fn integer(what: &str, text: &str, min: u64, max: u64) -> Result<u64, BenchError> {
    let trimmed = text.trim_start();
    let (negative, digits) = match (trimmed.strip_prefix('-'), trimmed.strip_prefix('+')) {
        (Some(digits), _) => (true, digits),
        (None, Some(digits)) => (false, digits),
        (None, None) => (false, trimmed),
    };
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = match hex {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return usage(format!("Invalid {what} specified: '{text}'."));
    }
    let number = u64::from_str_radix(digits, radix).ok();
    within(
        what,
        number.filter(|number| !negative || *number == 0),
        min,
        max,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &[&str]) -> Options {
        use clap::{Args as _, FromArgMatches as _};
        let command = Options::augment_args(clap::Command::new("bench"));
        let matches = command.get_matches_from([&["bench"], line].concat());
        Options::from_arg_matches(&matches).expect("a command line")
    }

    fn plan(line: &[&str]) -> Plan {
        Setup::check(&options(line)).expect("nothing wrong").plan
    }

    fn refused(line: &[&str]) -> String {
        Setup::check(&options(line)).expect_err("wrong").to_string()
    }

    #[test]
    fn the_defaults_are_qemus() {
        let plan = plan(&["a"]);
        assert_eq!((plan.count, plan.depth, plan.size), (75000, 64, 4096));
        assert_eq!((plan.step, plan.start, plan.pattern), (4096, 0, None));
        assert!(plan.drain && plan.flush_interval.is_none());
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        let plan = plan(&[
            "-c",
            "010",
            "-d",
            "0x2",
            "-s",
            "4.5k",
            "-S0",
            "-w",
            "--pattern",
            "+0xa5",
            "a",
        ]);
        assert_eq!((plan.count, plan.depth, plan.size), (8, 2, 4608));
        assert_eq!((plan.step, plan.pattern), (4608, Some(0xa5)));
    }

    #[test]
    fn wrong_options_are_refused_in_qemus_words() {
        let count = "Invalid request count specified. Must be between 1 and 2147483647.";
        for (line, message) in [
            (&["-c", "0", "a"][..], count),
            (&["-c", "-1", "a"], count),
            (&["-c", "5000000000", "a"], count),
            (&["-c", "18446744073709551617", "a"], count),
            (&["-c", "2k", "a"], "Invalid request count specified: '2k'."),
            (
                &["-d", "0", "a"],
                "Invalid queue depth specified. Must be between 1 and 2147483647.",
            ),
            (
                &["-s", "0", "a"],
                "Invalid buffer size specified. Must be between 1 and 2147483647.",
            ),
            (
                &["-s", "8E", "a"],
                "Invalid buffer size specified. Must be between 1 and 2147483647.",
            ),
            (&["-s", "", "a"], "Invalid buffer size specified: ''."),
            (
                &["-S", "-1", "a"],
                "Invalid step size specified. Must be between 0 and 2147483647.",
            ),
            (&["-o", "x", "a"], "Invalid offset specified: 'x'."),
            (
                &["-o", "8E", "a"],
                "Invalid offset specified. Must be between 0 and 9223372036854775807.",
            ),
            (&["-t", "x", "a"], "Invalid cache mode"),
            (&["-i", "x", "a"], "Invalid aio option: x"),
            (
                &["--pattern=256", "a"],
                "Invalid pattern byte specified. Must be between 0 and 255.",
            ),
            (
                &["--flush-interval=x", "-w", "a"],
                "Invalid flush interval specified: 'x'.",
            ),
            (
                &["--flush-interval=3", "a"],
                "--flush-interval is only available in write tests",
            ),
            (
                &["--flush-interval=3", "-w", "a"],
                "Flush interval can't be smaller than depth",
            ),
            (
                &["-f", "raw", "--image-opts", "a"],
                "--image-opts and --format are mutually exclusive",
            ),
            (&[], "Expecting one image file name"),
            (&["a", "b"], "Expecting one image file name"),
        ] {
            assert_eq!(refused(line), message, "{line:?}");
        }
        assert!(refused(&["-s", "1G", "a"]).ends_with("more than 2 GiB"));
    }

    #[test]
    fn requests_wrap_around_at_the_end_of_the_image() {
        let plan = plan(&["-S", "5000", "-o", "9000", "a"]);
        let offsets: Vec<u64> = (0..4).map(|n| plan.offset(n, 12288)).collect();
        assert_eq!(offsets, [9000, 1712, 6712, 11712]);
        assert_eq!(
            plan.offset(7, 0),
            9000,
            "an empty image has no place to go on"
        );
        assert_eq!(plan.offset(0, 100), 9000);
        let far = self::plan(&[
            "-c",
            "2147483647",
            "-S",
            "2147483647",
            "-o",
            "9223372036854775807",
            "a",
        ]);
        assert!(far.offset(2_147_483_646, 4096) < 4096);
    }

    #[test]
    fn intervals_are_counted_from_the_end() {
        let plan = plan(&["-c20", "-d2", "-w", "--flush-interval=3", "a"]);
        let due: Vec<u64> = (1..=20).filter(|&sent| plan.is_flush_due(sent)).collect();
        assert_eq!(due, [2, 5, 8, 11, 14, 17, 20]);
    }
}
