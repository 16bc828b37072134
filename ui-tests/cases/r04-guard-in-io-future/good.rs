//! Twin of bad.rs: what it needs is looked up before.

use block_gs::{BqlGuard, nodes};
use block_io::IoFuture;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null};

fn count(before: usize) -> IoFuture<'static, usize> {
    IoFuture::new(async move {
        yield_now().await;
        Ok(before)
    })
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let counted = count(nodes(bql).count());
        assert_eq!(bql.block_on(counted)?, 1);
        Ok(())
    });
}
