//! What there is to draw, as plain data.

use std::collections::HashMap;

use block_common::ParentDescription;
use block_gs::{BqlGuard, Perm, backends, nodes};

/// The graph at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// The roots.
    pub backends: Vec<BackendShape>,
    /// The nodes, oldest first.
    pub nodes: Vec<NodeShape>,
    /// The edges, from above to below.
    pub edges: Vec<EdgeShape>,
}

/// A backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendShape {
    /// Its name.
    pub name: String,
    /// The context that it is at home in.
    pub context: String,
    /// How many reasons keep its requests out.
    pub quiesce: u32,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeShape {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// The context that it is at home in.
    pub context: String,
    /// How many drained sections it is in.
    pub quiesce: u32,
    /// Whether it is open for writing.
    pub writable: bool,
    /// Its length in bytes.
    pub length: u64,
}

/// The upper end of an edge.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Above {
    /// A backend, by its place in the snapshot.
    Backend(usize),
    /// A node, by its place in the snapshot.
    Node(usize),
    /// Something else, in its own words.
    Other(String),
}

/// An edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EdgeShape {
    /// Who is above.
    pub above: Above,
    /// The node below, by its place in the snapshot.
    pub below: usize,
    /// Its name.
    pub name: String,
    /// What the parent does with the child.
    pub perm: Perm,
    /// What it lets others do.
    pub shared: Perm,
    /// Whether it must not be changed.
    pub frozen: bool,
}

impl Snapshot {
    /// Copies what is to be seen. Needs the shared proof because it reads the
    /// graph; it keeps nothing of it.
    pub fn take(bql: &BqlGuard) -> Snapshot {
        let mut snapshot = Snapshot {
            backends: backends(bql)
                .map(|backend| BackendShape {
                    name: backend.name().to_owned(),
                    context: backend.root().context().name().to_owned(),
                    quiesce: backend.root().quiesce_count(),
                })
                .collect(),
            ..Snapshot::default()
        };
        let mut places = HashMap::new();
        for node in nodes(bql) {
            places.insert(node.name(), snapshot.nodes.len());
            snapshot.nodes.push(NodeShape {
                name: node.name().to_owned(),
                driver: node.driver().format_name().to_owned(),
                context: node.context().name().to_owned(),
                quiesce: node.quiesce_count(),
                writable: !node.is_read_only(),
                length: node.io().length(),
            });
        }
        for (below, node) in nodes(bql).enumerate() {
            for edge in node.parents() {
                let above = snapshot.above(&places, edge.parent());
                snapshot.edges.push(EdgeShape {
                    above,
                    below,
                    name: edge.name().to_owned(),
                    perm: edge.perm(),
                    shared: edge.shared(),
                    frozen: edge.is_frozen(),
                });
            }
        }
        snapshot
    }

    fn above(&self, places: &HashMap<&str, usize>, parent: ParentDescription) -> Above {
        let place = match &parent {
            ParentDescription::Node(name) => places.get(&**name).copied().map(Above::Node),
            ParentDescription::Backend(name) => {
                let mut backends = self.backends.iter();
                let found = backends.position(|backend| backend.name == *name);
                found.map(Above::Backend)
            }
            ParentDescription::Other(_) => None,
        };
        place.unwrap_or_else(|| Above::Other(parent.to_string()))
    }

    /// The edges that requests of these backends go through, and the places
    /// of the nodes they lead to: what must be the same after a change that
    /// was refused. Drained sections and lengths are left out.
    pub fn reached_from(&self, names: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut stack: Vec<Above> = Vec::new();
        for (place, backend) in self.backends.iter().enumerate() {
            if names.contains(&&*backend.name) {
                lines.push(format!("{} in {}", backend.name, backend.context));
                stack.push(Above::Backend(place));
            }
        }
        let mut seen = vec![false; self.nodes.len()];
        while let Some(above) = stack.pop() {
            for edge in self.edges.iter().filter(|edge| edge.above == above) {
                let node = &self.nodes[edge.below];
                lines.push(format!(
                    "{:?} -{}({} {} {})-> {} {} in {}",
                    self.name(&above),
                    edge.name,
                    edge.perm,
                    edge.shared,
                    edge.frozen,
                    node.name,
                    node.writable,
                    node.context
                ));
                if !std::mem::replace(&mut seen[edge.below], true) {
                    stack.push(Above::Node(edge.below));
                }
            }
        }
        lines.sort();
        lines
    }

