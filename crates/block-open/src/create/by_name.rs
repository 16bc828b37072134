//! Making an image from a file name and options, as `qemu-img create` does.

use std::fmt;

use block_common::error::errno;
use block_common::paths;
use block_gs::{BqlGuard, MainLoop, Measurement};

use super::driver::SECTOR;
use super::given::Given;
use super::make::{self, make_file, make_in_file};
use super::{Create, CreateOption, How};
use crate::drivers::Driver;
use crate::filename::{for_filename, protocol_of};
use crate::opening::Opener;
use crate::{OpenError, Options};

/// What image is to be made (`bdrv_img_create`).
///
/// ```
/// use block_gs::BlockLayer;
/// use block_open::ImageSpec;
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("disk.img").display().to_string();
/// let layer = BlockLayer::new()?;
/// layer.enter(|bql| {
///     let planned = ImageSpec::new(&path, "raw").options("size=1M").plan(bql)?;
///     assert_eq!(planned.to_string(), format!("Formatting '{path}', fmt=raw size=1048576"));
///     planned.create_now(bql)
/// })?;
/// assert_eq!(std::fs::metadata(&path)?.len(), 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is made yet"]
pub struct ImageSpec {
    filename: String,
    format: String,
    options: Vec<String>,
    size: Option<u64>,
    base: Option<String>,
    base_format: Option<String>,
    trusts_base: bool,
}

impl ImageSpec {
    /// An image of `format` in what `filename` names: a path, or a protocol's
    /// name with its prefix.
    pub fn new(filename: &str, format: &str) -> Self {
        ImageSpec {
            filename: filename.to_owned(),
            format: format.to_owned(),
            options: Vec::new(),
            size: None,
            base: None,
            base_format: None,
            trusts_base: false,
        }
    }

    /// Adds options of the format and of the protocol, as `key=value,...`
    /// (`-o`).
    pub fn options(mut self, options: &str) -> Self {
        self.options.push(options.to_owned());
        self
    }

    /// How many bytes it has. Without it, and without the option `size`, as
    /// many as its base.
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// What it is based on: it has what this image has where it has nothing
    /// itself (`-b`).
    pub fn base(mut self, filename: &str) -> Self {
        self.base = Some(filename.to_owned());
        self
    }

    /// The format of what it is based on (`-F`).
    pub fn base_format(mut self, format: &str) -> Self {
        self.base_format = Some(format.to_owned());
        self
    }

    /// Does not look whether what it is based on is there
    /// (`BDRV_O_NO_BACKING`, `-u`).
    pub fn trust_base(mut self, trust: bool) -> Self {
        self.trusts_base = trust;
        self
    }

    /// Checks what is asked for, and finds out what is not said. Nothing is
    /// made or changed.
    ///
    /// Needs the exclusive proof because what the image is based on is opened
    /// for a moment.
    ///
    /// # Errors
    /// [`OpenError`] in QEMU's words: no such format or protocol, options that
    /// neither has or with values they do not take, no size, a base that
    /// cannot be opened.
    pub fn plan(self, bql: &mut BqlGuard) -> Result<PlannedImage, OpenError> {
        self.plan_with(bql, &mut Opener::new())
    }

    /// As [`plan`](ImageSpec::plan); what the image is based on is opened by
    /// `opener`.
    ///
    /// # Errors
    /// Those of [`plan`](ImageSpec::plan), and what `opener` does not allow.
    pub fn plan_with(
        self,
        bql: &mut BqlGuard,
        opener: &mut Opener,
    ) -> Result<PlannedImage, OpenError> {
        let format = Driver::find(&self.format);
        let format =
            format.ok_or_else(|| refuse(format!("Unknown file format '{}'", self.format)))?;
        self.plan_as(bql, format, opener)
    }

