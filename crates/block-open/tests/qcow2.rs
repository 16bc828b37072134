//! Images in qcow2 format, by name and with options.

use std::path::Path;

use block_drivers::File;
use block_gs::{BlockLayer, BqlGuard, Node, Perm};
use block_open::{ImageSpec, OpenError, Opener, Options, Value, for_filename, open};
use block_qcow2::CreateOptions;
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

/// Makes an image whose header says what is in `change`.
fn image(bql: &mut BqlGuard, path: &Path, change: impl FnOnce(&mut CreateOptions)) {
    let mut options = CreateOptions::new(1 << 20);
    options.cluster_size = 4096;
    change(&mut options);
    let _ = std::fs::remove_file(path);
    File::create(path, 0).expect("created");
    let file = File::new(path).open(bql, "").expect("opened");
    let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
    let disk = backend(bql, &file, perm).expect("nobody objects");
    let made = options.write_to(disk.root(), None);
    bql.block_on(made).expect("made");
}

fn try_by_name(bql: &mut BqlGuard, path: &Path, opener: &mut Opener) -> Result<Node, OpenError> {
    let mut options = Options::new();
    options.set("read-only", true);
    let options = for_filename(path.to_str().expect("text"), options).expect("a name");
    opener.open(bql, options)
}

/// Whoever has looked at an image and seen no backing image trusts it; a name
/// that says more than where a file is would be looked at by nobody.
#[test]
fn the_name_of_a_data_file_is_a_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    BlockLayer::new().expect("a layer").enter(|bql| {
        for name in [r#"json:{"driver":"null-co","size":1048576}"#, "null-co://"] {
            image(bql, &path, |options| options.data_file = Some(name.into()));
            let opened = try_by_name(bql, &path, &mut Opener::new());
            let refused = opened.expect_err("there is no such file").to_string();
            assert!(refused.contains("No such file or directory"), "{refused}");
            assert!(refused.contains(name), "{refused}");
        }
    });
}

#[test]
fn who_asks_an_image_about_itself_opens_no_data_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    BlockLayer::new().expect("a layer").enter(|bql| {
        let name = Some("/not/there".to_owned());
        image(bql, &path, |options| options.data_file = name);
        let refused = try_by_name(bql, &path, &mut Opener::new());
        assert!(refused.is_err(), "its data is not there");
        let mut opener = Opener::new().without_io(true);
        let node = try_by_name(bql, &path, &mut opener).expect("opened");
        assert_eq!(node.length(bql), 1 << 20);
        assert!(node.view(bql).child("data-file").is_none());
        let disk = backend(bql, &node, Perm::CONSISTENT_READ).expect("nobody objects");
        // What is not stored is known all the same.
        test_support::read(bql, &disk, 0, 512).expect("zeroes");
        drop((disk, node));
        let mut options = for_filename(path.to_str().expect("text"), Options::new());
        if let Ok(options) = &mut options {
            options.set("read-only", false);
        }
        let opened = opener.open(bql, options.expect("a name"));
        assert!(opened.is_err(), "it cannot be written then");
    });
}

#[test]
fn what_a_user_says_holds_for_all_that_headers_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    BlockLayer::new().expect("a layer").enter(|bql| {
        make(bql, &path("base"), "", None);
        let data = path("data");
        let with_data = format!("data_file={}", data.display());
        make(bql, &path("middle"), &with_data, Some("base"));
        make(bql, &path("top"), "", Some("middle"));
        let node = by_name(bql, &path("top"), "cache.direct=on");
        let middle = node.view(bql).cow_node().expect("a backing image");
        let base = middle.cow_node().expect("another one");
        for image in [middle, base] {
            let direct = image.child("file").expect("a file").child();
            assert!(!direct.is_writable());
        }
        // A file that is only read is opened so.
        let data = middle.child("data-file").expect("it has one").child();
        let file = data.child("file").expect("a file").child();
        assert!(data.is_read_only() && file.is_read_only());
        drop(node);
        bql.poll(block_io::aio::Wait::No);
        // Somebody writes to the last of the chain, and nobody minds.
        let writer = by_name(bql, &path("base"), "");
        let held = disk(bql, &writer);
        let mut options = Options::new();
        options.set("read-only", true);
        let name = path("top");
        let name = name.to_str().expect("text");
        let refused = open(bql, for_filename(name, options.clone()).expect("a name"));
        assert!(refused.is_err(), "locked");
        options.set("force-share", true);
        let node = open(bql, for_filename(name, options).expect("a name"));
        node.expect("it is shared");
        drop(held);
    });
}

/// A few images each of which names the next one twice.
#[test]
fn there_is_an_end_to_what_headers_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: String| directory.path().join(name);
    BlockLayer::new().expect("a layer").enter(|bql| {
        image(bql, &path("0".into()), |_| {});
        let shell = path("shell".into());
        image(bql, &shell, |options| {
            options.data_file = Some("/not/there".into());
        });
        for number in 1..24 {
            let next = path((number - 1).to_string());
            let file = |path: &Path| format!(r#"{{"driver":"file","filename":"{}"}}"#, path.display());
            let next = format!(r#"{{"driver":"qcow2","file":{}}}"#, file(&next));
            let name = format!(
                r#"json:{{"driver":"qcow2","file":{},"data-file":{{"driver":"raw","file":{next}}},"backing":{next}}}"#,
                file(&shell)
            );
            image(bql, &path(number.to_string()), |options| options.backing_file = Some(name));
        }
        let few = try_by_name(bql, &path("3".into()), &mut Opener::new());
        drop(few.expect("they are few"));
        bql.poll(block_io::aio::Wait::No);
        let many = try_by_name(bql, &path("23".into()), &mut Opener::new());
        let refused = many.expect_err("there would be millions").to_string();
        assert!(refused.contains("more images than can be opened"), "{refused}");
    });
}
