//! Reopening from options: what changes, what is refused, and that QEMU says
//! the same.

mod qemu;
mod script;

use std::path::Path;

use block_gs::{BlockLayer, BqlGuard, DetectZeroes, Node, nodes};
use block_open::{OpenError, Options, add, add_object, reopen};
use script::{IMAGES, SCRIPTS};

/// A directory with the images.
fn images() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for image in IMAGES {
        std::fs::write(directory.path().join(image), vec![0; 1 << 20]).expect("written");
    }
    directory
}

/// What this block layer answers.
fn answer(bql: &mut BqlGuard, command: &str) -> String {
    let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
    let parsed = || Options::from_json(argument).expect(argument);
    let outcome = match verb {
        "add" => add(bql, parsed()).map(drop),
        "object" => add_object(bql, parsed()),
        "reopen" => reopen(bql, Options::list_from_json(argument).expect(argument)),
        "del" => {
            let node = Node::find(bql, argument).expect(argument);
            node.delete(bql).map_err(OpenError::from)
        }
        "state" => return state(bql),
        _ => panic!("{command}"),
    };
    bql.poll(block_io::aio::Wait::No);
    outcome
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

/// Every node, in the order of their names.
fn state(bql: &BqlGuard) -> String {
    let describe = |node: block_gs::NodeView<'_>| {
        let info = node.info(bql);
        let detect = match info.detect_zeroes {
            DetectZeroes::Off => "off",
            DetectZeroes::On => "on",
            DetectZeroes::Unmap => "unmap",
        };
        let access = if info.read_only { "ro" } else { "rw" };
        format!("{}:{access}:{detect}", info.node_name)
    };
    let mut all: Vec<String> = nodes(bql).map(describe).collect();
    all.sort();
    all.join(" ")
}

fn at(directory: &Path, text: &str) -> String {
    text.replace('@', &directory.display().to_string())
}

#[test]
fn every_command_has_its_answer() {
    let directory = images();
    for script in SCRIPTS {
        BlockLayer::new().expect("a block layer").enter(|bql| {
            for step in script.steps {
                let command = at(directory.path(), step.0);
                let expected = at(directory.path(), step.1);
                assert_eq!(
                    answer(bql, &command),
                    expected,
                    "{}: {command}",
                    script.name
                );
            }
        });
    }
}

/// QEMU 10.0.2 ends with an assertion here, so it is not asked.
#[test]
fn nothing_to_reopen_is_nothing_to_do() {
    BlockLayer::new().expect("a block layer").enter(|bql| {
        reopen(bql, Vec::new()).expect("nothing");
    });
}
