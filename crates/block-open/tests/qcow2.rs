//! Images in qcow2 format, by name and with options.

use std::path::Path;

use block_gs::{BlockLayer, BqlGuard, Node, Perm};
use block_open::{ImageSpec, Options, Value, for_filename, open};
use test_support::{backend, disk, flush};

/// Through a device that comes for that and goes.
fn read(bql: &mut BqlGuard, node: &Node, offset: u64) -> u8 {
    let disk = backend(bql, node, Perm::CONSISTENT_READ).expect("nobody objects");
    test_support::read(bql, &disk, offset, 1).expect("read")[0]
}

fn write(bql: &mut BqlGuard, node: &Node, offset: u64, byte: u8) {
    let disk = disk(bql, node);
    test_support::write(bql, &disk, offset, &[byte; 512]).expect("written");
    flush(bql, &disk).expect("flushed");
}

fn make(bql: &mut BqlGuard, path: &Path, options: &str, backing: Option<&str>) {
    let mut spec = ImageSpec::new(path.to_str().expect("text"), "qcow2").size(1 << 20);
    if !options.is_empty() {
        spec = spec.options(options);
    }
    if let Some(backing) = backing {
        spec = spec.base(backing).base_format("qcow2");
    }
    let planned = spec.plan(bql).expect("possible");
    planned.create_now(bql).expect("made");
}

fn by_name(bql: &mut BqlGuard, path: &Path, more: &str) -> Node {
    let options = Options::parse(more).expect("options");
    let options = for_filename(path.to_str().expect("text"), options).expect("a name");
    open(bql, options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_image_is_found_out_and_what_its_header_names_is_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let (base, top) = (directory.path().join("base"), directory.path().join("top"));
    BlockLayer::new().expect("a layer").enter(|bql| {
        make(bql, &base, "", None);
        make(bql, &top, "cluster_size=4096", Some("base"));
        let node = by_name(bql, &base, "");
        write(bql, &node, 4096, 7);
        drop(node);
        bql.poll(block_io::aio::Wait::No);
        let node = by_name(bql, &top, "");
        assert_eq!(node.view(bql).driver().format_name(), "qcow2");
        assert_eq!(read(bql, &node, 4096), 7);
        let below = node.view(bql).cow_node().expect("a backing image");
        assert!(!below.is_writable());
        drop(node);
        bql.poll(block_io::aio::Wait::No);
        let mut alone = Options::new();
        alone.set("driver", "qcow2");
        alone.set("file.driver", "file");
        alone.set("file.filename", top.to_str().expect("text"));
        alone.set("backing", Value::Null);
        let node = open(bql, alone).expect("opened");
        assert_eq!(read(bql, &node, 4096), 0);
    });
}

#[test]
fn a_missing_backing_image_is_said_to_be_missing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (base, top) = (directory.path().join("base"), directory.path().join("top"));
    BlockLayer::new().expect("a layer").enter(|bql| {
        make(bql, &base, "", None);
        make(bql, &top, "", Some("base"));
        std::fs::remove_file(&base).expect("removed");
        let options = for_filename(top.to_str().expect("text"), Options::new()).expect("a name");
        let error = open(bql, options)
            .expect_err("nothing is below")
            .to_string();
        let name = base.display();
        assert_eq!(
            error,
            format!(
                "Could not open backing file: Could not open '{name}': No such file or directory"
            )
        );
    });
}

#[test]
fn sizes_of_caches_are_refused_in_qemus_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let cases = [
        (
            "cache-size=1M,l2-cache-size=64k,refcount-cache-size=64k",
            "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time",
        ),
        (
            "cache-size=1M,l2-cache-size=2M",
            "l2-cache-size may not exceed cache-size",
        ),
        (
            "cache-size=1M,refcount-cache-size=2M",
            "refcount-cache-size may not exceed cache-size",
        ),
        (
            "l2-cache-entry-size=33k",
            "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
        ),
        (
            "l2-cache-entry-size=128k",
            "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
        ),
        ("refcount-cache-size=256T", "Refcount cache size too big"),
        (
            "overlap-check=constant,overlap-check.template=all",
            "Conflicting values for qcow2 options 'overlap-check' ('constant') and 'overlap-check.template' ('all')",
        ),
        (
            "overlap-check=blah",
            "Unsupported value 'blah' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all",
        ),
        (
            "cache-clean-interval=4294967296",
            "Cache clean interval too big",
        ),
    ];
    BlockLayer::new().expect("a layer").enter(|bql| {
        make(bql, &path, "", None);
        for (options, words) in cases {
            let options = Options::parse(&format!("driver=qcow2,{options}")).expect("options");
            let options = for_filename(path.to_str().expect("text"), options).expect("a name");
            let error = open(bql, options).expect_err(words);
            assert_eq!(error.to_string(), words);
        }
    });
}
