//! What the page of labels says of QEMU, where it can be seen on its binaries.
//!
//! A test of this file fails when QEMU does something else: then the page is to
//! be changed. Without QEMU 10.0.2 there is nothing to see, and it says so.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};
use test_support::skip;

/// Ends a program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the programs are there, of the version that the page is about.
fn is_there() -> bool {
    let programs = ["qemu-nbd", "qemu-io", "qemu-storage-daemon"];
    let missing = programs.into_iter().find(|program| {
        let version = Command::new(program).arg("--version").output();
        !version.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(" 10.0.2"))
    });
    if let Some(program) = missing {
        skip(&format!("there is no {program} 10.0.2"));
    }
    missing.is_none()
}

/// Serves an image, and returns when it listens.
fn serve(socket: &Path, image: &Path, more: &[&str]) -> Running {
    let mut command = Command::new("qemu-nbd");
    command.args(["-t", "-f", "raw", "-x", "e", "-k"]);
    command.arg(socket).args(more).arg(image);
    let server = Running(command.spawn().expect("it starts"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !socket.exists() {
        assert!(Instant::now() < deadline, "qemu-nbd does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    server
}

/// A storage daemon, and a way to talk to it.
struct Daemon {
    _running: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Daemon {
    fn start() -> Daemon {
        let mut command = Command::new("qemu-storage-daemon");
        command.args(["--chardev", "stdio,id=m", "--monitor", "chardev=m"]);
        command.args(["--object", "iothread,id=io0"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut daemon = Daemon {
            _running: Running(child),
            input,
            output,
        };
        daemon.ask("qmp_capabilities", json!({}));
        daemon
    }

    /// What it answers: what it returns, or an error.
    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.input, "{request}").expect("it reads");
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("it writes");
            assert!(read > 0, "the daemon has ended");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            if answer.get("return").is_some() || answer.get("error").is_some() {
                return answer;
            }
        }
    }

    fn succeed(&mut self, command: &str, arguments: Value) -> Value {
        let answer = self.ask(command, arguments);
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer["return"].clone()
    }
}

/// What `qemu-io` says of a request.
fn request(export: &str, command: &str) -> String {
    let mut io = Command::new("qemu-io");
    io.env("LC_ALL", "C")
        .args(["-f", "raw", "-c", command, export]);
    let output = io.output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Case L04. A node turns read-only beneath a parent that may write: an
/// iothread takes the flag away when it reconnects, and nobody asks the
/// permission system.
#[test]
fn a_reconnection_makes_a_node_read_only_under_its_writer() {
    if !is_there() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    let (image, socket, out) = (path("image"), path("server"), path("export"));
    fs::write(&image, vec![0; 1 << 20]).expect("an image");
    let server = serve(&socket, &image, &[]);

    let mut daemon = Daemon::start();
    let node = json!({
        "driver": "nbd", "node-name": "n", "export": "e",
        "server": {"type": "unix", "path": socket},
        "reconnect-delay": 60, "read-only": false, "auto-read-only": true,
    });
    daemon.succeed("blockdev-add", node);
    let address = json!({"addr": {"type": "unix", "data": {"path": out}}});
    daemon.succeed("nbd-server-start", address);
    let export = json!({
        "type": "nbd", "id": "x", "node-name": "n", "writable": true, "iothread": "io0",
    });
    daemon.succeed("block-export-add", export);
    let export = format!("nbd+unix:///n?socket={}", out.display());
    let state = |daemon: &mut Daemon| {
        let nodes = daemon.succeed("query-named-block-nodes", json!({}));
        let graph = daemon.succeed("x-debug-query-block-graph", json!({}));
        let perms = graph["edges"][0]["perm"].clone();
        (nodes[0]["ro"].clone(), perms)
    };
    let perms = json!(["write", "consistent-read"]);
    assert_eq!(state(&mut daemon), (json!(false), perms.clone()));
    assert!(request(&export, "write 0 512").contains("wrote 512/512"));

    drop(server);
    let _ = fs::remove_file(&socket);
    let _server = serve(&socket, &image, &["-r"]);
    // The request that reconnects fails otherwise.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let refused = request(&export, "write 0 512");
        assert!(refused.contains("write failed"), "{refused}");
        if refused.contains("Operation not permitted") {
            break;
        }
        assert!(Instant::now() < deadline, "{refused}");
    }
    assert!(request(&export, "read 0 512").contains("read 512/512"));
    assert_eq!(state(&mut daemon), (json!(true), perms));

    // And whoever comes next, for reading only, is refused for it.
    let reader = json!({"driver": "raw", "node-name": "r", "file": "n", "read-only": true});
    let answer = daemon.ask("blockdev-add", reader);
    assert_eq!(answer["error"]["desc"], "Block node is read-only");
}
