//! The targets: what is given bytes, by name.

mod compressed;
mod directories;
mod header;
mod lines;
mod options;
mod rules;
mod tables;
mod whole;

use crate::gauge;

/// A function that looks for something wrong.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, also that of its corpus.
    pub name: &'static str,
    /// What it is given, in a line.
    pub about: &'static str,
    run: fn(&[u8]),
}

impl Target {
    /// Runs the target, within its bounds.
    ///
    /// # Panics
    /// When something is wrong with what was tried.
    pub fn run(&self, input: &[u8]) {
        gauge::bounded(input.len(), || (self.run)(input));
    }

    /// The target called `name`.
    pub fn find(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }
}

/// All targets.
pub static TARGETS: &[Target] = &[
    Target {
        name: "header",
        about: "the header of a qcow2 image and its extensions",
        run: header::run,
    },
    Target {
        name: "tables",
        about: "first-level and second-level tables, refcounts",
        run: tables::run,
    },
    Target {
        name: "directories",
        about: "the table of snapshots, the directory and the tables of bitmaps",
        run: directories::run,
    },
    Target {
        name: "compressed",
        about: "packed clusters, zlib and zstd",
        run: compressed::run,
    },
    Target {
        name: "whole",
        about: "whole images, all of whose bytes may be wrong",
        run: whole::run,
    },
    Target {
        name: "options",
        about: "options as JSON and as key=value, file names, sizes",
        run: options::run,
    },
    Target {
        name: "rules",
        about: "configuration files of blkdebug",
        run: rules::run,
    },
    Target {
        name: "lines",
        about: "command lines, and commands of the tool io",
        run: lines::run,
    },
];
