//! Host locks: other nodes, and QEMU's tools, as the other side.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use block_common::error::errno;
use block_drivers::File;
use block_drivers::file::Locking;
use block_gs::{Backend, BqlGuard, GraphError, Node, Perm};

use crate::support::{READ_WRITE, Tool, in_layer, read};

const ALL: Perm = Perm::all();

/// Somebody who uses `node` and lets others do what is `shared`.
fn user(bql: &mut BqlGuard, node: &Node, perm: Perm, shared: Perm) -> Result<Backend, GraphError> {
    let backend = Backend::new(bql, "", perm, shared)?;
    backend.insert(bql, node)?;
    Ok(backend)
}

/// As [`user`], who leaves at once.
fn visit(bql: &mut BqlGuard, node: &Node, perm: Perm, shared: Perm) -> Result<(), GraphError> {
    let visitor = user(bql, node, perm, shared)?;
    leave(bql, visitor);
    Ok(())
}

/// Dropping would release the locks too, only later: when the main loop gets
/// to it.
fn leave(bql: &mut BqlGuard, user: Backend) {
    user.remove(bql);
}

/// The message and the hint, as a command prints them.
fn printed(error: &GraphError) -> String {
    let hint = error.hint().map(|hint| format!("\n{hint}"));
    format!("{error}{}", hint.unwrap_or_default())
}

fn conflict(words: &str, path: &Path) -> String {
    let path = path.display();
    format!("Failed to get {words} lock\nIs another process using the image [{path}]?")
}

#[test]
fn two_nodes_of_one_file_exclude_each_other_like_two_processes() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 4096).expect("created");
        let first = File::new(&path).open(bql, "first").expect("opened");
        let second = File::new(&path).open(bql, "second").expect("opened");

        let jealous = user(bql, &first, READ_WRITE, ALL - Perm::WRITE).expect("alone");
        let error = user(bql, &second, READ_WRITE, ALL).expect_err("not shared");
        assert_eq!(printed(&error), conflict("\"write\"", &path));
        assert_eq!(error.errno(), errno::EAGAIN);
        assert!(!error.to_string().contains('\n'), "QMP sends no hint");

        let reader = user(bql, &second, Perm::CONSISTENT_READ, ALL).expect("shared");
        let error = reader.set_perm(bql, Perm::CONSISTENT_READ, ALL - Perm::WRITE);
        let error = error.expect_err("there is a writer");
        assert_eq!(printed(&error), conflict("shared \"write\"", &path));

        // The refusals changed nothing; less is always granted.
        jealous.set_perm(bql, READ_WRITE, ALL).expect("shares more");
        reader.set_perm(bql, READ_WRITE, ALL).expect("now shared");
        leave(bql, jealous);
        let jealous = reader.set_perm(bql, READ_WRITE, ALL - Perm::WRITE);
        jealous.expect("the first is gone");
    });
}

#[test]
fn a_node_that_nobody_uses_locks_nothing() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 4096).expect("created");
        let first = File::new(&path).open(bql, "first").expect("opened");
        let second = File::new(&path).open(bql, "second").expect("opened");
        for node in [&first, &second, &first] {
            visit(bql, node, READ_WRITE, Perm::empty()).expect("alone");
        }
        drop(first);
        visit(bql, &second, READ_WRITE, Perm::empty()).expect("alone");
    });
}

#[test]
fn whoever_does_not_lock_is_not_noticed_and_notices_nobody() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 4096).expect("created");
        let open = |locking| File::new(&path).locking(locking);
        let locked = open(Locking::On).open(bql, "on").expect("opened");
        let free = open(Locking::Off).open(bql, "off").expect("opened");
        let _first = user(bql, &locked, READ_WRITE, Perm::empty()).expect("alone");
        let _second = user(bql, &free, READ_WRITE, Perm::empty()).expect("not asked");
        let third = open(Locking::Auto).open(bql, "auto").expect("opened");
        let _ = user(bql, &third, READ_WRITE, ALL).expect_err("the first is noticed");
    });
}

#[test]
fn force_share_is_for_readers_and_keeps_no_one_out() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 4096).expect("created");
        let error = File::new(&path).force_share(true).open(bql, "x");
        let text = "force-share=on can only be used with read-only images";
        assert_eq!(error.expect_err("writable").to_string(), text);

        let writer = File::new(&path).open(bql, "writer").expect("opened");
        let _writer = user(bql, &writer, READ_WRITE, ALL).expect("alone");
        let reader = File::new(&path).read_only(true);
        let plain = reader.clone().open(bql, "plain").expect("opened");
        let nothing = Perm::empty();
        let _ = user(bql, &plain, Perm::CONSISTENT_READ, nothing).expect_err("there is a writer");
        let forced = reader
            .force_share(true)
            .open(bql, "forced")
            .expect("opened");
        let reader = user(bql, &forced, Perm::CONSISTENT_READ, nothing).expect("forced");
        assert_eq!(read(bql, &reader, 0, 512).expect("read"), [0; 512]);
    });
}

#[test]
fn an_image_in_use_is_not_created_over() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        std::fs::write(&path, b"precious").expect("written");
        let node = File::new(&path)
            .read_only(true)
            .open(bql, "")
            .expect("opened");
        let reader = user(bql, &node, Perm::CONSISTENT_READ, ALL - Perm::WRITE);
        let reader = reader.expect("alone");
        let error = File::create_over(&path, 4096).expect_err("in use");
        assert_eq!(printed(&error), conflict("\"write\"", &path));
        assert_eq!(std::fs::read(&path).expect("read"), b"precious");
        leave(bql, reader);
        File::create_over(&path, 4096).expect("free");
    });
}

