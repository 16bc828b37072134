//! Rule R5: The list that requests walk loses no child while they may be walking it.
//! QEMU: V058, bdrv_replace_child_noperm() -> BdrvChildClass.detach() -> bdrv_child_cb_detach().
//! Shape: field.
//! Why: The field is a `GraphCell`, and what replaces its value is a method of `Drained`.

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
        assert_eq!(parent.view(bql).quiesce_count(), 0);
        bdrv_child_cb_detach(bql, self)
    }
}

fn bdrv_child_cb_detach(bql: &mut BqlGuard, quorum: &Quorum) -> Vec<String> {
    let rest = vec!["children.0".to_owned()];
    Drained::set(bql, &quorum.children, rest)
    //~^ E0308 "expected `&mut Drained<'_>`, found `&mut BqlGuard`"
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
