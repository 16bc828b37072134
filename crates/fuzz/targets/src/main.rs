//! One program for all targets: `FUZZ_TARGET` says which.
#![no_main]

use std::sync::OnceLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let target = Target::find(&name).expect("a target of that name");
        let _ = TARGET.set(target);
    },
    |input: &[u8]| TARGET.get().expect("it was set").run(input)
);
