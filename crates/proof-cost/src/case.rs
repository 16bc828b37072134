//! What is compared with what.

use Variant::{Checked, Nothing, Proof, Value};

/// How a function is kept from being called where it must not be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Variant {
    /// By the proof, as in the block layer.
    Proof,
    /// By nothing. The other variants are compared with this one.
    Nothing,
    /// By a zero-sized proof that is passed by value, which the block layer
    /// does not do.
    Value,
    /// By a look at run time (`GLOBAL_STATE_CODE()`).
    Checked,
}

impl Variant {
    /// All of them, as tables show them.
    pub const ALL: [Variant; 4] = [Nothing, Proof, Value, Checked];

    /// The name of the function in its module.
    pub fn name(self) -> &'static str {
        match self {
            Proof => "proof",
            Nothing => "nothing",
            Value => "value",
            Checked => "checked",
        }
    }

    /// The variant called `name`.
    pub fn named(name: &str) -> Option<Variant> {
        Variant::ALL.into_iter().find(|v| v.name() == name)
    }
}

/// One kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Case {
    /// The module in [`pairs`](crate::pairs).
    pub name: &'static str,
    /// For tables.
    pub about: &'static str,
    /// Which variants there are.
    pub variants: &'static [Variant],
    /// Whether all the work is in functions of this crate, so that the machine
    /// code of the function says what there is to say.
    pub is_all_here: bool,
}

impl Case {
    /// All of them.
    pub const ALL: [Case; 7] = [
        Case {
            name: "callback",
            about: "a call with `&BqlGuard`",
            variants: &Variant::ALL,
            is_all_here: true,
        },
        Case {
            name: "twice",
            about: "two calls with `&mut BqlGuard`",
            variants: &Variant::ALL,
            is_all_here: true,
        },
        Case {
            name: "section",
            about: "a call with `&mut Drained`",
            variants: &[Nothing, Proof],
            is_all_here: true,
        },
        Case {
            name: "driver",
            about: "a driver's `read` with `Request`",
            variants: &[Nothing, Proof, Checked],
            is_all_here: true,
        },
        Case {
            name: "cell",
            about: "`BqlCell::get`",
            variants: &[Nothing, Proof, Checked],
            is_all_here: true,
        },
        Case {
            name: "lookup",
            about: "`node.view(bql).quiesce_count()`",
            variants: &[Nothing, Proof],
            is_all_here: false,
        },
        Case {
            name: "descend",
            about: "`request.file()?.read(..)` on a null device",
            variants: &[Nothing, Proof],
            is_all_here: false,
        },
    ];

    /// The case called `name`.
    pub fn named(name: &str) -> Option<Case> {
        Case::ALL.into_iter().find(|case| case.name == name)
    }
}
