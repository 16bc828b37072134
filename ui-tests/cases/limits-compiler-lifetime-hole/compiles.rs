//! Limit: A known hole of the compiler turns any borrow into one that never ends.
//! QEMU: None recorded. In C every pointer is like that.
//! Why: The compiler forgets what a function's arguments imply when the function becomes a
//! pointer (rust-lang/rust#25860), so a request, or the guard, can be given any lifetime.

use block_gs::{BqlGuard, nodes};
use block_io::IoNode;
use ui_tests::{disk, in_main_loop, null};

static ENDLESS: &&() = &&();

fn shorten<'a, 'b, T: ?Sized>(_: &'a &'b (), value: &'b T) -> &'a T {
    value
}

/// Says that what is borrowed for `'a` is borrowed for `'b`.
fn extend<'a, 'b, T: ?Sized>(value: &'a T) -> &'b T {
    let extend: for<'x> fn(_, &'x T) -> &'b T = shorten;
    extend(ENDLESS, value)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        // Used only while they are valid; nothing would notice otherwise.
        let kept: &'static BqlGuard = extend(bql);
        assert_eq!(nodes(kept).count(), 1);
        let in_flight = disk.root().try_begin().expect("not drained");
        let kept: &'static IoNode = extend(in_flight.request()?.node());
        assert_eq!(kept.name(), "node");
        Ok(())
    });
}
