//! The command line.

use clap::{Parser, Subcommand};

use crate::{bench, graph, stress, tool, tour};

/// A block layer whose layering the compiler checks.
#[derive(Parser, Debug)]
#[command(
    name = "quiesce",
    version,
    about = "A block layer whose layering the compiler checks",
    long_about = LONG_ABOUT,
    after_help = "Without a subcommand quiesce gives the tour. `quiesce help tour` explains it.",
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tour: tour::Options,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Rebuild a block graph below running, verified requests (the default)
    #[command(long_about = tour::ABOUT, after_long_help = EXAMPLES)]
    Tour(tour::Options),
    /// Draw the graph that options describe
    #[command(long_about = graph::ABOUT, after_long_help = graph::EXAMPLES)]
    Graph(graph::Options),
    /// Send many requests to an image, and say how long they took
    #[command(long_about = bench::ABOUT, after_long_help = bench::EXAMPLES)]
    Bench(bench::Options),
    /// Send all kinds of requests while errors, cancellations and graph
    /// changes come at random, and compare every byte with a model
    #[command(long_about = stress::ABOUT, after_long_help = stress::EXAMPLES)]
    Stress(stress::Options),
    /// Make, convert, change and look at images, as qemu-img does
    #[command(disable_help_flag = true)]
    Img(tool::Line),
    /// Send requests to an image by hand, as qemu-io does
    #[command(disable_help_flag = true)]
    Io(tool::Line),
}

impl Cli {
    /// The subcommand, or the default one.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Tour(self.tour))
    }
}

const LONG_ABOUT: &str = "\
A block layer whose layering the compiler checks.

Disk images are nodes of a graph. Iothreads send requests through it while the
main thread changes it. Code that could confuse the two does not compile; this
command shows that what does compile works.";

const EXAMPLES: &str = "\
Examples:
  quiesce
      Ten seconds of the tour on images in a temporary directory.
  quiesce tour --seconds 60 --seed 7
      A minute of it, with the same choices each time.
  quiesce tour --image disk.img
      Reads your raw image too, and checks that every graph change leaves it
      as it is. The file is opened read-only.
  quiesce tour --json --quiet | tail -n 1
      One JSON object, for scripts.
  quiesce tour --pictures pictures && xdg-open pictures/after.svg
      Looks at the graph.
  quiesce tour --inject-corruption; echo $?
      Spoils one byte on purpose, to see that it is found: prints 3.

Exit codes:
  0  every byte was as it should be (also after Ctrl-C)
  1  the tour could not run: the message says what to do
  2  the command line was wrong
  3  a mismatch, a failed request, or a graph operation that misbehaved
  4  nothing moved for half a minute (a deadlock); the last steps are printed";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn seconds(line: &[&str]) -> Option<u64> {
        match Cli::parse_from(line).into_command() {
            Command::Tour(options) => Some(options.seconds),
            _ => None,
        }
    }

    #[test]
    fn the_tour_is_the_default_with_and_without_its_options() {
        for line in [
            &["quiesce", "--seconds", "3"][..],
            &["quiesce", "tour", "--seconds", "3"],
        ] {
            assert_eq!(seconds(line), Some(3));
        }
        assert_eq!(seconds(&["quiesce"]), Some(10));
        assert_eq!(seconds(&["quiesce", "bench", "image"]), None);
    }

    #[test]
    fn writing_an_image_takes_an_image() {
        assert!(Cli::try_parse_from(["quiesce", "tour", "--write-image"]).is_err());
        assert!(Cli::try_parse_from(["quiesce", "--seconds", "0"]).is_err());
    }
}
