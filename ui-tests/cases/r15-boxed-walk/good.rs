//! Twin of bad.rs: the walk is over handles.

use block_gs::{Backend, BqlGuard, backends};
use ui_tests::{disk, in_main_loop, null};

type Walk<'b> = Box<dyn Iterator<Item = Backend> + 'b>;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disks = [disk(bql, "one", &node), disk(bql, "two", &node)];
        let walk: Walk<'_> = Box::new(backends(bql).collect::<Vec<_>>().into_iter());
        for backend in walk {
            backend.remove(bql);
        }
        assert!(disks.iter().all(|disk| disk.node(bql).is_none()));
        Ok(())
    });
}