    /// As [`plan`](ImageSpec::plan), with the driver that was found.
    pub(super) fn plan_as(
        self,
        bql: &mut BqlGuard,
        format: &'static Driver,
        opener: &mut Opener,
    ) -> Result<PlannedImage, OpenError> {
        let protocol = protocol_of(&self.filename)?;
        let mut given = Given::none(creates(format, "Format")?, creates(protocol, "Protocol")?);
        for options in &self.options {
            if !is_list(options) {
                return Err(refuse(format!("Invalid option list: {options}")));
            }
            given.parse(options)?;
        }
        if let Some(size) = self.size {
            if given.number(SIZE).is_some() {
                return Err(refuse("The image size must be specified only once"));
            }
            given.set_number(SIZE, size);
        }
        let of_base = [
            (&self.base, BACKING_FILE, "Backing file"),
            (&self.base_format, BACKING_FORMAT, "Backing file format"),
        ];
        for (value, option, what) in of_base {
            let Some(value) = value else {
                continue;
            };
            if !given.has(option) {
                return Err(refuse(format!(
                    "{what} not supported for file format '{}'",
                    format.name
                )));
            }
            given.set(option, value.clone())?;
        }
        self.look_at_base(bql, opener, &mut given)?;
        // The size that no image has is none, in QEMU too.
        if given.number(SIZE).is_none_or(|size| size == u64::MAX) {
            return Err(refuse("Image creation needs a size parameter"));
        }
        Ok(PlannedImage {
            filename: self.filename,
            format,
            protocol,
            given,
        })
    }

    /// Opens the base, which has to be there, and may say what the size is.
    fn look_at_base(
        &self,
        bql: &mut BqlGuard,
        opener: &mut Opener,
        given: &mut Given,
    ) -> Result<(), OpenError> {
        let Some(base) = given.text(BACKING_FILE) else {
            return Ok(());
        };
        if base.is_empty() {
            return Err(refuse("Expected backing file name, got empty string"));
        }
        if base == self.filename {
            return Err(refuse(
                "Error: Trying to create an image with the same filename as the backing file",
            ));
        }
        let base_format = given.text(BACKING_FORMAT);
        let no_format = "Backing file specified without backing format";
        if self.trusts_base {
            return match base_format {
                Some(_) => Ok(()),
                None => Err(refuse(no_format)),
            };
        }
        let opened = open_base(bql, opener, &self.filename, base, base_format);
        let (length, found) = opened.map_err(|error| OpenError::Backing(Box::new(error)))?;
        if base_format.is_none() {
            return Err(OpenError::ValueWithHint {
                message: no_format.to_owned(),
                hint: format!("Detected format of {found}."),
            });
        }
        if given.number(SIZE).is_none() {
            // A base of any length is shown in whole sectors.
            let whole = length.checked_next_multiple_of(SECTOR);
            given.set_number(SIZE, whole.unwrap_or(length));
        }
        Ok(())
    }
}

/// How long the base is, and of what format.
fn open_base(
    bql: &mut BqlGuard,
    opener: &mut Opener,
    filename: &str,
    base: &str,
    format: Option<&str>,
) -> Result<(u64, &'static str), OpenError> {
    let base = paths::full_backing_name(filename, base)?.unwrap_or_default();
    let mut options = Options::new();
    if let Some(format) = format {
        options.set("driver", format);
    }
    let mut options = for_filename(&base, options)?;
    options.set_default("read-only", true);
    options.set_default("force-share", true);
    opener.set_without_io(true);
    let opened = opener.open(bql, options);
    opener.set_without_io(false);
    let node = opened?;
    let format = node.view(bql).driver().format_name();
    Ok((node.length(bql), format))
}

/// An image that can be made, as far as one knows without having tried.
///
/// As text it is what `qemu-img` says before it begins: `Formatting 'a.img',
/// fmt=raw size=512`.
#[derive(Debug)]
#[must_use = "nothing is made yet"]
pub struct PlannedImage {
    filename: String,
    format: &'static Driver,
    protocol: &'static Driver,
    given: Given,
}

impl fmt::Display for PlannedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (filename, format) = (&self.filename, self.format.name);
        write!(f, "Formatting '{filename}', fmt={format}{}", self.given)
    }
}

impl PlannedImage {
    /// How many bytes it will have, before they are made whole sectors.
    pub fn size(&self) -> u64 {
        self.given.number(SIZE).unwrap_or(0)
    }

    /// How much storage it will take, without making it (`bdrv_measure`).
    /// `count` says how many bytes are going to be in use, in whole units of
    /// so many bytes.
    ///
    /// # Errors
    /// [`OpenError`]: wrong options; a format that cannot tell; what `count`
    /// says.
    pub fn measure(
        mut self,
        count: impl FnOnce(u64) -> Result<u64, OpenError>,
    ) -> Result<Measurement, OpenError> {
        let name = self.format.name;
        let size = self.size();
        let whole = size.checked_next_multiple_of(SECTOR).unwrap_or(size);
        let create = creates(self.format, "Format")?;
        let unsupported = || {
            refuse(format!(
                "Block driver '{name}' does not support size measurement"
            ))
        };
        let prepare = match create.how {
            How::InFile(prepare) => prepare,
            How::AsItsFile => {
                return Ok(Measurement {
                    required: whole,
                    fully_allocated: whole,
                    bitmaps: None,
                });
            }
            How::File(_) | How::Existing => return Err(unsupported()),
        };
        self.given.set_number(SIZE, whole);
        let image = make::prepare(prepare, self.given.take(create)?, self.format, false)?;
        let data = count(image.unit())?;
        image.measure(data).map_err(|error| match error.errno() {
            errno::ENOTSUP => unsupported(),
            errno::EFBIG => refuse("The image size is too large (try using a larger cluster size)"),
            _ => error.into(),
        })
    }

