//! Every function that takes a proof of global state, called where there is
//! none.
//!
//! The cases of `ui-tests` show how each rule of the contract is kept; here the
//! claim is "every function". Programs are generated that call all of them: in
//! a driver's I/O callback, in a bottom half of an iothread, in the completion
//! of a request, in the code of a job and in another thread, with what there is
//! in place of the proof; and in closures and tasks that take the proof along
//! to another thread. The compiler has to refuse each single call, for want of
//! the proof. The same calls, made of the same list with the proofs in hand,
//! have to compile: so nothing else is wrong with them.
//!
//! | module | what |
//! |---|---|
//! | [`call`] | the functions, and how each is called |
//! | [`hints`] | what has to be said by hand: types that the compiler cannot infer, where proofs are had |
//! | [`context`] | the places without a proof |
//! | [`program`] | the programs |
//! | [`compiler`] | what the compiler says about them |
//! | [`verdict`] | whether that is what it should say |
//! | [`layers`] | where a function's layer is another one than in QEMU |
//! | [`page`] | the page |
//!
//! `cargo run -p coverage -- programs DIR` writes the programs to a directory, as
//! a package that `cargo check` refuses.

pub mod call;
pub mod compiler;
pub mod context;
pub mod hints;
pub mod layers;
pub mod page;
pub mod program;
pub mod verdict;

/// The page that is made of it.
pub const PAGE: &str = "design/rejection.md";