    /// What the upper end of an edge is called.
    pub fn name<'s>(&'s self, above: &'s Above) -> &'s str {
        match above {
            Above::Backend(place) => &self.backends[*place].name,
            Above::Node(place) => &self.nodes[*place].name,
            Above::Other(words) => words,
        }
    }

    /// The contexts in use, the main loop's first, each once.
    pub fn contexts(&self) -> Vec<&str> {
        let backends = self.backends.iter().map(|backend| &*backend.context);
        let nodes = self.nodes.iter().map(|node| &*node.context);
        let mut contexts: Vec<&str> = backends.chain(nodes).collect();
        contexts.sort_unstable_by_key(|name| (*name != "main", *name));
        contexts.dedup();
        contexts
    }
}

#[cfg(test)]
pub mod tests {
    use block_drivers::{NullCo, Raw};
    use block_gs::{Backend, BlockLayer, GraphError};

    use super::*;

    /// Two backends over one null device, through a window each; one window
    /// is in a drained section.
    pub fn example() -> Snapshot {
        let layer = BlockLayer::new().expect("a layer");
        let snapshot = layer.enter(|bql| -> Result<Snapshot, GraphError> {
            let null = NullCo::new(8192).open(bql, "null")?;
            let mut held = Vec::new();
            for (name, offset) in [("left", 0), ("right", 4096)] {
                let raw = Raw::over(&null).offset(offset).size(Some(4096));
                let raw = raw.open(bql, &format!("{name}-raw"))?;
                let backend = Backend::new(bql, name, Perm::WRITE, Perm::all())?;
                backend.insert(bql, &raw)?;
                held.push((backend, raw));
            }
            let section = held[1].1.drain(bql);
            Ok(Snapshot::take(&section))
        });
        snapshot.expect("an example")
    }

    #[test]
    fn a_snapshot_has_what_the_graph_has() {
        let snapshot = example();
        let names = |edge: &EdgeShape| {
            let below = &snapshot.nodes[edge.below].name;
            format!("{}-{}->{below}", snapshot.name(&edge.above), edge.name)
        };
        let mut edges: Vec<String> = snapshot.edges.iter().map(names).collect();
        edges.sort();
        assert_eq!(
            edges,
            [
                "left-raw-file->null",
                "left-root->left-raw",
                "right-raw-file->null",
                "right-root->right-raw"
            ]
        );
        let quiesce: Vec<u32> = snapshot.nodes.iter().map(|node| node.quiesce).collect();
        assert_eq!(quiesce, [0, 0, 1]);
        assert_eq!(snapshot.backends[1].quiesce, 1);
        assert_eq!(snapshot.contexts(), ["main"]);
    }

    #[test]
    fn what_is_reached_ignores_sections_and_strangers() {
        let mut snapshot = example();
        let before = snapshot.reached_from(&["left"]);
        assert_eq!(before.len(), 3);
        snapshot.nodes[1].quiesce += 1;
        snapshot.nodes[2].name = "other".into();
        assert_eq!(snapshot.reached_from(&["left"]), before);
        snapshot.edges[0].perm = Perm::empty();
        snapshot.edges[1].perm = Perm::empty();
        snapshot.edges[2].perm = Perm::empty();
        snapshot.edges[3].perm = Perm::empty();
        assert_ne!(snapshot.reached_from(&["left"]), before);
    }
}
