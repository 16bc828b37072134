//! Twin of bad.rs: the walk is over handles.

use block_gs::{Backend, BqlGuard, backends};
use block_io::IoError;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _disks = (disk(bql, "one", &node), disk(bql, "two", &node));
        let all: Vec<Backend> = backends(bql).collect();
        let flush_all = async {
            for disk in all {
                disk.root().flush().await?;
            }
            Ok::<_, IoError>(())
        };
        bql.block_on(flush_all)?;
        Ok(())
    });
}
