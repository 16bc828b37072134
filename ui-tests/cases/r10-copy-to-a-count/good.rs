//! Twin of bad.rs: the count is asked for the request.

use block_gs::BqlGuard;
use block_io::{CopyEnd, IoError, Root, WriteFlags};
use ui_tests::{disk, in_main_loop, null};

async fn copy(from: &Root, to: &Root) -> Result<(), IoError> {
    let (source, target) = (from.begin().await, to.begin().await);
    let request = target.request()?;
    let to = CopyEnd { request, offset: 0 };
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
