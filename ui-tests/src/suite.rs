//! The cases, as they lie in `cases/`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shapes::Shape;

/// What a case is evidence for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A `bad.rs` does not compile, its `good.rs` does.
    Rejected,
    /// An `accept.rs` compiles, although one might fear that it does not.
    Accepted,
    /// A `compiles.rs` compiles, although one might hope that it does not.
    Limit,
}

impl Kind {
    /// The file that carries the header of the case.
    pub fn main_file(self) -> &'static str {
        match self {
            Kind::Rejected => "bad.rs",
            Kind::Accepted => "accept.rs",
            Kind::Limit => "compiles.rs",
        }
    }

    /// The file that compiles: for a rejected case its twin.
    pub fn passing_file(self) -> &'static str {
        match self {
            Kind::Rejected => "good.rs",
            Kind::Accepted | Kind::Limit => self.main_file(),
        }
    }
}

/// One directory of `cases/`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of the directory.
    pub id: String,
    /// Where it is.
    pub dir: PathBuf,
    /// What it is evidence for.
    pub kind: Kind,
    /// What its header says.
    pub header: Header,
}

impl Case {
    /// The text of one of its files.
    ///
    /// # Errors
    /// That the file is missing.
    pub fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.dir.join(file)).map_err(|_| format!("{}: no {file}", self.id))
    }
}

/// The `//!` lines of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// `R5`, `A2`; empty for a limit.
    pub rule: String,
    /// The rule, as this case shows it.
    pub sentence: String,
    /// Where QEMU has it.
    pub qemu: String,
    /// In which shape a rejected case tries it; the others need not say.
    pub shape: Option<Shape>,
    /// Why the compiler rejects or accepts it.
    pub why: String,
}

impl Header {
    /// Reads the header of a source text.
    ///
    /// # Errors
    /// What is missing from it.
    pub fn parse(source: &str) -> Result<(Kind, Header), String> {
        let lines: Vec<&str> = source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(str::trim)
            .collect();
        let text = lines.join(" ");
        let (rule, rest) = text.split_once(": ").ok_or("no `//! Rule R…:` line")?;
        let (kind, rule) = match rule.split_once(' ') {
            Some(("Rule", id)) => (Kind::Rejected, id),
            Some(("Accept", id)) => (Kind::Accepted, id),
            None if rule == "Limit" => (Kind::Limit, ""),
            _ => return Err(format!("`{rule}` is neither a rule, an accept nor a limit")),
        };
        let (sentence, rest) = rest.split_once(" QEMU: ").ok_or("no `QEMU:` line")?;
        let (rest, why) = rest.split_once(" Why: ").ok_or("no `Why:` line")?;
        let (qemu, shape) = match rest.split_once(" Shape: ") {
            Some((qemu, shape)) => (qemu, Some(Shape::parse(shape)?)),
            None if kind == Kind::Rejected => return Err("no `Shape:` line".to_owned()),
            None => (rest, None),
        };
        let header = Header {
            rule: rule.to_owned(),
            sentence: sentence.to_owned(),
            qemu: qemu.to_owned(),
            shape,
            why: why.to_owned(),
        };
        Ok((kind, header))
    }
}

/// The root of this package.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All cases, by name.
///
/// # Errors
/// What is wrong with the first one that cannot be read.
pub fn all() -> Result<Vec<Case>, String> {
    let dir = package().join("cases");
    let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut cases = Vec::new();
    for entry in entries {
        let dir = entry.map_err(|error| error.to_string())?.path();
        cases.push(read_case(&dir)?);
    }
    cases.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(cases)
}

fn read_case(dir: &Path) -> Result<Case, String> {
    let name = dir.file_name().and_then(|name| name.to_str());
    let id = name.ok_or("a case has no name")?.to_owned();
    let kinds = [Kind::Rejected, Kind::Accepted, Kind::Limit];
    let mut present = kinds
        .into_iter()
        .filter(|kind| dir.join(kind.main_file()).is_file());
    let (Some(kind), None) = (present.next(), present.next()) else {
        return Err(format!("{id}: needs one of bad.rs, accept.rs, compiles.rs"));
    };
    let source = fs::read_to_string(dir.join(kind.main_file())).map_err(|e| e.to_string())?;
    let (said, header) = Header::parse(&source).map_err(|error| format!("{id}: {error}"))?;
    if said != kind {
        return Err(format!(
            "{id}: the header is not one of {}",
            kind.main_file()
        ));
    }
    let is_finding = kind == Kind::Rejected && is_named_after(&id, &header.qemu);
    if !is_finding && !id.starts_with(&prefix(kind, &header.rule)) {
        return Err(format!(
            "{id}: the name begins neither with its rule nor with its finding"
        ));
    }
    Ok(Case {
        id,
        dir: dir.to_owned(),
        kind,
        header,
    })
}

/// How the name of a case begins: `r05-`, `a2-`, `limits-`.
fn prefix(kind: Kind, rule: &str) -> String {
    match kind {
        Kind::Rejected => format!("r{:0>2}-", rule.trim_start_matches('R')),
        Kind::Accepted => format!("a{}-", rule.trim_start_matches('A')),
        Kind::Limit => "limits-".to_owned(),
    }
}

/// Whether a case is the own case of the finding that its header begins with:
/// `v057-`.
fn is_named_after(id: &str, qemu: &str) -> bool {
    let finding = qemu.split(',').next().unwrap_or_default().to_lowercase();
    finding.starts_with('v') && id.split('-').next() == Some(&finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_may_take_several_lines() {
        let source = "//! Rule R5: A write\n//! needs a proof.\n//! QEMU: V1.\n//! Shape: field.\n//! Why: So.\nfn main() {}";
        let (kind, header) = Header::parse(source).expect("complete");
        assert_eq!(kind, Kind::Rejected);
        assert_eq!(header.rule, "R5");
        assert_eq!(header.sentence, "A write needs a proof.");
        assert_eq!((&*header.qemu, &*header.why), ("V1.", "So."));
        assert_eq!(header.shape, Some(Shape::Field));
        assert_eq!(prefix(kind, &header.rule), "r05-");
    }

    #[test]
    fn a_case_may_be_named_after_its_finding() {
        assert!(is_named_after("v057-insert", "V057, attach()."));
        assert!(!is_named_after("v058-insert", "V057, attach()."));
        assert!(!is_named_after(
            "v057-insert",
            "None recorded. V057, perhaps."
        ));
        assert!(!is_named_after("none-at-all", "None, recorded."));
    }

    #[test]
    fn a_header_without_its_parts_is_refused() {
        assert!(Header::parse("fn main() {}").is_err());
        assert!(Header::parse("//! Rule R5: Only this.").is_err());
        assert!(Header::parse("//! Rule R5: A. Why: B.").is_err());
        assert!(Header::parse("//! Rumour R5: A. QEMU: B. Why: C.").is_err());
    }

    #[test]
    fn a_rejected_case_says_in_which_shape() {
        let parse =
            |shape: &str| Header::parse(&format!("//! Rule R5: A. QEMU: B.{shape} Why: C."));
        assert!(parse(" Shape: trait-object.").is_ok());
        assert_eq!(parse(""), Err("no `Shape:` line".to_owned()));
        assert_eq!(parse(" Shape: odd."), Err("`odd` is no shape".to_owned()));
        let (_, accepted) = Header::parse("//! Accept A1: A. QEMU: B. Why: C.").expect("complete");
        assert_eq!((accepted.shape, &*accepted.qemu), (None, "B."));
    }
}
