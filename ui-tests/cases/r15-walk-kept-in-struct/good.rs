//! Twin of bad.rs: the struct keeps handles.

use block_gs::{Backend, BqlGuard, backends};
use ui_tests::{disk, in_main_loop, null};

struct Walk<I> {
    rest: I,
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let one = disk(bql, "one", &node);
        let all: Vec<Backend> = backends(bql).collect();
        let mut walk = Walk {
            rest: all.into_iter(),
        };
        let two = disk(bql, "two", &node);
        let first: Backend = walk.rest.next().expect("one");
        assert!([one.name(), two.name()].contains(&first.name()));
        Ok(())
    });
}
