//! `quiesce img`, as a user runs it, and beside `qemu-img`.
//!
//! | module | what |
//! |---|---|
//! | `lines` | what both must answer alike |
//! | `both` | running a line on both |
//! | `check` | images that were damaged |
//! | `formats` | several steps with images of a format |
//! | `amending` | images that are changed, resized, kept and made, in several steps |
//! | `scripts` | scripts that call `qemu-io` too |
//! | `themes` | scripts again, one for each theme of QEMU's own tests |
//! | `alone` | what there is nothing to compare with |
//! | `caches` | sizes of qcow2's caches, also with `qemu-io` |

mod alone;
mod amending;
mod both;
mod caches;
mod check;
mod formats;
mod lines;
mod scripts;
mod themes;

/// One test a subcommand: each line of it leads to the same output, the same
/// exit code, and the same files.
macro_rules! alike {
    ($($test:ident: $lines:ident,)*) => {
        $(
            #[test]
            fn $test() {
                both::compare(lines::$lines);
            }
        )*
    };
}

alike! {
    the_tool_itself_is_alike: TOOL,
    info_is_alike: INFO,
    map_is_alike: MAP,
    compare_is_alike: COMPARE,
    create_is_alike: CREATE,
    resize_is_alike: RESIZE,
    dd_is_alike: DD,
    measure_is_alike: MEASURE,
    bench_is_alike: BENCH,
    convert_is_alike: CONVERT,
    commit_is_alike: COMMIT,
    rebase_is_alike: REBASE,
    snapshot_is_alike: SNAPSHOT,
    amend_is_alike: AMEND,
    bitmap_is_alike: BITMAP,
    check_is_alike: CHECK,
}
