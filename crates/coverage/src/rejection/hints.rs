//! What has to be said by hand: types that the compiler cannot infer, and
//! where proofs are had.

/// Where a proof is had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the main loop, from `bql: &mut BqlGuard`.
    MainLoop,
    /// In a bottom half, as `home: &mut HomeThread<'_>`.
    Home,
    /// In `block-gs` only, as `gs: &mut GsAccess`.
    Layer,
}

/// A proof where it is had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The name of its type.
    pub name: &'static str,
    /// The type.
    pub ty: &'static str,
    /// The expression that is it.
    pub expression: &'static str,
    /// Where.
    pub place: Place,
}

const fn held(
    name: &'static str,
    ty: &'static str,
    expression: &'static str,
    place: Place,
) -> Held {
    Held {
        name,
        ty,
        expression,
        place,
    }
}

/// Each proof, and where it is had.
const HELD: [Held; 12] = {
    use Place::{Home, Layer, MainLoop};
    [
        held("BqlGuard", "BqlGuard", "*bql", MainLoop),
        held(
            "Drained",
            "Drained<'_>",
            "any::<Node>().drain(bql)",
            MainLoop,
        ),
        held(
            "DrainedSet",
            "DrainedSet<'_>",
            "drain_many(bql, any::<Vec<Node>>())",
            MainLoop,
        ),
        held("DrainedAll", "DrainedAll<'_>", "drain_all(bql)", MainLoop),
        held(
            "DrainedBackend",
            "DrainedBackend<'_>",
            "any::<Backend>().drain(bql)",
            MainLoop,
        ),
        held(
            "Transaction",
            "Transaction<'_>",
            "any::<Node>().drain(bql).transaction()",
            MainLoop,
        ),
        // A reopen lends it to the driver; nobody else can have one.
        held(
            "ReopenCommit",
            "ReopenCommit<'_>",
            "any::<ReopenCommit<'_>>()",
            MainLoop,
        ),
        held(
            "NodeView",
            "NodeView<'_>",
            "any::<Node>().view(bql)",
            MainLoop,
        ),
        held(
            "EdgeView",
            "EdgeView<'_>",
            "any::<EdgeId>().view(bql).expect(\"an edge\")",
            MainLoop,
        ),
        held(
            "BitmapView",
            "BitmapView<'_>",
            "any::<DirtyBitmap>().view(bql).expect(\"a bitmap\")",
            MainLoop,
        ),
        held("HomeThread", "HomeThread<'_>", "*home", Home),
        held("GsAccess", "GsAccess", "*gs", Layer),
    ]
};

/// Where the proof of this type is had.
pub fn proof(name: &str) -> Option<&'static Held> {
    HELD.iter().find(|held| held.name == name)
}

/// The types that functions with the trait for proofs are called with.
pub const OF_THE_TRAIT: [&str; 2] = ["BqlGuard", "HomeThread"];

/// What the generated programs take of the block layer.
pub const IMPORTS: &str = "\
use block_gs::{
    Backend, BitmapView, BlockLayer, BqlGuard, DirtyBitmap, Drained, DrainedAll, DrainedBackend,
    DrainedSet, EdgeId, EdgeView, Node, NodeView, ReopenCommit, Transaction, drain_all, drain_many,
};
use block_io::aio::{AioContext, HomeThread};
use block_io::{Buffer, Destination, DriverIo, GsAccess, IoError, IoFuture, Request, Root};
use block_jobs::{Failure, JobContext, JobRun};
use std::future::Ready;
";

/// Types that take parameters, or that stand in a module.
const PARENTS: [(&str, &str); 7] = [
    ("block_gs::BqlCell", "block_gs::BqlCell::<u32>"),
    (
        "block_drivers::NullOptions",
        "block_drivers::NullOptions::<false>",
    ),
    ("block_io::HomeThread", "block_io::aio::HomeThread"),
    ("block_io::BitmapReader", "block_io::dirty::BitmapReader"),
    ("block_io::DirtyBitmaps", "block_io::dirty::DirtyBitmaps"),
    (
        "block_io::FrozenContents",
        "block_io::dirty::FrozenContents",
    ),
    ("block_io::Tracker", "block_io::dirty::Tracker"),
];

/// Functions of `block_gs` that stand in its module `snapshot`.
const OF_SNAPSHOTS: [&str; 7] = [
    "block_gs::all_have_snapshot",
    "block_gs::check_snapshots",
    "block_gs::create_snapshots",
    "block_gs::delete_snapshots",
    "block_gs::find_vmstate_node",
    "block_gs::goto_snapshots",
    "block_gs::snapshot_nodes",
];

/// The module that a function stands in, if that is not the front page of its
/// crate.
pub fn module(path: &str) -> Option<&'static str> {
    OF_SNAPSHOTS.contains(&path).then_some("block_gs::snapshot")
}

/// How the type of a function is written.
pub fn parent(path: &str) -> &str {
    let found = PARENTS.iter().find(|(known, _)| *known == path);
    found.map_or(path, |(_, written)| written)
}

/// A type of a trait whose callbacks are called: an object of it where there
/// can be one.
pub fn implementor(path: &str) -> String {
    match path {
        "block_jobs::JobDriver" => format!("<ui_tests::Amend as {path}>"),
        _ => format!("<dyn {path}>"),
    }
}

/// Types for arguments of which a function says only what they can do.
const ARGUMENTS: [(&str, &str); 9] = [
    (
        "impl AsyncFnOnce(&Root)->Result<T,IoError>",
        "fn(&Root) -> Ready<Result<u32, IoError>>",
    ),
    (
        "impl AsyncFnOnce(Request<'_>)->T",
        "fn(Request<'_>) -> Ready<u32>",
    ),
    (
        "impl Fn(&BqlGuard,&JobEvent)+Send+Sync+'static",
        "fn(&BqlGuard, &block_jobs::JobEvent)",
    ),
    ("impl FnMut(&BqlGuard)->bool", "fn(&BqlGuard) -> bool"),
    (
        "impl FnMut(&mut HomeThread<'_>,Ready)+Send+'static",
        "fn(&mut HomeThread<'_>, block_io::aio::Ready)",
    ),
    ("impl FnOnce(&mut BqlGuard)->R", "fn(&mut BqlGuard) -> u32"),
    (
        "impl FnOnce(&str,u64,u64)+Send+'static",
        "fn(&str, u64, u64)",
    ),
    ("impl Future<Output=T>", "Ready<u32>"),
    ("impl IntoIterator<Item=Node>", "Vec<Node>"),
];

/// What is passed for an argument of this type.
pub fn argument(ty: &str) -> Option<&'static str> {
    let found = ARGUMENTS.iter().find(|(known, _)| *known == ty);
    found.map(|(_, hint)| *hint)
}

/// Types for parameters, by their bounds.
const PARAMETERS: [(&str, &str); 7] = [
    ("", "u32"),
    ("Any+Send", "u32"),
    ("AsFd+Send+Sync+'static", "std::fs::File"),
    ("BlockDriver", "block_drivers::Raw"),
    ("Default+Send+'static", "u32"),
    ("Future", "Ready<u32>"),
    ("JobDriver", "ui_tests::Amend"),
];

/// The type for a parameter with these bounds.
pub fn parameter(bounds: &str) -> Option<&'static str> {
    let found = PARAMETERS.iter().find(|(known, _)| *known == bounds);
    found.map(|(_, hint)| *hint)
}

/// How many types, modules and implementors are named by hand.
pub const NAMED: usize =
    PARENTS.len() + OF_SNAPSHOTS.len() + ARGUMENTS.len() + PARAMETERS.len() + 1;
