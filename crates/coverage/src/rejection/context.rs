//! Where functions are called without the proof.

use super::call::Call;
use crate::proof::Proof;

/// A place without the proof, and how it tries to do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The name of the program.
    pub name: &'static str,
    /// Where the calls are, in words.
    pub what: &'static str,
    /// How it tries.
    pub way: Way,
    /// Whether home threads' functions belong there.
    pub is_home: bool,
}

/// How a context tries to do without the proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It passes what it has.
    Passes {
        /// The program up to the calls.
        head: &'static str,
        /// And after them.
        tail: &'static str,
        /// What it has, as a place and as a value.
        place: &'static str,
        /// As a value.
        value: &'static str,
    },
    /// It takes the proof along from where it was had: this, with `CALL` for
    /// the call, in a function that has `proof`, and an `iothread` and a
    /// `root`.
    Sends(&'static str),
}

/// All of them.
pub const CONTEXTS: [Context; 9] = [
    Context {
        name: "driver",
        what: "an I/O callback of a driver passes its `Request`",
        way: Way::Passes {
            head: "\
struct Driver;

impl DriverIo for Driver {
    fn read<'r>(&'r self, request: Request<'r>, offset: u64, into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::new(async move {
            let mut request = request.file()?;
            request.read(offset, into).await?;
",
            tail: "\
            Ok(())
        })
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::new(async move { request.file()?.length().await })
    }
}

fn main() {}
",
            place: "request",
            value: "request",
        },
        is_home: false,
    },
    Context {
        name: "bottom-half",
        what: "a bottom half of an iothread passes its `HomeThread`",
        way: Way::Passes {
            head: "\
fn main() {
    let iothread: AioContext = any();
    iothread.schedule(|home: &mut HomeThread<'_>| {
",
            tail: "    });\n}\n",
            place: "*home",
            value: "home",
        },
        is_home: true,
    },
    Context {
        name: "completion",
        what: "a completion in an iothread passes its `InFlight`",
        way: Way::Passes {
            head: "\
fn main() {
    let (iothread, root): (AioContext, Root) = any();
    iothread.spawn(async move {
        let mut memory = Buffer::zeroed(512);
        let mut in_flight = root.begin().await;
        let request = in_flight.request().expect(\"a medium\");
        request.read(0, memory.destination()).await.expect(\"bytes\");
",
            tail: "    });\n}\n",
            place: "in_flight",
            value: "in_flight",
        },
        is_home: false,
    },
    Context {
        name: "job",
        what: "the code of a job passes its `JobContext`",
        way: Way::Passes {
            head: "\
struct Code;

impl JobRun for Code {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        job.pause_point().await;
",
            tail: "        Ok(())\n    }\n}\n\nfn main() {}\n",
            place: "*job",
            value: "job",
        },
        is_home: false,
    },
    Context {
        name: "thread",
        what: "another thread passes the `AioContext` that it knows",
        way: Way::Passes {
            head: "\
fn main() {
    let mut context: AioContext = any();
    std::thread::spawn(move || {
",
            tail: "    });\n}\n",
            place: "context",
            value: "context",
        },
        is_home: false,
    },
    Context {
        name: "sent-driver",
        what: "the future of a driver's I/O callback takes the proof along",
        way: Way::Sends(
            "\
    let future = async move {
        CALL;
        Ok(())
    };
    drop(IoFuture::new(future));
",
        ),
        is_home: false,
    },
    Context {
        name: "sent-bottom-half",
        what: "a closure takes the proof to an iothread, as a bottom half",
        way: Way::Sends(
            "\
    iothread.schedule(move |_| {
        CALL;
    });
",
        ),
        is_home: false,
    },
    Context {
        name: "sent-task",
        what: "a future takes the proof to an iothread, and awaits a request first",
        way: Way::Sends(
            "\
    let task = async move {
        root.flush().await.expect(\"durable\");
        CALL;
    };
    iothread.spawn(task).detach();
",
        ),
        is_home: false,
    },
    Context {
        name: "sent-thread",
        what: "a closure takes the proof to another thread",
        way: Way::Sends(
            "\
    std::thread::spawn(move || {
        CALL;
    });
",
        ),
        is_home: false,
    },
];

impl Context {
    /// Whether a call is to be refused here. A bottom half is where functions
    /// of home threads belong.
    pub fn refuses(&self, call: &Call) -> bool {
        !(self.is_home && call.asked.proof == Proof::Home)
    }
}
