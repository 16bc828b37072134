//! What is wrong with the table, or with the code.

use std::collections::BTreeSet;

use crate::api::Api;
use crate::exercise::{Body, Tests};
use crate::proof::Proof;
use crate::table::Row;

/// How a row that has no place explains itself.
pub const REASONS: [&str; 3] = [
    "replaced by ",
    "not needed because ",
    "out of scope because ",
];

/// How many rows the inventory has: functions and callbacks.
pub const ROWS: usize = 789;

/// Whether functions of a layer take this proof.
fn fits(layer: &str, proof: Proof) -> bool {
    match layer {
        "gs" => matches!(proof, Proof::Shared | Proof::Exclusive | Proof::Section),
        "io" => matches!(proof, Proof::Request | Proof::None),
        "home" => proof == Proof::Home,
        "job" => proof == Proof::Job,
        "any" | "common" => proof == Proof::None,
        _ => false,
    }
}

/// Everything that is wrong with the rows.
pub fn complaints(rows: &[Row], api: &Api) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for row in rows {
        if !seen.insert((&row.owner, &row.name)) {
            complaints.push(format!("{}: there twice", row.title()));
        }
        match row.place.as_str() {
            "" => complaints.extend(absent(row)),
            _ => complaints.extend(present(row, api)),
        }
    }
    complaints
}

fn absent(row: &Row) -> Option<String> {
    let is_reason = REASONS.iter().any(|reason| row.why.starts_with(reason));
    let rest = [&row.layer, &row.proof, &row.tests];
    if !is_reason {
        Some(format!(
            "{}: not there, and no reason: `{}`",
            row.title(),
            row.why
        ))
    } else if rest.iter().any(|cell| !cell.is_empty()) {
        Some(format!(
            "{}: not there, but has a layer, proof or test",
            row.title()
        ))
    } else {
        None
    }
}

fn present(row: &Row, api: &Api) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |what: String| complaints.push(format!("{}: {what}", row.title()));
    let Some(proof) = Proof::parse(&row.proof) else {
        complain(format!("`{}` is no proof", row.proof));
        return complaints;
    };
    if !fits(&row.layer, proof) {
        complain(format!("`{proof}` is no proof of layer `{}`", row.layer));
    }
    for place in places(&row.place) {
        let function = api.function(place).map(|function| function.proof);
        match function.or_else(|| Some(api.implementation(place)?.proof)) {
            Some(taken) if taken != proof => {
                complain(format!("{place} takes `{taken}`, not `{proof}`"));
            }
            Some(_) => {}
            None if api.has(place) => {}
            None => complain(format!("there is no {place}")),
        }
    }
    complaints
}

/// Whether a test, or a helper that it calls, has the name of a function, and,
/// where functions of other types have it too, beside it the name of its type,
/// as `Request` or `request`, or a function that returns one. What is nobody's
/// method has to be called as such. A callback is exercised where a driver that
/// has it is named; what a trait of the language does, where its type is.
///
/// `reached` is what [`Tests::reached`] says of it.
pub fn exercises(api: &Api, tests: &Tests, reached: &[&Body], place: &str) -> bool {
    if let Some(implementation) = api.implementation(place) {
        let (owner, word) = (&implementation.owner, implementation.word());
        return reached
            .iter()
            .any(|body| body.words.contains(word) && body.speaks_of(owner, reached, api));
    }
    let mut path = place.rsplit("::");
    let name = path.next().unwrap_or_default();
    let owner = path.next().unwrap_or_default();
    if api.function(place).is_some_and(|f| f.is_callback) {
        return tests.implements(reached, owner, name);
    }
    if api.is_only_free_one(place) {
        return tests.calls_free(reached, owner, name);
    }
    let is_ambiguous = api.is_ambiguous(place);
    reached.iter().any(|body| {
        body.words.contains(name) && (!is_ambiguous || body.speaks_of(owner, reached, api))
    })
}

