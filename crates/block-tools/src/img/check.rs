//! `check`: whether an image is consistent.

use block_common::Value;
use block_common::error::errno;
use block_gs::{BqlGuard, Node};
use block_io::{Activity, CheckResult, Clusters, Finding, IoError, Repairs};

use super::call::{Call, Command, Failed, Output, fail, reason, whisper};
use super::image::{Image, OpenAs, cache};
use super::{json, say};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "check",
    about: "Looks whether an image is consistent, and repairs it",
    usage: "[-f FMT | --image-opts] [-T CACHE] [-r leaks|all] [-U] [-q]\n         \
            [--output human|json] FILE",
    help: "  -f, --format FMT      what the image is; without, it is looked into
      --image-opts      FILE is a string of options
  -r, --repair WHAT     leaks: gives back what nobody uses; all: repairs what is
                        wrong too, as well as it can be guessed
  -T, --cache CACHE     how it is read: none, writeback, ...
  -U, --force-share     looks even if somebody else is writing; not with -r
  -q, --quiet           says nothing but errors
      --output OFMT     human, or json for programs
      --object OBJECT   makes an object that options refer to

The exit code is 0 if nothing is wrong (any more), 1 if the check could not be
completed, 2 if the image is corrupt, 3 if it only has clusters that nobody
uses, 63 if its format has no checks.
",
    known: &[
        Known::both('h', "help"),
        Known::both('q', "quiet"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('T', "cache").value(),
        Known::both('U', "force-share"),
        Known::name("output").value(),
        Known::both('r', "repair").value(),
        Known::name("object").value(),
    ],
    run,
};

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut output, mut mode) = (None, Output::Human, "writeback".to_owned());
    let (mut repairs, mut quiet, mut with) = (Repairs::empty(), false, OpenAs::default());
    call.each(bql, |name, value| {
        match name {
            "quiet" => quiet = true,
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "cache" => value.clone_into(&mut mode),
            "force-share" => with.force_share = true,
            "output" => output = Output::parse(value)?,
            "repair" => {
                with.writable = true;
                repairs = match value {
                    "leaks" => Repairs::LEAKS,
                    "all" => Repairs::all(),
                    word => {
                        let text = format!("--repair (-r) expects 'leaks' or 'all' not '{word}'");
                        return Err(Failed::Usage(text));
                    }
                };
            }
            _ => {}
        }
        Ok(())
    })?;
    let filename = call.filename()?;
    with.cache = cache(&mode, "Invalid source cache option")?;
    with.format = format.as_deref();
    with.to_be_checked = true;
    let image = Image::open(bql, filename, &with)?;
    let tell = |text: &str| match quiet {
        true => {}
        false => say(text),
    };
    let mut result = check(bql, call, &image.node, repairs)?;
    let fixed = (result.corruptions_fixed, result.leaks_fixed);
    if fixed != (0, 0) {
        if output == Output::Human {
            tell(&format!(
                "The following inconsistencies were found and repaired:\n\n    {} leaked \
                 clusters\n    {} corruptions\n\nDouble checking the fixed image now...\n",
                fixed.1, fixed.0
            ));
        }
        result = check(bql, call, &image.node, Repairs::empty())?;
        (result.corruptions_fixed, result.leaks_fixed) = fixed;
    }
    let format = image.node.view(bql).driver().format_name();
    tell(&match output {
        Output::Human => text(&result),
        Output::Json => json::pretty(&value(&result, filename, format)) + "\n",
    });
    image.close(bql);
    match result {
        result if result.check_errors > 0 => Err(fail("Check failed")),
        result if result.corruptions > 0 => Ok(2),
        result if result.leaks > 0 => Ok(3),
        _ => Ok(0),
    }
}

