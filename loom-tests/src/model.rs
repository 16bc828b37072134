//! Models as data, so that tables and checks can walk over them.

use std::fmt;

use crate::explore::{Bound, model, must_fail};
use crate::results;

/// A small concurrent program that must hold, and mistakes with which it must
/// not. Written with [`models!`](crate::models).
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The property of the block layer's contract: `H1`.
    pub property: &'static str,
    /// The name of the function.
    pub name: &'static str,
    /// How far it is explored, and its mutants with it.
    pub bound: Bound,
    /// Fewer executions than this, and the model does not race what it should.
    pub more_than: u64,
    /// The program, with the engine that ships.
    pub body: fn(),
    /// The same program with engines that make mistakes.
    pub mutants: &'static [Mutant],
    /// Mistakes that loom is known not to see.
    pub blind_to: &'static [Blind],
}

/// A model with one mistake that loom does not see. It must hold: when loom
/// learns to see it, somebody has to hear of that.
#[derive(Clone, Copy, Debug)]
pub struct Blind {
    /// The constant of `Faults` that is on.
    pub fault: &'static str,
    /// Why loom does not see it, and what else does.
    pub reason: &'static str,
    /// The program.
    pub body: fn(),
}

/// A model with one mistake in the engine.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// The constant of `Faults` that is on.
    pub fault: &'static str,
    /// How loom must report it.
    pub expected: Failure,
    /// The program.
    pub body: fn(),
}

/// How a mutant fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Every thread waits: a wake-up was lost, or a request is counted that
    /// nobody will end.
    Deadlock,
    /// A request looked at its child while a drain replaced it.
    Race,
    /// Two requests changed the same bytes at once.
    WriteRace,
    /// An assertion with this text.
    Panic(&'static str),
}

impl Failure {
    /// What loom's report contains.
    pub fn text(self) -> &'static str {
        match self {
            Failure::Deadlock => "deadlock; threads =",
            Failure::Race => "Causality violation: Concurrent read and write accesses",
            Failure::WriteRace => "Causality violation: Concurrent write accesses",
            Failure::Panic(text) => text,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Deadlock => f.write_str("deadlock"),
            Failure::Race => f.write_str("race of a read and a write"),
            Failure::WriteRace => f.write_str("race of two writes"),
            Failure::Panic(text) => write!(f, "\"{text}\""),
        }
    }
}

/// Explores one model of a list and all its mutants.
///
/// # Panics
/// When the model fails, or a mutant does not.
pub fn check(models: &[Model], name: &str) {
    let checked = models.iter().find(|model| model.name == name);
    let checked = checked.expect("the list and the tests are made by one macro");
    let holds = model(name, checked.bound, checked.more_than, checked.body);
    let killed = checked.mutants.iter().map(|mutant| {
        let full_name = format!("{name} with {}", mutant.fault);
        let found = must_fail(&full_name, checked.bound, mutant.expected, mutant.body);
        (mutant, found)
    });
    let killed = killed.collect();
    let unseen = checked.blind_to.iter().map(|blind| {
        let full_name = format!("{name} with {}, which loom did not see", blind.fault);
        let passed = model(&full_name, checked.bound, checked.more_than, blind.body);
        (blind, passed)
    });
    let unseen = unseen.collect();
    results::report(checked, holds, killed, unseen);
}

/// The mistakes that loom is known not to see.
pub fn blind(models: &[Model]) -> impl Iterator<Item = &'static str> {
    models
        .iter()
        .flat_map(|model| model.blind_to.iter().map(|blind| blind.fault))
}

/// The mistakes that the mutants of `models` make.
pub fn killed(models: &[Model]) -> impl Iterator<Item = &'static str> {
    models
        .iter()
        .flat_map(|model| model.mutants.iter().map(|mutant| mutant.fault))
}

/// Lists the models of a file, and makes a test of each.
///
/// ```text
/// models! {
///     "H1" a_function: Bound::Exhaustive, more than 100 executions, killing {
///         TestThenCount => Race,
///     } blind to {
///         SleepByWeakExchange => "why",
///     }
/// }
///
/// fn a_function<F: Faults>() { … }
/// ```
#[macro_export]
macro_rules! models {
    ($(
        $property:literal $model:ident: $bound:expr, more than $most:literal executions, killing {
            $($mutant:ident => $expected:expr),* $(,)?
        } $(blind to { $($blind:ident => $reason:literal),+ $(,)? })?
    )+) => {
        /// The models of this file.
        pub(crate) const MODELS: &[$crate::Model] = {
            #[allow(unused_imports, reason = "not every file fails in each way")]
            use $crate::Failure::{Deadlock, Panic, Race, WriteRace};
            &[$($crate::Model {
                property: $property,
                name: stringify!($model),
                bound: $bound,
                more_than: $most,
                body: $model::<$crate::NoFaults>,
                mutants: &[$($crate::Mutant {
                    fault: <$crate::mutants::$mutant as $crate::mutants::Mutation>::FAULT,
                    expected: $expected,
                    body: $model::<$crate::mutants::$mutant>,
                }),*],
                blind_to: &[$($($crate::Blind {
                    fault: <$crate::mutants::$blind as $crate::mutants::Mutation>::FAULT,
                    reason: $reason,
                    body: $model::<$crate::mutants::$blind>,
                }),+)?],
            }),+]
        };

        mod holds {
            $(
                #[test]
                fn $model() {
                    $crate::check(super::MODELS, stringify!($model));
                }
            )+
        }
    };
}