/// The places of a cell: they are separated by spaces, but `<T as Drop>::drop`
/// has some of its own.
pub fn places(cell: &str) -> Vec<&str> {
    let mut places = Vec::new();
    let mut rest = cell.trim();
    while !rest.is_empty() {
        let from = match rest.starts_with('<') {
            true => rest.find('>').unwrap_or(0),
            false => 0,
        };
        let end = rest[from..].find(' ').map_or(rest.len(), |at| from + at);
        places.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    places
}

/// What is wrong with the tests that the rows name: each must be there, and
/// call something of that name, or if it is a callback, have a driver with it.
pub fn complaints_about_tests(rows: &[Row], api: &Api, tests: &Tests) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows {
        for test in row.tests.split(' ').filter(|test| !test.is_empty()) {
            if !tests.has(test) {
                complaints.push(format!("{}: there is no test {test}", row.title()));
                continue;
            }
            let mut places = places(&row.place).into_iter();
            let reached = tests.reached(test, api);
            let is_called = places.any(|place| exercises(api, tests, &reached, place));
            if !is_called {
                let place = &row.place;
                complaints.push(format!("{}: {test} names none of {place}", row.title()));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: &str, layer: &str, proof: &str, why: &str) -> Row {
        Row {
            name: "bdrv_x".to_owned(),
            owner: String::new(),
            area: "graph".to_owned(),
            qemu: "gs".to_owned(),
            place: place.to_owned(),
            layer: layer.to_owned(),
            proof: proof.to_owned(),
            tests: String::new(),
            why: why.to_owned(),
        }
    }

    fn api() -> Api {
        let mut api = Api::default();
        let text = "pub fn f(bql: &BqlGuard) {}";
        let file = syn::parse_file(text).expect("it parses");
        api.add("k", &file.items, &BTreeSet::new());
        api
    }

    fn complaint(row: Row) -> String {
        complaints(&[row], &api()).join("; ")
    }

    #[test]
    fn rows_that_fit_the_code_are_fine() {
        assert_eq!(complaint(row("k::f", "gs", "&BqlGuard", "")), "");
        assert_eq!(complaint(row("", "", "", "replaced by `Clone`")), "");
    }

    #[test]
    fn what_does_not_fit_is_noticed() {
        for (row, words) in [
            (row("k::g", "gs", "&BqlGuard", ""), "there is no k::g"),
            (row("k::f", "gs", "&mut BqlGuard", ""), "takes `&BqlGuard`"),
            (row("k::f", "io", "&BqlGuard", ""), "no proof of layer"),
            (row("k::f", "gs", "bql", ""), "is no proof"),
            (row("", "", "", "later"), "no reason"),
            (row("", "gs", "", "replaced by x"), "but has a layer"),
        ] {
            let complaint = complaint(row);
            assert!(complaint.contains(words), "{complaint}");
        }
        let twice = [
            row("k::f", "gs", "&BqlGuard", ""),
            row("k::f", "gs", "&BqlGuard", ""),
        ];
        assert_eq!(complaints(&twice, &api()), ["bdrv_x(): there twice"]);
    }

    #[test]
    fn places_are_told_apart_though_some_have_spaces() {
        let cell = "k::f <k::Node as Drop>::drop k::g";
        assert_eq!(places(cell), ["k::f", "<k::Node as Drop>::drop", "k::g"]);
        assert!(places("").is_empty());
    }

    #[test]
    fn what_traits_do_is_exercised_beside_the_type() {
        let mut api = api();
        let text = "pub struct Node(Arc<u8>); #[derive(Clone)] pub struct Job(u8);";
        let file = syn::parse_file(text).expect("it parses");
        api.add("k", &file.items, &BTreeSet::new());
        let mut tests = Tests::default();
        let text = "#[test]\nfn a() { drop(node); let b = a.clone(); }";
        tests.add("t.rs", text).expect("it parses");
        let of = |place| exercises(&api, &tests, &tests.reached("t.rs::a", &api), place);
        assert!(of("<k::Node as Drop>::drop"));
        assert!(!of("<k::Job as Clone>::clone"));
        assert_eq!(
            complaint_of(&api, "<k::Job as Drop>::drop"),
            "bdrv_x(): there is no <k::Job as Drop>::drop"
        );
        assert_eq!(complaint_of(&api, "<k::Node as Drop>::drop"), "");
    }

    fn complaint_of(api: &Api, place: &str) -> String {
        complaints(&[row(place, "any", "none", "")], api).join("; ")
    }

    #[test]
    fn tests_that_are_not_there_or_call_something_else_are_noticed() {
        let mut tests = Tests::default();
        tests
            .add(
                "crates/k/tests/t.rs",
                "#[test]\nfn a() { f(1); }\nfn b() { f(1); }",
            )
            .expect("it parses");
        let mut with = row("k::f", "gs", "&BqlGuard", "");
        with.tests = "crates/k/tests/t.rs::a".to_owned();
        assert!(complaints_about_tests(&[with.clone()], &api(), &tests).is_empty());
        with.tests = "crates/k/tests/t.rs::b".to_owned();
        assert_eq!(
            complaints_about_tests(&[with.clone()], &api(), &tests).len(),
            1
        );
        let mut other = api();
        let text = "impl Node { pub fn f(&self, bql: &BqlGuard) {} }";
        let file = syn::parse_file(text).expect("it parses");
        other.add("k", &file.items, &BTreeSet::new());
        with.tests = "crates/k/tests/t.rs::a".to_owned();
        with.place = "k::Node::f".to_owned();
        assert_eq!(
            complaints_about_tests(&[with.clone()], &other, &tests).len(),
            1
        );
        tests
            .add(
                "crates/k/src/u.rs",
                "#[test]\nfn a() { f(1); x.g(); }\nfn c() { f(1); }",
            )
            .expect("it parses");
        with.tests = "crates/k/src/u.rs::a".to_owned();
        with.place = "k::f".to_owned();
        assert!(complaints_about_tests(&[with.clone()], &other, &tests).is_empty());
        with.place = "k::g".to_owned();
        assert_eq!(complaints_about_tests(&[with], &api(), &tests).len(), 1);
    }
}