/// Checks, and says what is found when it is found, however quiet the rest
/// is.
fn check(
    bql: &mut BqlGuard,
    call: &Call<'_>,
    node: &Node,
    repairs: Repairs,
) -> Result<CheckResult, Failed> {
    let io = node.io().clone();
    let hear = |finding: &dyn Finding| match finding.is_report() {
        true => call.report(finding),
        false => whisper(&format!("{finding}\n")),
    };
    let result: Result<_, IoError> = bql.block_on(async {
        let activity = Activity::begin(io).await;
        activity.request().check_telling(repairs, &hear).await
    });
    result.map_err(|error| match error.errno() {
        errno::ENOTSUP => fail("This image format does not support checks").code(63),
        _ => fail(format!("Check failed: {}", reason(&error))),
    })
}

fn text(result: &CheckResult) -> String {
    let mut text = String::new();
    if result.corruptions > 0 {
        text += &format!(
            "\n{} errors were found on the image.\nData may be corrupted, or further writes to \
             the image may corrupt it.\n",
            result.corruptions
        );
    }
    if result.leaks > 0 {
        text += &format!(
            "\n{} leaked clusters were found on the image.\nThis means waste of disk space, but \
             no harm to data.\n",
            result.leaks
        );
    }
    if result.check_errors > 0 {
        text += &format!(
            "\n{} internal errors have occurred during the check.\n",
            result.check_errors
        );
    }
    if text.is_empty() {
        text += "No errors were found on the image.\n";
    }
    if let Some(clusters) = counted(result) {
        let of = |part: u64, whole: u64| part as f64 * 100.0 / whole as f64;
        text += &format!(
            "{}/{} = {:.2}% allocated, {:.2}% fragmented, {:.2}% compressed clusters\n",
            clusters.allocated,
            clusters.total,
            of(clusters.allocated, clusters.total),
            of(clusters.fragmented, clusters.allocated),
            of(clusters.compressed, clusters.allocated),
        );
    }
    if let Some(end) = result.image_end.filter(|end| *end > 0) {
        text += &format!("Image end offset: {end}\n");
    }
    text
}

/// The clusters, if there is something to divide by.
fn counted(result: &CheckResult) -> Option<Clusters> {
    result
        .clusters
        .filter(|counted| counted.total > 0 && counted.allocated > 0)
}

fn value(result: &CheckResult, filename: &str, format: &str) -> Value {
    let clusters = result.clusters.unwrap_or_default();
    let mut entries = vec![
        ("filename", filename.into()),
        ("format", format.into()),
        ("check-errors", result.check_errors.into()),
    ];
    // What is 0 goes without saying.
    for (name, count) in [
        ("image-end-offset", result.image_end.unwrap_or(0)),
        ("corruptions", result.corruptions),
        ("leaks", result.leaks),
        ("corruptions-fixed", result.corruptions_fixed),
        ("leaks-fixed", result.leaks_fixed),
        ("total-clusters", clusters.total),
        ("allocated-clusters", clusters.allocated),
        ("fragmented-clusters", clusters.fragmented),
        ("compressed-clusters", clusters.compressed),
    ] {
        if count != 0 {
            entries.push((name, count.into()));
        }
    }
    Value::map(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_in_words() {
        let clean = CheckResult {
            image_end: Some(983_040),
            clusters: Some(Clusters {
                total: 16,
                allocated: 2,
                fragmented: 1,
                compressed: 0,
            }),
            ..CheckResult::default()
        };
        assert_eq!(
            text(&clean),
            "No errors were found on the image.\n2/16 = 12.50% allocated, 50.00% fragmented, \
             0.00% compressed clusters\nImage end offset: 983040\n"
        );
        let bad = CheckResult {
            corruptions: 18,
            leaks: 2,
            check_errors: 1,
            ..CheckResult::default()
        };
        assert_eq!(
            text(&bad),
            "\n18 errors were found on the image.\nData may be corrupted, or further writes to \
             the image may corrupt it.\n\n2 leaked clusters were found on the image.\nThis means \
             waste of disk space, but no harm to data.\n\n1 internal errors have occurred during \
             the check.\n"
        );
        let Value::Map(entries) = value(&bad, "x", "qcow2") else {
            panic!("a map");
        };
        assert_eq!(entries.len(), 5);
    }
}
