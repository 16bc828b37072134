//! Puts the programs that compile into one test binary: a program of its own
//! each, they would take minutes to link.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// The files of a case that compile.
const PROGRAMS: [&str; 3] = ["good.rs", "accept.rs", "compiles.rs"];

/// What must not be done in a binary of many; `tests/ui.rs` runs those that do.
const ENDS: &str = "process::exit";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=cases");
    let mut cases: Vec<_> = fs::read_dir("cases")?.collect::<io::Result<_>>()?;
    cases.sort_by_key(fs::DirEntry::file_name);
    let mut programs = String::new();
    for case in cases {
        for file in PROGRAMS {
            if let Ok(text) = fs::read_to_string(case.path().join(file))
                && !text.contains(ENDS)
            {
                let name = case.file_name().to_string_lossy().replace('-', "_");
                write_module(&mut programs, &name, &text);
            }
        }
    }
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("programs.rs"), programs)
}

/// The program as a module, and a test that runs it.
fn write_module(programs: &mut String, name: &str, text: &str) {
    let code = text.lines().filter(|line| !line.starts_with("//!"));
    let code = code.collect::<Vec<_>>().join("\n");
    let _ = writeln!(
        programs,
        "#[allow(warnings, clippy::all)]\nmod {name} {{\n{code}\n\
         #[test]\nfn runs() {{\n    main()\n}}\n}}\n"
    );
}