/// A `qemu-io` that has an image open until it is dropped.
struct Holder {
    child: Child,
    commands: Option<ChildStdin>,
}

impl Holder {
    fn new(tool: &Tool, arguments: &[&str]) -> Holder {
        let mut command = tool.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.args(arguments).spawn().expect("the tool starts");
        let mut output = child.stdout.take().expect("a pipe");
        // It asks for a command when the image is open.
        let mut seen = Vec::new();
        while !seen.ends_with(b"qemu-io> ") {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("it opens the image");
            seen.push(byte[0]);
        }
        let commands = child.stdin.take();
        Holder { child, commands }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(mut commands) = self.commands.take() {
            let _ = commands.write_all(b"quit\n");
        }
        let _ = self.child.wait();
    }
}

/// An image that QEMU does not share when it writes, unlike raw ones.
fn qcow2(qemu_img: &Tool, directory: &Path) -> std::path::PathBuf {
    let path = directory.join("image.qcow2");
    qemu_img.succeed(["create", "-f", "qcow2", path.to_str().expect("text"), "1M"]);
    path
}

#[test]
fn an_image_that_qemu_writes_is_refused_as_qemu_refuses_it() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = qcow2(&qemu_img, directory.path());
        let name = path.to_str().expect("text");
        let node = File::new(&path).open(bql, "").expect("opened");
        let holder = Holder::new(&qemu_io, &["-f", "qcow2", name]);

        let refused = user(bql, &node, READ_WRITE, ALL).expect_err("not shared");
        let output = qemu_io.run(["-f", "raw", "-c", "length", name]);
        let theirs = String::from_utf8(output.stderr).expect("text");
        let ours = printed(&refused);
        assert_eq!(
            theirs,
            format!("qemu-io: can't open device {name}: {ours}\n")
        );

        let reading = Perm::CONSISTENT_READ;
        let refused = user(bql, &node, reading, ALL - Perm::WRITE).expect_err("there is a writer");
        let output = qemu_io.run(["-r", "-f", "qcow2", "-c", "length", name]);
        let theirs = String::from_utf8(output.stderr).expect("text");
        let ours = printed(&refused);
        assert_eq!(
            theirs,
            format!("qemu-io: can't open device {name}: {ours}\n")
        );

        visit(bql, &node, reading, ALL).expect("both share that");
        let forced = File::new(&path).read_only(true).force_share(true);
        let forced = forced.open(bql, "").expect("opened");
        visit(bql, &forced, reading, Perm::empty()).expect("forced");
        let _ = File::create_over(&path, 0).expect_err("in use");

        drop(holder);
        visit(bql, &node, READ_WRITE, Perm::empty()).expect("it is gone");
        let info = qemu_img.succeed(["info", name]);
        assert!(info.contains("qcow2"), "it was not created over: {info}");
    });
}

#[test]
fn an_image_that_qemu_reads_is_shared_with_readers_only() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = qcow2(&qemu_img, directory.path());
        let name = path.to_str().expect("text");
        let node = File::new(&path).open(bql, "").expect("opened");
        let _holder = Holder::new(&qemu_io, &["-r", "-f", "qcow2", name]);
        let reader = visit(bql, &node, Perm::CONSISTENT_READ, ALL - Perm::WRITE);
        reader.expect("both only read");
        let error = user(bql, &node, READ_WRITE, ALL).expect_err("not shared");
        assert_eq!(printed(&error), conflict("\"write\"", &path));
    });
}

#[test]
fn qemu_refuses_an_image_that_we_use() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = qcow2(&qemu_img, directory.path());
        let name = path.to_str().expect("text");
        let node = File::new(&path).open(bql, "").expect("opened");
        let open = |arguments: &[&str]| {
            let output = qemu_io.run(arguments.iter().chain(&["-c", "length", name]));
            let complaint = String::from_utf8(output.stderr).expect("text");
            let start = format!("qemu-io: can't open device {name}: ");
            match output.status.success() {
                true => None,
                false => Some(complaint.replace(&start, "").trim_end().to_owned()),
            }
        };

        let reading = Perm::CONSISTENT_READ;
        let reader = user(bql, &node, reading, ALL - Perm::WRITE).expect("alone");
        let refused = Some(conflict("\"write\"", &path));
        assert_eq!(open(&["-f", "raw"]), refused);
        assert_eq!(open(&["-f", "raw", "-r"]), None);
        assert_eq!(open(&["-f", "qcow2", "-r"]), None);

        reader.set_perm(bql, READ_WRITE, ALL).expect("alone");
        let refused = Some(conflict("shared \"write\"", &path));
        assert_eq!(open(&["-f", "qcow2", "-r"]), refused);
        assert_eq!(open(&["-f", "qcow2", "-r", "-U"]), None);
        assert_eq!(
            open(&["-f", "raw"]),
            None,
            "it shares everything, and so do we"
        );
        let output = qemu_img.run(["resize", "-f", "qcow2", name, "2M"]);
        assert!(!output.status.success(), "in use");

        leave(bql, reader);
        assert_eq!(open(&["-f", "qcow2"]), None);
    });
}
