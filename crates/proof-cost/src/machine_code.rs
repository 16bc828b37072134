//! The instructions of functions, from the assembly that the compiler writes.
//!
//! The assembly is made by `cargo rustc --release --emit asm` in one codegen
//! unit, and read as text, so nothing but cargo is needed. Names are those of
//! [`pairs`](crate::pairs), found in the mangled symbols.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Case, Variant};

/// Why there is no machine code to look at.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// Cargo could not be started, or a file not be read.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
    /// Cargo failed.
    #[error("cargo rustc failed: {0}")]
    Cargo(String),
    /// Cargo did not say where the result is.
    #[error("cargo rustc named no library of the package proof-cost")]
    NoArtifact,
    /// A function is not in the assembly.
    #[error("the assembly has no function {case}::{variant}")]
    NoFunction {
        /// Its module.
        case: &'static str,
        /// Its name.
        variant: &'static str,
    },
}

/// The assembly of this crate.
#[derive(Clone, Debug)]
pub struct Listing(String);

impl Listing {
    /// Compiles this crate, as releases are, and reads the assembly.
    ///
    /// # Errors
    /// [`CodeError::System`], [`CodeError::Cargo`], [`CodeError::NoArtifact`].
    pub fn compile() -> Result<Listing, CodeError> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command
            .args(["rustc", "--release", "--lib", "-q"])
            .args(["--message-format", "json-render-diagnostics"])
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .args(["--", "--emit", "asm", "-C", "codegen-units=1"])
            // As it is linked into a program: thread-locals without a call.
            .args(["-C", "relocation-model=pie"]);
        let system = |what: String| move |error| CodeError::System { what, error };
        let output = command.output().map_err(system("starting cargo".into()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(CodeError::Cargo(said.trim().to_owned()));
        }
        let file =
            assembly(&String::from_utf8_lossy(&output.stdout)).ok_or(CodeError::NoArtifact)?;
        let text = fs::read_to_string(&file).map_err(system(file.display().to_string()))?;
        Ok(Listing(text))
    }

    /// An assembly that is there already.
    pub fn new(text: &str) -> Listing {
        Listing(text.to_owned())
    }

    /// The instructions of one function.
    ///
    /// # Errors
    /// [`CodeError::NoFunction`]: it was inlined, or merged with another one.
    pub fn function(&self, case: &Case, variant: Variant) -> Result<Code, CodeError> {
        let (module, name) = (case.name, variant.name());
        let part = |name: &str| format!("{}{name}", name.len());
        let path = format!("5pairs{}{}", part(module), part(name));
        let is_start = |line: &&str| {
            let label = line.strip_suffix(':');
            label.is_some_and(|label| !label.starts_with(['.', '\t']) && label.contains(&path))
        };
        let mut lines = self.0.lines().skip_while(|line| !is_start(line));
        lines.next().ok_or(CodeError::NoFunction {
            case: module,
            variant: name,
        })?;
        let body = lines.take_while(|line| !line.trim_start().starts_with(".cfi_endproc"));
        let mnemonics = body.filter_map(mnemonic).map(str::to_owned).collect();
        Ok(Code { mnemonics })
    }
}

/// Where the assembly is, by the messages of cargo: beside the library, with
/// its name but for the `lib`.
fn assembly(messages: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut libraries = messages.filter_map(|message: serde_json::Value| {
        let is_ours = message["target"]["name"] == "proof_cost";
        let files = message["filenames"].as_array().filter(|_| is_ours)?.clone();
        let mut files = files
            .into_iter()
            .filter_map(|f| f.as_str().map(PathBuf::from));
        files.find(|file| file.file_stem().is_some_and(|stem| stem != "libproof_cost"))
    });
    let library = libraries.next()?;
    let stem = library
        .file_stem()?
        .to_str()?
        .strip_prefix("lib")?
        .to_owned();
    Some(library.with_file_name(stem).with_extension("s"))
}

/// The name of an instruction, if the line is one.
fn mnemonic(line: &str) -> Option<&str> {
    let instruction = line.strip_prefix('\t')?;
    let word = instruction.split_whitespace().next()?;
    (!word.starts_with(['.', '#'])).then_some(word)
}

