//! Rule R10: A copy does not go to a backend that has merely been counted.
//! QEMU: None recorded. A copy gets both of its ends as pointers.
//! Shape: literal.
//! Why: A `CopyEnd` is made of a `Request`, which says at which node the copy ends.

use block_gs::BqlGuard;
use block_io::{CopyEnd, IoError, Root, WriteFlags};
use ui_tests::{disk, in_main_loop, null};

async fn copy(from: &Root, to: &Root) -> Result<(), IoError> {
    let (source, target) = (from.begin().await, to.begin().await);
    let request = target;
    let to = CopyEnd { request, offset: 0 };
    //~^ E0308 "expected `Request<'_>`, found `InFlight<'_>`"
    source
        .request()?
        .copy_range(0, to, 512, WriteFlags::empty())
        .await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (one, two) = (null(bql, "one"), null(bql, "two"));
        let (from, to) = (disk(bql, "from", &one), disk(bql, "to", &two));
        let copied = bql.block_on(copy(from.root(), to.root()));
        assert!(matches!(copied, Ok(()) | Err(IoError::NotSupported)));
        Ok(())
    });
}
