//! Rule R11: The target of a copy does not end before the copy.
//! QEMU: None recorded. A copy gets both of its ends as pointers.
//! Shape: argument.
//! Why: A `CopyEnd` borrows the request at the other end, and the copy borrows both.

use block_gs::BqlGuard;
use block_io::{CopyEnd, IoError, Root, WriteFlags};
use ui_tests::{disk, in_main_loop, null};

async fn copy(from: &Root, to: &Root) -> Result<(), IoError> {
    let source = from.begin().await;
    let copied = {
        let in_flight = to.begin().await;
        let request = in_flight.request()?;
        //~^ E0597 "`in_flight` does not live long enough"
        let to = CopyEnd { request, offset: 0 };
        source
            .request()?
            .copy_range(0, to, 512, WriteFlags::empty())
    };
    copied.await
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
