//! The graph as a tree for terminals.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::draw::{Above, EdgeShape, Snapshot, length, letters};

/// How deep the tree goes before it begins anew at the left.
const MAX_INDENT: usize = 40;

/// The snapshot as lines, one for each edge and each root. What hangs below a
/// node is shown where the node first appears, or when that is far to the
/// right, as a tree of its own.
pub fn render(snapshot: &Snapshot) -> String {
    let mut tree = Tree {
        snapshot,
        seen: vec![false; snapshot.nodes.len()],
        later: VecDeque::new(),
        text: String::new(),
    };
    for (place, backend) in snapshot.backends.iter().enumerate() {
        let _ = writeln!(
            tree.text,
            "{} (backend, in {})",
            backend.name, backend.context
        );
        tree.below(&Above::Backend(place));
    }
    let is_below = |place| {
        let mut edges = snapshot.edges.iter();
        edges.any(|edge| edge.below == place && !matches!(edge.above, Above::Other(_)))
    };
    for place in 0..snapshot.nodes.len() {
        if !is_below(place) {
            tree.node(place);
            tree.below(&Above::Node(place));
        }
    }
    while let Some(place) = tree.later.pop_front() {
        if !tree.seen[place] {
            tree.node(place);
            tree.below(&Above::Node(place));
        }
    }
    tree.text
}

struct Tree<'s> {
    snapshot: &'s Snapshot,
    seen: Vec<bool>,
    /// Nodes that are to begin trees.
    later: VecDeque<usize>,
    text: String,
}

/// A line to come.
struct Branch<'s> {
    edge: &'s EdgeShape,
    indent: String,
    depth: usize,
    is_last: bool,
}

impl<'s> Tree<'s> {
    fn node(&mut self, place: usize) -> bool {
        let node = &self.snapshot.nodes[place];
        let first = !std::mem::replace(&mut self.seen[place], true);
        let _ = write!(self.text, "{}", node.name);
        if first {
            let access = if node.writable {
                "writable"
            } else {
                "read-only"
            };
            let _ = write!(
                self.text,
                " ({}, {}, {access}",
                node.driver,
                length(node.length)
            );
            if node.context != "main" {
                let _ = write!(self.text, ", in {}", node.context);
            }
            if node.quiesce > 0 {
                let _ = write!(self.text, ", quiesced by {}", node.quiesce);
            }
            self.text.push(')');
        } else {
            self.text.push_str(" (see above)");
        }
        self.text.push('\n');
        first
    }

    /// Graphs can be deeper than the stack of a thread: branches wait in a
    /// list.
    fn below(&mut self, root: &Above) {
        let mut waiting = self.branches(root, "", 1);
        while let Some(branch) = waiting.pop() {
            let Branch {
                edge,
                indent,
                depth,
                is_last,
            } = branch;
            let (corner, bar) = if is_last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let frozen = if edge.frozen { ", frozen" } else { "" };
            let (perm, shared) = (letters(edge.perm), letters(edge.shared));
            let _ = write!(
                self.text,
                "{indent}{corner}{} {perm} {shared}{frozen}: ",
                edge.name
            );
            if depth >= MAX_INDENT && !self.seen[edge.below] {
                let name = &self.snapshot.nodes[edge.below].name;
                let _ = writeln!(self.text, "{name} (see below)");
                self.later.push_back(edge.below);
            } else if self.node(edge.below) {
                let (above, indent) = (Above::Node(edge.below), format!("{indent}{bar}"));
                waiting.extend(self.branches(&above, &indent, depth + 1));
            }
        }
    }

    /// The edges below, the first one at the end.
    fn branches(&self, above: &Above, indent: &str, depth: usize) -> Vec<Branch<'s>> {
        let edges = self.snapshot.edges.iter();
        let mut branches: Vec<Branch<'s>> = edges
            .filter(|edge| edge.above == *above)
            .map(|edge| Branch {
                edge,
                indent: indent.to_owned(),
                depth,
                is_last: false,
            })
            .collect();
        if let Some(last) = branches.last_mut() {
            last.is_last = true;
        }
        branches.reverse();
        branches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::NodeShape;
    use block_gs::Perm;

    fn node(name: &str) -> NodeShape {
        NodeShape {
            name: name.into(),
            driver: "raw".into(),
            context: "main".into(),
            quiesce: 0,
            writable: true,
            length: 4096,
        }
    }

    fn edge(above: Above, below: usize, name: &str) -> EdgeShape {
        EdgeShape {
            above,
            below,
            name: name.into(),
            perm: Perm::CONSISTENT_READ,
            shared: Perm::all(),
            frozen: false,
        }
    }

    #[test]
    fn shared_nodes_are_shown_once_and_mentioned_again() {
        let mut shared = node("shared");
        (shared.writable, shared.quiesce) = (false, 2);
        let snapshot = Snapshot {
            backends: Vec::new(),
            nodes: vec![shared, node("a"), node("b"), node("deep")],
            edges: vec![
                edge(Above::Node(1), 0, "file"),
                edge(Above::Node(1), 3, "backing"),
                edge(Above::Node(2), 0, "file"),
                edge(Above::Node(0), 3, "file"),
            ],
        };
        assert_eq!(
            render(&snapshot),
            "a (raw, 4 KiB, writable)\n\
             ├─ file R--- RWUZ: shared (raw, 4 KiB, read-only, quiesced by 2)\n\
             │  └─ file R--- RWUZ: deep (raw, 4 KiB, writable)\n\
             └─ backing R--- RWUZ: deep (see above)\n\
             b (raw, 4 KiB, writable)\n\
             └─ file R--- RWUZ: shared (see above)\n"
        );
    }

    #[test]
    fn what_is_far_to_the_right_begins_anew_at_the_left() {
        let count = 1000;
        let mut snapshot = Snapshot::default();
        for place in 0..count {
            snapshot.nodes.push(node(&format!("n{place}")));
            if place > 0 {
                let below = edge(Above::Node(place - 1), place, "file");
                snapshot.edges.push(below);
            }
        }
        let text = render(&snapshot);
        for place in 0..count {
            assert!(text.contains(&format!("n{place} (raw")), "n{place}");
        }
        assert!(text.contains("n40 (see below)\nn40 (raw"));
        assert!(text.lines().all(|line| line.chars().count() < 200));
    }
}