/// The instructions of a function, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    mnemonics: Vec<String>,
}

impl Code {
    /// Their names.
    pub fn mnemonics(&self) -> &[String] {
        &self.mnemonics
    }

    /// How many there are, calls not followed.
    pub fn len(&self) -> usize {
        self.mnemonics.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mnemonics.is_empty()
    }

    /// How many of them look at something and decide, or call (x86-64):
    /// what a check at run time consists of.
    pub fn decisions(&self) -> usize {
        let decides = |name: &&String| {
            let name = name.as_str();
            name.starts_with(['j']) && name != "jmpq" && name != "jmp"
                || ["cmp", "test", "call", "ud2"]
                    .iter()
                    .any(|d| name.starts_with(d))
        };
        self.mnemonics.iter().filter(decides).count()
    }

    /// Whether this function does what `plain` does and decides nothing more:
    /// the same instructions but for `moves` that hand an argument on.
    ///
    /// # Errors
    /// What there is besides.
    pub fn is_free_of_checks(&self, plain: &Code, moves: usize) -> Result<(), String> {
        let (decisions, allowed) = (self.decisions(), plain.decisions());
        if decisions > allowed {
            return Err(format!("decides {decisions} times instead of {allowed}"));
        }
        if self.len() > plain.len() + moves {
            let (more, allowed) = (self.len() as isize - plain.len() as isize, moves);
            return Err(format!("{more} instructions more instead of {allowed}"));
        }
        let beyond = self.beyond(plain);
        let is_move = |name: &&str| name.starts_with("mov") || *name == "pushq" || *name == "popq";
        match beyond.keys().find(|name| !is_move(name)) {
            Some(other) => Err(format!("there is {other} besides")),
            None => Ok(()),
        }
    }

    /// What this one has more of than `other`, with how many more.
    pub fn beyond(&self, other: &Code) -> BTreeMap<&str, usize> {
        let mut more: BTreeMap<&str, isize> = BTreeMap::new();
        for name in &self.mnemonics {
            *more.entry(name).or_default() += 1;
        }
        for name in &other.mnemonics {
            if let Some(count) = more.get_mut(name.as_str()) {
                *count -= 1;
            }
        }
        let positive = |(name, n)| Some((name, usize::try_from(n).ok().filter(|&n| n > 0)?));
        more.into_iter().filter_map(positive).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
_ZN10proof_cost5pairs4cell7nothing17h0123456789abcdefE:
\t.cfi_startproc
.Ltmp1:
\tmovq\t(%rdi), %rax
\t#APP
\tretq
.Lfunc_end0:
\t.size\t_ZN10proof_cost5pairs4cell7nothing17h0123456789abcdefE, .Lfunc_end0
\t.cfi_endproc
_RNvNtNtCs1_10proof_cost5pairs4cell7checked:
\tcmpb\t$0, %fs:x
\tje\t.L2
\tmovq\t(%rdi), %rax
\tretq
\t.cfi_endproc
";

    #[test]
    fn functions_are_found_by_either_kind_of_mangling() {
        let listing = Listing::new(TEXT);
        let cell = Case::named("cell").expect("a case");
        let nothing = listing.function(&cell, Variant::Nothing).expect("there");
        assert_eq!(nothing.mnemonics(), ["movq", "retq"]);
        let checked = listing.function(&cell, Variant::Checked).expect("there");
        assert_eq!(checked.len(), 4);
        assert_eq!((checked.decisions(), nothing.decisions()), (2, 0));
        assert_eq!(checked.beyond(&nothing), [("cmpb", 1), ("je", 1)].into());
        let missing = listing
            .function(&cell, Variant::Proof)
            .expect_err("missing");
        assert_eq!(
            missing.to_string(),
            "the assembly has no function cell::proof"
        );
    }

    #[test]
    fn the_assembly_is_beside_the_library() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"proof_cost"},
            "filenames":["/t/release/libproof_cost.rlib","/t/release/deps/libproof_cost-1f.rmeta"]}"#;
        let file = assembly(&message.replace('\n', " ")).expect("named");
        assert_eq!(file, Path::new("/t/release/deps/proof_cost-1f.s"));
        assert_eq!(assembly("{}\nnoise\n"), None);
    }
}
