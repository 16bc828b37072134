//! Twin of bad.rs: the list is replaced in a drained section of its node.

use block_gs::{BqlGuard, Drained, Node};
use block_io::{GraphCell, Request};
use ui_tests::{disk, in_main_loop, null};

struct Quorum {
    children: GraphCell<Vec<String>>,
}

impl Quorum {
    fn quorum_co_preadv(&self, request: Request<'_>) -> usize {
        self.children.get(request).len()
    }
}

trait BdrvChildClass {
    fn detach(&self, bql: &mut BqlGuard, parent: &Node) -> Vec<String>;
}

impl BdrvChildClass for Quorum {
    fn detach(&self, bql: &mut BqlGuard, parent: &Node) -> Vec<String> {
        bdrv_child_cb_detach(&mut parent.drain(bql), self)
    }
}

fn bdrv_child_cb_detach(section: &mut Drained<'_>, quorum: &Quorum) -> Vec<String> {
    let rest = vec!["children.0".to_owned()];
    Drained::set(section, &quorum.children, rest)
}

fn bdrv_replace_child_noperm(bql: &mut BqlGuard, parent: &Node, class: &dyn BdrvChildClass) {
    assert_eq!(class.detach(bql, parent).len(), 2);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "quorum");
        let names = ["children.0", "children.1"].map(str::to_owned);
        let children = GraphCell::new(node.io().uid(), names.to_vec());
        let quorum = Quorum { children };
        bdrv_replace_child_noperm(bql, &node, &quorum);
        let disk = disk(bql, "disk", &node);
        let in_flight = bql.block_on(disk.root().begin());
        assert_eq!(quorum.quorum_co_preadv(in_flight.request()?), 1);
        Ok(())
    });
}