    /// Makes the image (`bdrv_create`). What was in the file is lost; what
    /// the format says about its options is said before.
    ///
    /// I/O, in any thread: what needs the guard asks `main` for it. Do not
    /// await it while holding a request that a section may wait for.
    ///
    /// # Errors
    /// [`OpenError`]. A file that was made for it is gone then, and so is one
    /// in which a format has not finished. Wrong options are found before any
    /// file is touched.
    pub async fn create(self, main: &MainLoop) -> Result<(), OpenError> {
        let PlannedImage {
            filename,
            format,
            protocol,
            mut given,
        } = self;
        let create = creates(format, "Format")?;
        let advice = match create.option("cluster_size") {
            Some(_) => " (try using a larger cluster size)",
            None => "",
        };
        let outcome = match create.how {
            How::AsItsFile => make_file(main, protocol, &filename, &mut given).await,
            How::File(_) | How::Existing => make_file(main, format, &filename, &mut given).await,
            How::InFile(prepare) => {
                // Who says typed options has to know that himself.
                let size = given.number(SIZE).unwrap_or(0);
                let whole = size.checked_next_multiple_of(SECTOR).unwrap_or(size);
                given.set_number(SIZE, whole);
                let image = make::prepare(prepare, given.take(create)?, format, false)?;
                make_in_file(main, protocol, &filename, &mut given, image).await
            }
        };
        outcome.map_err(|error| match error.errno() {
            errno::EFBIG => OpenError::TooLarge {
                format: format.name,
                advice,
            },
            _ => error,
        })
    }

    /// Makes the image now, while the main loop goes on.
    ///
    /// Needs the exclusive proof because it polls.
    ///
    /// # Errors
    /// Those of [`create`](PlannedImage::create).
    pub fn create_now(self, bql: &mut BqlGuard) -> Result<(), OpenError> {
        let main = bql.main_loop();
        bql.block_on(self.create(&main))
    }
}

/// What `-o help` prints (`print_block_option_help`): the options of the
/// format, and those of the protocol if there is a file name.
///
/// # Errors
/// [`OpenError`] when there is no such format or protocol, or it does not make
/// images.
pub fn creation_help(format: &str, filename: Option<&str>) -> Result<String, OpenError> {
    let driver = Driver::find(format);
    let driver = driver.ok_or_else(|| refuse(format!("Unknown file format '{format}'")))?;
    let create = creates(driver, "Format")?;
    let (caption, known, footer) = match filename {
        Some(filename) => {
            let protocol = creates(protocol_of(filename)?, "Protocol")?;
            let known = Given::none(create, protocol).known();
            ("Supported options:\n".to_owned(), known, "")
        }
        None => (
            format!("Supported {format} options:\n"),
            Given::none(create, create).known(),
            "\nThe protocol level may support further options.\nSpecify the target filename to \
             include those options.\n",
        ),
    };
    let lines: String = known.into_iter().map(CreateOption::help_line).collect();
    Ok(caption + &lines + footer)
}

const SIZE: &str = "size";
const BACKING_FILE: &str = "backing_file";
const BACKING_FORMAT: &str = "backing_fmt";

pub(super) fn refuse(message: impl Into<String>) -> OpenError {
    OpenError::Value(message.into())
}

/// What the driver says about making images.
fn creates(driver: &'static Driver, what: &str) -> Result<&'static Create, OpenError> {
    driver.create.as_ref().ok_or_else(|| {
        refuse(format!(
            "{what} driver '{}' does not support image creation",
            driver.name
        ))
    })
}

/// Whether several of them can be put after each other with commas between
/// (`is_valid_option_list`).
fn is_list(options: &str) -> bool {
    let commas = options.len() - options.trim_end_matches(',').len();
    !options.is_empty() && !options.starts_with(',') && commas.is_multiple_of(2)
}
