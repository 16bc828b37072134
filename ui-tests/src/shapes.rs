//! The shapes in which somebody can try to violate a rule.
//!
//! A rule that holds for an argument need not hold for a field: a proof may be
//! kept, captured, sent or hidden behind `dyn`. So each rule is shown in each
//! of the [main shapes](Shape::MAIN), or [`REASONS`] says why one makes no
//! sense for it.

use std::collections::BTreeMap;

use crate::suite::Case;

/// What a program does with what it should not have, or has no more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shape {
    /// It is passed to a function, or left out.
    Argument,
    /// A closure captures it, or is called without it.
    Closure,
    /// It is kept in a struct: a driver, a device, a job.
    Field,
    /// It is kept in a static or a thread-local.
    Static,
    /// Another thread uses it, or lacks it.
    Thread,
    /// It is held across an `.await`, moved into a task, or missing there.
    Async,
    /// It is hidden behind `dyn`.
    TraitObject,
    /// A type parameter or a bound stands for it.
    Generic,
    /// A method is called on what is no proof.
    Receiver,
    /// It is returned to where it is not valid.
    Return,
    /// It is written down.
    Literal,
    /// It is used at the wrong time, twice, or after its end.
    Order,
    /// It is not used at all.
    Unused,
}

impl Shape {
    /// The shapes that each rule is shown in.
    pub const MAIN: [Shape; 8] = [
        Shape::Argument,
        Shape::Closure,
        Shape::Field,
        Shape::Static,
        Shape::Thread,
        Shape::Async,
        Shape::TraitObject,
        Shape::Generic,
    ];

    /// All of them, the main ones first.
    pub const ALL: [Shape; 13] = [
        Shape::Argument,
        Shape::Closure,
        Shape::Field,
        Shape::Static,
        Shape::Thread,
        Shape::Async,
        Shape::TraitObject,
        Shape::Generic,
        Shape::Receiver,
        Shape::Return,
        Shape::Literal,
        Shape::Order,
        Shape::Unused,
    ];

    /// Its name in a header and in the table.
    pub fn word(self) -> &'static str {
        match self {
            Shape::Argument => "argument",
            Shape::Closure => "closure",
            Shape::Field => "field",
            Shape::Static => "static",
            Shape::Thread => "thread",
            Shape::Async => "async",
            Shape::TraitObject => "trait-object",
            Shape::Generic => "generic",
            Shape::Receiver => "receiver",
            Shape::Return => "return",
            Shape::Literal => "literal",
            Shape::Order => "order",
            Shape::Unused => "unused",
        }
    }

    /// Reads what a header says: a word and a full stop.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Shape, String> {
        let word = text
            .strip_suffix('.')
            .ok_or(format!("`Shape: {text}` has no full stop"))?;
        let mut all = Shape::ALL.into_iter();
        all.find(|shape| shape.word() == word)
            .ok_or(format!("`{word}` is no shape"))
    }
}

/// Why a rule is not shown in one of the main shapes.
pub const REASONS: &[(&str, Shape, &str)] = &[
    (
        "R18",
        Shape::Argument,
        "what is passed on is not ignored; whoever gets it may ignore it, which is another case",
    ),
    (
        "R18",
        Shape::Field,
        "what is kept is not ignored, and nothing makes its owner look at it",
    ),
    (
        "R18",
        Shape::Static,
        "to keep a result for everybody is to use it, and `must_use` asks for no more",
    ),
    (
        "R19",
        Shape::TraitObject,
        "an object is made of a value, and `dyn Any` shows a proof only to who has put one in",
    ),
];

/// Rules about things that do not exist yet, and which.
pub const NOT_YET: &[(&str, &str)] = &[];

/// How many cases show a rule in a shape.
#[derive(Clone, Default, Debug)]
pub struct Counts(BTreeMap<(String, Shape), usize>);

impl Counts {
    /// Counts the cases that have a shape.
    pub fn of(cases: &[Case]) -> Counts {
        let shapes = cases.iter().filter_map(|case| {
            let shape = case.header.shape?;
            Some((case.header.rule.clone(), shape))
        });
        Counts::from_pairs(shapes)
    }

    fn from_pairs(pairs: impl IntoIterator<Item = (String, Shape)>) -> Counts {
        let mut counts = Counts::default();
        for pair in pairs {
            *counts.0.entry(pair).or_default() += 1;
        }
        counts
    }

    /// The cases that show `rule` in `shape`.
    pub fn get(&self, rule: &str, shape: Shape) -> usize {
        let key = (rule.to_owned(), shape);
        self.0.get(&key).copied().unwrap_or_default()
    }

    /// Everything that is wrong with the main shapes of `rules`.
    pub fn complaints(&self, rules: &[&str], reasons: &[(&str, Shape, &str)]) -> Vec<String> {
        let mut complaints = Vec::new();
        for &rule in rules {
            for shape in Shape::MAIN {
                let given = reasons
                    .iter()
                    .filter(|(r, s, _)| (*r, *s) == (rule, shape))
                    .count();
                let word = shape.word();
                match (self.get(rule, shape), given) {
                    (0, 0) => complaints.push(format!("{rule}, {word}: no case and no reason")),
                    (0, 1) | (1.., 0) => {}
                    (0, _) => complaints.push(format!("{rule}, {word}: several reasons")),
                    (1.., _) => complaints.push(format!("{rule}, {word}: a case and a reason")),
                }
            }
        }
        let unknown = reasons
            .iter()
            .filter(|(rule, shape, _)| !rules.contains(rule) || !Shape::MAIN.contains(shape));
        complaints.extend(unknown.map(|(rule, shape, _)| {
            let word = shape.word();
            format!("{rule}, {word}: a reason for what nobody asks")
        }));
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_one_word_and_a_full_stop() {
        for shape in Shape::ALL {
            assert_eq!(Shape::parse(&format!("{}.", shape.word())), Ok(shape));
        }
        for text in [
            "",
            ".",
            "closure",
            "Closure.",
            "closures.",
            "closure, field.",
        ] {
            assert!(Shape::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_main_shapes_come_first() {
        assert_eq!(Shape::ALL[..Shape::MAIN.len()], Shape::MAIN);
    }

    #[test]
    fn a_shape_needs_a_case_or_a_reason_and_not_both() {
        let all = Shape::MAIN.map(|shape| ("R5".to_owned(), shape));
        let full = Counts::from_pairs(all.clone());
        assert_eq!(full.complaints(&["R5"], &[]), [""; 0]);

        let but_one = Counts::from_pairs(all.into_iter().skip(1));
        let reason = ("R5", Shape::Argument, "why not");
        assert_eq!(but_one.complaints(&["R5"], &[reason]), [""; 0]);
        let missing = but_one.complaints(&["R5"], &[]);
        assert_eq!(missing, ["R5, argument: no case and no reason"]);
        let twice = but_one.complaints(&["R5"], &[reason, reason]);
        assert_eq!(twice, ["R5, argument: several reasons"]);
        let both = full.complaints(&["R5"], &[reason]);
        assert_eq!(both, ["R5, argument: a case and a reason"]);
    }

    #[test]
    fn a_reason_for_what_nobody_asks_is_noticed() {
        let none = Counts::default();
        assert_eq!(none.complaints(&[], &[]), [""; 0]);
        let rule = ("R5", Shape::Field, "why not");
        assert_eq!(none.complaints(&[], &[rule]).len(), 1);
        let minor = ("R5", Shape::Order, "why not");
        let found = none.complaints(&["R5"], &[minor]);
        assert_eq!(found.len(), Shape::MAIN.len() + 1);
    }
}
