//! What the table of drivers says about making images.

use std::future::Future;
use std::pin::Pin;

use block_gs::{CreateImage, GraphError, MainLoop};

use crate::drivers::Key;
use crate::options::Options;
use crate::{OpenError, values};

/// How images of a driver are made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Create {
    /// What `qemu-img create -o` takes, in the order in which it is told what
    /// is being made (`BlockDriver.create_opts`).
    pub options: &'static [CreateOption],
    /// What `blockdev-create` takes besides `driver`, and besides the `file`
    /// of a format, in the order in which a schema looks at it. Empty if it
    /// does not make images of the driver.
    pub typed: &'static [Key],
    /// Those of `options` that can be changed later
    /// (`BlockDriver.amend_opts`).
    pub amend: &'static [&'static str],
    /// What can be given only when an image is changed.
    pub amend_only: &'static [CreateOption],
    /// What is called otherwise there: the name with `-o`, and there.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// Turns values that are written otherwise with `-o` into what the typed
    /// ones are, under their typed names.
    pub(crate) convert: fn(&mut Options) -> Result<(), OpenError>,
    pub(crate) how: How,
}

impl Create {
    /// The option called `name`.
    pub fn option(&self, name: &str) -> Option<&'static CreateOption> {
        self.options.iter().find(|option| option.name == name)
    }
}

/// Who makes the image.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// The driver, in a file that is there and open. What it does not take of
    /// `-o` is for the protocol.
    InFile(fn(&mut Creating) -> Result<Box<dyn CreateImage>, OpenError>),
    /// The driver, which makes the file itself.
    File(fn(&mut Creating) -> Result<Work, OpenError>),
    /// Whoever makes the file: there is nothing to add to it.
    AsItsFile,
    /// Nobody. What is there is opened and given the size, if that can be
    /// done (`bdrv_co_create_opts_simple`).
    Existing,
}

/// A step of making an image that waits for something.
pub(crate) type Work = Box<dyn FnOnce(MainLoop) -> Step + Send>;

/// See [`Work`].
pub(crate) type Step = Pin<Box<dyn Future<Output = Result<(), GraphError>> + Send>>;

/// An option of `qemu-img create -o`.
#[derive(Clone, Copy, Debug)]
pub struct CreateOption {
    /// Its name.
    pub name: &'static str,
    /// What its value can be.
    pub kind: CreateKind,
    /// What it does, as `-o help` says it.
    pub help: &'static str,
    /// What is said when it is not given, if anything.
    pub default: Option<&'static str>,
}

impl CreateOption {
    pub(crate) const fn new(name: &'static str, kind: CreateKind, help: &'static str) -> Self {
        CreateOption {
            name,
            kind,
            help,
            default: None,
        }
    }

    /// As help has it, in a line.
    pub(super) fn help_line(&self) -> String {
        let named = format!("  {}={}", self.name, self.kind.in_help());
        format!("{named:<24} - {}\n", self.help)
    }

    /// The same with a value that counts when none is given.
    pub(crate) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
}

/// What the value of an option of `qemu-img create -o` can be
/// (`QemuOptType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateKind {
    /// Anything; the driver looks at it.
    Text,
    /// `on` or `off`.
    Switch,
    /// A whole number.
    Number,
    /// A number of bytes, with or without a suffix.
    Size,
}

impl CreateKind {
    /// As help has it.
    pub(crate) fn in_help(self) -> &'static str {
        match self {
            CreateKind::Text => "<str>",
            CreateKind::Switch => "<bool (on/off)>",
            CreateKind::Number => "<num>",
            CreateKind::Size => "<size>",
        }
    }
}

/// What a driver makes an image from: options under their typed names. What
/// it does not take is refused afterwards.
pub(crate) struct Creating {
    pub(super) options: Options,
    /// Whether a word that is none is refused without saying where: what
    /// protocols do with `-o`.
    pub(super) plain_words: bool,
}

impl Creating {
    pub fn text(&mut self, key: &Key) -> Result<Option<String>, OpenError> {
        values::text(&mut self.options, key.name)
    }

    pub fn switch(&mut self, key: &Key) -> Result<Option<bool>, OpenError> {
        values::switch(&mut self.options, key.name)
    }

    pub fn size(&mut self, key: &Key) -> Result<Option<u64>, OpenError> {
        values::size(&mut self.options, key.name)
    }

    /// The size that the image is to have, in whole sectors. Sizes within the
    /// last one that a number of 64 bits has are left as they are: no driver
    /// has images so large.
    pub fn whole_sectors(&mut self, key: &Key) -> Result<u64, OpenError> {
        let size = self.size(key)?.unwrap_or(0);
        Ok(size.checked_next_multiple_of(SECTOR).unwrap_or(size))
    }

    pub fn number(&mut self, key: &Key) -> Result<Option<i64>, OpenError> {
        values::number(&mut self.options, key.name)
    }

    /// One of the words of `key`.
    pub fn word(&mut self, key: &Key) -> Result<Option<&'static str>, OpenError> {
        let given = self.options.get(key.name).map(ToString::to_string);
        let word = values::word(&mut self.options, key.name, key.words());
        word.map_err(|error| match self.plain_words {
            true => error,
            false => {
                let (name, value) = (key.name, given.unwrap_or_default());
                let message = format!("Parameter '{name}' does not accept value '{value}'");
                OpenError::Value(message)
            }
        })
    }
}

/// Sizes are rounded up to these many bytes.
pub(super) const SECTOR: u64 = 512;
