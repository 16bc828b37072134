//! What a proof costs in machine code.
//!
//! [`pairs`] has the same small functions several times over: with a proof as
//! this block layer takes it, with nothing in its place, and with a check at
//! run time, as C has it. [`machine_code`] reads what the compiler makes of
//! them, and [`repeat`] runs them, for whoever counts what is executed.
//!
//! | module | what |
//! |---|---|
//! | [`pairs`] | the functions; [`plain`] what those without a proof work on |
//! | [`case`] | their names |
//! | [`machine_code`] | their instructions, from the assembly of a release build |
//! | `work` | running one of them many times |

#![forbid(unsafe_code)]

pub mod case;
pub mod machine_code;
pub mod pairs;
pub mod plain;
mod work;

pub use case::{Case, Variant};
pub use work::{WorkError, repeat};
