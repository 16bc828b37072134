//! What is said to a block layer, and what it answers: to this one and to
//! QEMU's.

/// One command and its answer: empty if it succeeds, else the message. `@` is
/// the directory of the images, in answers too.
pub struct Step(pub &'static str, pub &'static str);

/// Commands that belong together, for a block layer of their own.
pub struct Script {
    pub name: &'static str,
    pub steps: &'static [Step],
}

/// The images that there are, each of 1 MiB.
pub const IMAGES: [&str; 2] = ["a.img", "b.img"];

const FILE: &str = r#"add {"driver":"file","node-name":"f","filename":"@/a.img"}"#;

pub const SCRIPTS: &[Script] = &[
    Script {
        name: "which node",
        steps: &[
            Step(FILE, ""),
            Step(
                r#"reopen {"driver":"file","filename":"@/a.img"}"#,
                "node-name not specified",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"x","filename":"@/a.img"}"#,
                "Failed to find node with node-name='x'",
            ),
            Step(
                r#"reopen {"node-name":"f"}"#,
                "Parameter 'options[0].driver' is missing",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f"}"#,
                "Parameter 'options[0].filename' is missing",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","foo":1}"#,
                "Parameter 'options[0].foo' is unexpected",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img"}"#,
                "",
            ),
        ],
    },
    Script {
        name: "options of every node",
        steps: &[
            Step(FILE, ""),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","read-only":true}"#,
                "",
            ),
            Step("state", "f:ro:off"),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","detect-zeroes":"on"}"#,
                "",
            ),
            Step("state", "f:rw:on"),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","detect-zeroes":"unmap"}"#,
                "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
            ),
            Step("state", "f:rw:on"),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","detect-zeroes":"unmap","discard":"unmap"}"#,
                "",
            ),
            Step("state", "f:rw:unmap"),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img"}"#,
                "",
            ),
            Step("state", "f:rw:off"),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","auto-read-only":true,"cache":{"no-flush":true}}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","force-share":false}"#,
                "Cannot change the option 'force-share'",
            ),
        ],
    },
    Script {
        name: "options of a file",
        steps: &[
            Step(FILE, ""),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/b.img"}"#,
                "Cannot change the option 'filename'",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","locking":"off"}"#,
                "Cannot change the option 'locking'",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","aio":"threads"}"#,
                "Cannot change the option 'aio'",
            ),
            Step(
                r#"reopen {"driver":"host_device","node-name":"f","filename":"@/a.img"}"#,
                "Cannot change the option 'driver'",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"f","file":"f"}"#,
                "Option 'filename' cannot be reset to its default value",
            ),
        ],
    },
    Script {
        name: "what was given has to be given again",
        steps: &[
            Step(
                r#"add {"driver":"file","node-name":"f","filename":"@/a.img","locking":"off"}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img"}"#,
                "Option 'locking' cannot be reset to its default value",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","locking":"off"}"#,
                "",
            ),
            Step(
                r#"add {"driver":"null-co","node-name":"n","size":1048576}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"null-co","node-name":"n"}"#,
                "Option 'size' cannot be reset to its default value",
            ),
            Step(
                r#"reopen {"driver":"null-co","node-name":"n","size":512}"#,
                "Cannot change the option 'size'",
            ),
            Step(
                r#"reopen {"driver":"null-co","node-name":"n","size":1048576,"read-zeroes":false}"#,
                "Cannot change the option 'read-zeroes'",
            ),
            Step(
                r#"reopen {"driver":"null-co","node-name":"n","size":1048576}"#,
                "",
            ),
        ],
    },
    Script {
        name: "a child that was described",
        steps: &[
            Step(
                r#"add {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"f","filename":"@/a.img"}}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"f","filename":"@/a.img"}}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","read-only":true,"file":{"driver":"file","node-name":"f","filename":"@/a.img"}}"#,
                "",
            ),
            Step("state", "f:ro:off r:ro:off"),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"f","filename":"@/a.img","read-only":true}}"#,
                "",
            ),
            Step("state", "f:ro:off r:rw:off"),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"f","filename":"@/b.img"}}"#,
                "Cannot change the option 'filename'",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"g","filename":"@/a.img"}}"#,
                "Cannot change the option 'node-name'",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":{"driver":"null-co","node-name":"f"}}"#,
                "Option 'filename' cannot be reset to its default value",
            ),
            Step("state", "f:ro:off r:rw:off"),
            Step(r#"reopen {"driver":"raw","node-name":"r","file":"f"}"#, ""),
            Step("state", "f:ro:off r:rw:off"),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"f","filename":"@/a.img"}}"#,
                "",
            ),
            Step("state", "f:rw:off r:rw:off"),
        ],
    },
    Script {
        name: "a child that was referred to",
        steps: &[
            Step(FILE, ""),
            Step(
                r#"add {"driver":"file","node-name":"g","filename":"@/b.img"}"#,
                "",
            ),
            Step(r#"add {"driver":"raw","node-name":"r","file":"f"}"#, ""),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":{"driver":"file","filename":"@/a.img"}}"#,
                "Cannot change the option 'file.driver'",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","read-only":true,"file":"f"}"#,
                "",
            ),
            Step("state", "f:rw:off g:rw:off r:ro:off"),
            Step(r#"reopen {"driver":"raw","node-name":"r","file":"g"}"#, ""),
            Step(r#"del f"#, ""),
            Step(r#"del g"#, "Block device g is in use"),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":"nobody"}"#,
                "Cannot find device='' nor node-name='nobody'",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":"r"}"#,
                "Making 'r' a file child of 'r' would create a cycle",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r"}"#,
                "Parameter 'options[0].file' is missing",
            ),
        ],
    },
    Script {
        name: "a described child gives way to another",
        steps: &[
            Step(
                r#"add {"driver":"file","node-name":"g","filename":"@/b.img"}"#,
                "",
            ),
            Step(
                r#"add {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"f","filename":"@/a.img"}}"#,
                "",
            ),
            Step(r#"reopen {"driver":"raw","node-name":"r","file":"g"}"#, ""),
            Step("state", "g:rw:off r:rw:off"),
        ],
    },
    Script {
        name: "a window",
        steps: &[
            Step(FILE, ""),
            Step(
                r#"add {"driver":"raw","node-name":"r","file":"f","offset":4096,"size":8192}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":"f","offset":512,"size":1024}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":"f","offset":512,"size":5}"#,
                "Specified size is not multiple of 512",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":"f","offset":2097152}"#,
                "Offset (2097152) cannot be greater than size of the containing file (1048576)",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":"f","offset":512,"size":1048576}"#,
                "The sum of offset (512) and size (1048576) has to be smaller or equal to the  actual size of the containing file (1048576)",
            ),
            Step(r#"reopen {"driver":"raw","node-name":"r","file":"f"}"#, ""),
        ],
    },
    Script {
        name: "filters",
        steps: &[
            Step(r#"object {"qom-type":"throttle-group","id":"one"}"#, ""),
            Step(r#"object {"qom-type":"throttle-group","id":"two"}"#, ""),
            Step(FILE, ""),
            Step(
                r#"add {"driver":"throttle","node-name":"t","throttle-group":"one","file":"f"}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"throttle","node-name":"t","throttle-group":"two","file":"f"}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"throttle","node-name":"t","throttle-group":"x","file":"f"}"#,
                "Throttle group 'x' does not exist",
            ),
            Step(
                r#"reopen {"driver":"throttle","node-name":"t","file":"f"}"#,
                "Parameter 'options[0].throttle-group' is missing",
            ),
            Step(
                r#"add {"driver":"copy-on-read","node-name":"c","file":"t"}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"copy-on-read","node-name":"c","file":"t"}"#,
                "Block format 'copy-on-read' used by node 'c' does not support reopening files",
            ),
            Step(
                r#"reopen {"driver":"throttle","node-name":"t","throttle-group":"two","file":"f","read-only":true}"#,
                "Read-only block node 't' cannot support read-write users",
            ),
            Step("state", "c:rw:off f:rw:off t:rw:off"),
        ],
    },
    Script {
        name: "several nodes",
        steps: &[
            Step(FILE, ""),
            Step(r#"add {"driver":"null-co","node-name":"n"}"#, ""),
            Step(
                r#"reopen [{"driver":"file","node-name":"f","filename":"@/a.img","read-only":true},{"driver":"null-co","node-name":"n","size":5}]"#,
                "Cannot change the option 'size'",
            ),
            Step("state", "f:rw:off n:rw:off"),
            Step(
                r#"reopen [{"driver":"file","node-name":"f","filename":"@/a.img","read-only":true},{"driver":"null-co","node-name":"n","read-only":true}]"#,
                "",
            ),
            Step("state", "f:ro:off n:ro:off"),
            Step(
                r#"reopen [{"driver":"null-co","node-name":"n","read-only":true},{"driver":"null-co","node-name":"n","read-only":false}]"#,
                "",
            ),
            Step("state", "f:ro:off n:rw:off"),
        ],
    },
    Script {
        name: "what a described child has is kept where it is referred to",
        steps: &[
            Step(
                r#"add {"driver":"raw","node-name":"r","file":{"driver":"file","node-name":"f","filename":"@/a.img"}}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","read-only":true,"file":"f"}"#,
                "",
            ),
            Step("state", "f:ro:off r:ro:off"),
            Step(r#"reopen {"driver":"raw","node-name":"r","file":"f"}"#, ""),
            Step("state", "f:ro:off r:rw:off"),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","read-only":false,"file":"f"}"#,
                "",
            ),
            Step("state", "f:rw:off r:rw:off"),
        ],
    },
    Script {
        name: "a writer above",
        steps: &[
            Step(FILE, ""),
            Step(r#"add {"driver":"raw","node-name":"r","file":"f"}"#, ""),
            Step(
                r#"add {"driver":"copy-on-read","node-name":"c","file":"r"}"#,
                "",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","read-only":true}"#,
                "Read-only block node 'f' cannot support read-write users",
            ),
            Step(
                r#"reopen {"driver":"raw","node-name":"r","file":"f","read-only":true}"#,
                "Read-only block node 'r' cannot support read-write users",
            ),
            Step(
                r#"reopen {"driver":"file","node-name":"f","filename":"@/a.img","auto-read-only":true}"#,
                "",
            ),
            Step("state", "c:rw:off f:rw:off r:rw:off"),
        ],
    },
];
