//! Command lines for images, as QEMU's tools have them.
//!
//! Scripts that call `qemu-io` find the same commands here, with the same
//! output and exit codes. A tool is one function that is given its name and
//! its arguments; `quiesce` calls it, under its own name or under the tool's.
//!
//! | module | what |
//! |---|---|
//! | [`img`] | images as files: `qemu-img` |
//! | [`io`] | requests by hand: `qemu-io` |
//! | [`getopt`] | options as `getopt_long` reads them |
//! | [`human`] | sizes, times and rates in words |
//! | `damage` | images that turn out to be damaged |
//! | `keyed` | `key=value,...` as both tools read it; objects |

#![forbid(unsafe_code)]

mod damage;
pub mod getopt;
pub mod human;
pub mod img;
pub mod io;
mod keyed;
