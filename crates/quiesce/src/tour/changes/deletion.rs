//! Deleting nodes by name, as a monitor does.

use block_drivers::NullCo;
use block_gs::{Backend, BqlGuard, GraphError, Node, Perm};

use super::{Changer, Kind, Outcome, Step};
use crate::tour::failure::Failure;

impl Changer {
    /// Makes a node, and deletes it: refused while a backend uses it, and
    /// while it is not the monitor's.
    pub(super) fn delete_node(&mut self, bql: &mut BqlGuard) -> Outcome {
        let name = self.world.fresh_name("scratch");
        let step = self.begin(format!("make and delete node '{name}'"));
        let node = step.must(NullCo::new(1 << 20).open(bql, &name))?;
        let user = format!("{name}-user");
        let user = step.must(Backend::new(bql, &user, Perm::empty(), Perm::all()))?;
        step.must(user.insert(bql, &node))?;
        refused(
            &step,
            node.clone().delete(bql),
            &format!("Node {name} is in use"),
        )?;
        user.remove(bql);
        refused(
            &step,
            node.clone().delete(bql),
            &format!("Node {name} is not owned by the monitor"),
        )?;
        node.set_monitor_owned(bql);
        step.must(node.delete(bql))?;
        // The main loop deletes it when it next runs.
        for _ in 0..100 {
            if Node::find(bql, &name).is_none() {
                return Ok(Kind::NodeDeleted);
            }
            bql.poll(block_io::aio::Wait::No);
        }
        step.promise(false, || {
            format!("node '{name}' was deleted and is still there")
        })?;
        Ok(Kind::NodeDeleted)
    }
}

fn refused(step: &Step, outcome: Result<(), GraphError>, words: &str) -> Result<(), Failure> {
    step.promise(
        matches!(&outcome, Err(error) if error.to_string() == words),
        || format!("expected \"{words}\", got {outcome:?}"),
    )
}
