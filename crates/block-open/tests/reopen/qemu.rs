//! The same commands, answered by QEMU's storage daemon.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value;
use test_support::Tool;

use crate::script::SCRIPTS;
use crate::{at, images};

struct Daemon {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(program: &Tool) -> Daemon {
        let mut process = program
            .command()
            .args(["--chardev", "stdio,id=m", "--monitor", "chardev=m"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let commands = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut daemon = Daemon {
            process,
            commands,
            answers,
        };
        daemon.ask("qmp_capabilities", "{}").expect("greeted");
        daemon
    }

    /// What the command returns, or the message of its error.
    fn ask(&mut self, command: &str, arguments: &str) -> Result<Value, String> {
        let line = format!(r#"{{"execute":"{command}","arguments":{arguments}}}"#);
        writeln!(self.commands, "{line}").expect("sent");
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("an answer");
            assert!(read > 0, "the daemon has ended");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(error["desc"].as_str().expect("a message").to_owned());
            }
        }
    }

    fn answer(&mut self, command: &str) -> String {
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        let outcome = match verb {
            "add" => self.ask("blockdev-add", argument),
            "object" => self.ask("object-add", argument),
            "reopen" => {
                let list = match argument.starts_with('[') {
                    true => argument.to_owned(),
                    false => format!("[{argument}]"),
                };
                self.ask("blockdev-reopen", &format!(r#"{{"options":{list}}}"#))
            }
            "del" => self.ask("blockdev-del", &format!(r#"{{"node-name":"{argument}"}}"#)),
            "state" => return self.state(),
            _ => panic!("{command}"),
        };
        outcome.err().unwrap_or_default()
    }

    fn state(&mut self) -> String {
        let nodes = self.ask("query-named-block-nodes", r#"{"flat":true}"#);
        let nodes = nodes.expect("answered");
        let describe = |node: &Value| {
            let text = |key: &str| node[key].as_str().expect(key).to_owned();
            let access = match node["ro"].as_bool().expect("ro") {
                true => "ro",
                false => "rw",
            };
            format!("{}:{access}:{}", text("node-name"), text("detect_zeroes"))
        };
        let mut all: Vec<String> = nodes
            .as_array()
            .expect("a list")
            .iter()
            .map(describe)
            .collect();
        all.sort();
        all.join(" ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn qemu_has_the_same_answers() {
    let Some(program) = Tool::find("qemu-storage-daemon") else {
        return;
    };
    let directory = images();
    let mut differences = Vec::new();
    for script in SCRIPTS {
        let mut daemon = Daemon::start(&program);
        for step in script.steps {
            let command = at(directory.path(), step.0);
            let expected = at(directory.path(), step.1);
            let answer = daemon.answer(&command);
            if answer != expected {
                let name = script.name;
                differences.push(format!("{name}: {command}\n  {expected:?}\n  {answer:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
