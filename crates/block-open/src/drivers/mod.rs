//! What can be opened.

use std::fmt;

use block_common::Role;
use block_gs::{Node, ReopenOptions};

pub(crate) use file::{driver_for_path, set_path};

use crate::create::Create;
use crate::opening::Opening;
use crate::reopen::Reopening;
use crate::{OpenError, Options, general};

mod blkdebug;
mod copy_on_read;
mod file;
mod null;
#[cfg(test)]
mod overlay;
mod qcow2;
mod raw;
mod stats;
mod throttle;

/// Every driver, in alphabetical order.
static DRIVERS: &[&Driver] = &[
    &blkdebug::BLKDEBUG,
    &copy_on_read::COPY_ON_READ,
    &file::FILE,
    &file::HOST_DEVICE,
    &null::NULL_AIO,
    &null::NULL_CO,
    #[cfg(test)]
    &overlay::OVERLAY,
    &qcow2::QCOW2,
    &raw::RAW,
    &stats::STATS,
    &throttle::THROTTLE,
];

/// All drivers, in alphabetical order (`bdrv_iterate_format`).
pub fn drivers() -> &'static [&'static Driver] {
    DRIVERS
}

/// The options that every driver has: `driver` itself aside, which says which
/// one it is.
pub fn general_options() -> &'static [Key] {
    general::KEYS
}

/// A driver as the user sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Driver {
    /// Its name, as the option `driver` has it.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Its own options.
    pub options: &'static [Key],
    /// The children that can be given.
    pub children: &'static [Child],
    /// How file names say it, for one that needs no child.
    pub(crate) protocol: Option<Protocol>,
    /// Whether it is a format, whose child is then whatever the file name
    /// says, or a filter, which keeps what the user said about itself.
    pub(crate) is_format: bool,
    /// How sure it is that an image is one of its own, from none to 100
    /// (`BlockDriver.bdrv_probe`): gets the beginning of the image, 512 bytes
    /// or all there is, and its file name.
    pub(crate) probe: Option<fn(&[u8], &str) -> u8>,
    /// How its images are made; `None` if they are not.
    pub create: Option<Create>,
    /// See [`can_compress`](Driver::can_compress).
    pub(crate) compresses: bool,
    pub(crate) open: fn(&mut Opening<'_>) -> Result<Node, OpenError>,
    pub(crate) reopen: Reopen,
}

/// What of its own options a driver changes when it is reopened.
pub(crate) struct Reopen {
    /// Those that need not be given again: without them it is as if they had
    /// never been given (`mutable_opts`).
    pub resettable: &'static [&'static str],
    /// Takes those that can have other values, and tells the driver. What it
    /// leaves has to be as it was.
    pub take: fn(&mut Reopening<'_>, ReopenOptions) -> Result<ReopenOptions, OpenError>,
    /// Takes from what was said before (the second) what does not go with what
    /// is said now, where the rest stays (`bdrv_join_options`).
    pub overrule: fn(&Options, &mut Options),
}

impl fmt::Debug for Reopen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reopen({:?})", self.resettable)
    }
}

impl Reopen {
    /// None of them.
    pub const NOTHING: Reopen = Reopen {
        resettable: &[],
        take: |_, options| Ok(options),
        overrule: |_, _| {},
    };
}

impl Driver {
    /// Whether file names can say it, so that it needs no child.
    pub fn is_protocol(&self) -> bool {
        self.protocol.is_some()
    }

    /// The driver called `name` (`bdrv_find_format`).
    pub fn find(name: &str) -> Option<&'static Driver> {
        DRIVERS.iter().copied().find(|known| known.name == name)
    }

    /// Whether it writes compressed (`block_driver_can_compress`). A filter
    /// hands such writes on, and does not by itself.
    pub fn can_compress(&self) -> bool {
        self.compresses
    }
}

/// What makes a file name one of a protocol's.
#[derive(Debug)]
pub(crate) struct Protocol {
    /// What stands before the colon.
    pub prefix: &'static str,
    /// Turns the file name, with its prefix, into options. They are those of
    /// a node below so many others that the same name describes.
    pub parse: fn(&str, &mut Options, usize) -> Result<(), OpenError>,
}

/// A child that a driver has.
#[derive(Debug)]
pub struct Child {
    /// The name of the edge, and the key.
    pub name: &'static str,
    /// What it is for: decides what it inherits.
    pub role: Role,
    /// Whether the driver cannot do without.
    pub required: bool,
    /// What it is, in a line.
    pub about: &'static str,
}

/// An option that a driver has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value can be.
    pub kind: Kind,
    /// Whether the driver cannot do without.
    pub required: bool,
    /// What it does, in a line.
    pub about: &'static str,
}

/// What the value of an option can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`, `on` or `off`.
    Switch,
    /// A number of bytes, with or without a suffix.
    Size,
    /// A whole number.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Some of these words, as a list.
    Words(&'static [&'static str]),
    /// A list of objects with these members.
    List(&'static [Key]),
}

impl Key {
    pub(crate) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Key {
            name,
            kind,
            required: false,
            about,
        }
    }

    pub(crate) const fn text(name: &'static str, about: &'static str) -> Self {
        Key::new(name, Kind::Text, about)
    }

    pub(crate) const fn switch(name: &'static str, about: &'static str) -> Self {
        Key::new(name, Kind::Switch, about)
    }

    pub(crate) const fn size(name: &'static str, about: &'static str) -> Self {
        Key::new(name, Kind::Size, about)
    }

    pub(crate) const fn number(name: &'static str, about: &'static str) -> Self {
        Key::new(name, Kind::Number, about)
    }

    pub(crate) const fn word(
        name: &'static str,
        about: &'static str,
        words: &'static [&'static str],
    ) -> Self {
        Key::new(name, Kind::Word(words), about)
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn words(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Word(words) => words,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_says_what_each_thing_is() {
        assert!(DRIVERS.is_sorted_by_key(|driver| driver.name));
        for driver in drivers() {
            assert!(std::ptr::eq(
                Driver::find(driver.name).expect("listed"),
                *driver
            ));
            assert!(!driver.about.is_empty());
            let mut names: Vec<&str> = driver.options.iter().map(|key| key.name).collect();
            names.extend(driver.children.iter().map(|child| child.name));
            names.extend(general_options().iter().map(|key| key.name));
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}: each name once", driver.name);
            for key in driver.options {
                assert!(!key.about.is_empty(), "{} of {}", key.name, driver.name);
            }
        }
        assert!(Driver::find("nobody").is_none());
    }
}
