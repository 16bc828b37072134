//! Rows of the table whose layer here is another one than in QEMU.

use crate::table::Row;

/// Why functions that QEMU has in one layer are in another one here, by the
/// path that they have here.
type Reasons = &'static [(&'static str, &'static str)];

/// Of QEMU's global state, here elsewhere.
pub const NOT_GLOBAL_STATE: Reasons = &[
    (
        "<block_gs::Backend as Clone>::clone",
        "counts a handle, which any thread may do",
    ),
    (
        "<block_gs::Backend as Drop>::drop",
        "gives a handle up; the main loop looks whether it was the last",
    ),
    (
        "<block_gs::BlockLayer as Drop>::drop",
        "ends the layer, which nobody can be inside of then: that would borrow it",
    ),
    (
        "<block_gs::Node as Clone>::clone",
        "counts a handle, which any thread may do",
    ),
    (
        "<block_gs::Node as Drop>::drop",
        "gives a handle up; the main loop looks whether it was the last",
    ),
    (
        "<block_jobs::Job as Drop>::drop",
        "gives a handle up; the main loop has the job until it is over",
    ),
    (
        "block_gs::Backend::cancel",
        "waits for one request, which a home thread may do too",
    ),
    (
        "block_gs::Backend::references",
        "counts handles, which any thread may clone and drop",
    ),
    (
        "block_gs::Backend::wait",
        "waits for requests, which a home thread may do too",
    ),
    (
        "block_gs::BlockLayer::new",
        "makes the layer that lends the guard; who has it is its main thread",
    ),
    (
        "block_gs::ChildPermQuery::default_perms",
        "an arithmetic of flags, over a query that only the holder of the guard is given",
    ),
    (
        "block_gs::CreateImage::create",
        "is given a file and nothing of the graph, and is awaited wherever a job runs",
    ),
    (
        "block_gs::EdgeParent::describe",
        "a text, and the callback is shown nothing of the graph",
    ),
    (
        "block_gs::MainLoop::call",
        "is how a coroutine asks for a function of global state: the closure has the guard, \
         the coroutine awaits it",
    ),
    (
        "block_gs::Node::drained_by",
        "is how a coroutine asks for a change of the graph: the closure has the section",
    ),
    (
        "block_gs::NodeBuilder::new",
        "a plan; opening it takes the guard",
    ),
    (
        "block_io::DriverIo::change_backing_file",
        "writes the header of an image, which is I/O; the link itself is written in a section",
    ),
    (
        "block_io::Root::enable_io_status",
        "sets an atomic that requests read",
    ),
    (
        "block_io::Root::io_status",
        "reads an atomic that requests set",
    ),
    (
        "block_io::Root::poll_idle",
        "asks whether requests are in flight, by their count",
    ),
    ("block_io::Root::quiesce_count", "reads an atomic"),
    (
        "block_io::Root::reset_io_status",
        "sets an atomic that requests read",
    ),
    (
        "block_io::Root::set_on_error",
        "sets an atomic that requests read",
    ),
    (
        "block_io::begin_all",
        "an arithmetic of counters, which whoever has the graph calls",
    ),
    (
        "block_io::hand_over",
        "an arithmetic of counters, which whoever has the graph calls",
    ),
    (
        "block_jobs::Job::context",
        "reads what the job's code keeps current",
    ),
    (
        "block_open::Driver::find",
        "a search among drivers, which never change",
    ),
    (
        "block_open::Opener::allows",
        "looks at a list that is its caller's own",
    ),
    (
        "block_open::TypedImage::create",
        "is awaited by a job, which asks the main loop for what needs the guard",
    ),
    (
        "block_open::drivers",
        "a list of drivers, which never change",
    ),
    ("block_open::for_filename", "takes a text apart"),
    ("block_open::inherit", "a function of options"),
];

/// Of those that QEMU has in either main or home thread, here elsewhere.
pub const NOT_HOME: Reasons = &[
    ("block_gs::Drained::end", "a section is the main thread's"),
    (
        "block_gs::Drained::io",
        "is what the owner of a section asks for inside it",
    ),
    (
        "block_gs::EdgeParent::drained_poll",
        "is asked by who opens a section, in the main thread",
    ),
    (
        "block_gs::Node::drain",
        "opens a section, which only the main thread does",
    ),
    ("block_io::Request::block_status_above", AWAITED),
    ("block_io::Request::check", AWAITED),
    ("block_io::Request::invalidate_cache", AWAITED),
    ("block_io::Request::load_vmstate", AWAITED),
    ("block_io::Request::save_vmstate", AWAITED),
    ("block_io::Root::discard", AWAITED),
    ("block_io::Root::flush", AWAITED),
    ("block_io::Root::read", AWAITED),
    ("block_io::Root::scsi", AWAITED),
    ("block_io::Root::truncate", AWAITED),
    ("block_io::Root::write_compressed", AWAITED),
    ("block_io::Root::write_with", AWAITED),
    ("block_io::Root::write_zeroes", AWAITED),
    (
        "block_io::add_reason",
        "an arithmetic of counters, which whoever has the graph calls",
    ),
];

const AWAITED: &str =
    "is awaited; who wants to block passes it to `Backend::wait`, which takes the proof";

/// The rows of a layer in QEMU that have a place here, but in none of `layers`.
pub fn elsewhere<'r>(
    rows: &'r [Row],
    qemu: &'static str,
    layers: &'static [&'static str],
) -> impl Iterator<Item = &'r Row> {
    let all = rows.iter();
    let placed = all.filter(move |row| row.qemu == qemu && !row.place.is_empty());
    placed.filter(move |row| !layers.contains(&row.layer.as_str()))
}

/// Rows of QEMU's global state that are elsewhere here.
pub fn not_global_state(rows: &[Row]) -> impl Iterator<Item = &Row> {
    elsewhere(rows, "gs", &["gs"])
}

/// Rows of what QEMU has in main and home threads that are elsewhere here.
pub fn not_home(rows: &[Row]) -> impl Iterator<Item = &Row> {
    elsewhere(rows, "io_or_gs", &["home"])
}

/// Rows without a reason, and reasons without a row.
pub fn complaints(rows: &[Row]) -> Vec<String> {
    let global = of(not_global_state(rows).collect(), NOT_GLOBAL_STATE);
    global
        .into_iter()
        .chain(of(not_home(rows).collect(), NOT_HOME))
        .collect()
}

fn of(rows: Vec<&Row>, reasons: Reasons) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in &rows {
        if reason(row, reasons).is_none() {
            let (title, qemu, layer) = (row.title(), &row.qemu, &row.layer);
            complaints.push(format!("{title}: `{qemu}` in QEMU, `{layer}` here: why?"));
        }
    }
    for (place, _) in reasons {
        if !rows.iter().any(|row| row.place == *place) {
            complaints.push(format!("{place}: no row is there for this reason"));
        }
    }
    complaints
}

/// Why a row is elsewhere.
pub fn reason(row: &Row, reasons: Reasons) -> Option<&'static str> {
    let found = reasons.iter().find(|(place, _)| *place == row.place);
    found.map(|(_, why)| *why)
}
