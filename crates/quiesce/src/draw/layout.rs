//! Places for the boxes of a picture, in layers.
//!
//! The usual steps: a layer for each vertex (longest path from the top), a
//! vertex without a box wherever an edge passes a layer, an order in each
//! layer that follows the neighbours, positions near the neighbours that keep
//! their distance. Parts that are not connected stand side by side.

use std::collections::HashMap;

use super::{Above, Snapshot};

/// How far the centres of neighbours are apart at least, in pixels.
const PITCH: f64 = 204.0;
/// As [`PITCH`], for a place where only an edge passes.
const PASS: f64 = 110.0;
/// How far layers are apart, in pixels.
const STOREY: f64 = 132.0;

/// A place in the picture: the centre of a box, or a point of an edge.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// From the left, in pixels.
    pub x: f64,
    /// From the top, in pixels.
    pub y: f64,
}

/// Where everything goes.
#[derive(Debug)]
pub struct Layout {
    /// The centres of the backends.
    pub backends: Vec<Point>,
    /// The centres of the nodes.
    pub nodes: Vec<Point>,
    /// The centres of other parents, with their words.
    pub others: Vec<(String, Point)>,
    /// For each edge the points it goes through, both ends included.
    pub routes: Vec<Vec<Point>>,
    /// The centre of the rightmost thing.
    pub right: f64,
    /// The centre of the lowest thing.
    pub bottom: f64,
}

/// The vertices in the order backends, other parents, nodes, passing edges.
struct Net {
    layer: Vec<usize>,
    passing: Vec<bool>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
}

/// Finds a place for everything.
pub fn place(snapshot: &Snapshot) -> Layout {
    let others = other_parents(snapshot);
    let (backends, first_node) = (
        snapshot.backends.len(),
        snapshot.backends.len() + others.len(),
    );
    let start = |above: &Above| match above {
        Above::Backend(place) => *place,
        Above::Other(words) => backends + others.iter().position(|o| o == words).unwrap_or(0),
        Above::Node(place) => first_node + place,
    };
    let edges: Vec<(usize, usize)> = snapshot
        .edges
        .iter()
        .map(|edge| (start(&edge.above), first_node + edge.below))
        .collect();
    let mut net = Net::new(first_node, first_node + snapshot.nodes.len(), &edges);
    let chains: Vec<Vec<usize>> = edges.iter().map(|&edge| net.connect(edge)).collect();
    let x = net.side_by_side();
    let point = |vertex: usize| Point {
        x: x[vertex],
        y: net.layer[vertex] as f64 * STOREY,
    };
    Layout {
        backends: (0..backends).map(point).collect(),
        others: others
            .into_iter()
            .zip((backends..first_node).map(point))
            .collect(),
        nodes: (first_node..first_node + snapshot.nodes.len())
            .map(point)
            .collect(),
        routes: chains
            .iter()
            .map(|chain| chain.iter().map(|&vertex| point(vertex)).collect())
            .collect(),
        right: x.iter().copied().fold(0.0, f64::max),
        bottom: net
            .layer
            .iter()
            .max()
            .map_or(0.0, |&layer| layer as f64 * STOREY),
    }
}

fn other_parents(snapshot: &Snapshot) -> Vec<String> {
    let mut others = Vec::new();
    for edge in &snapshot.edges {
        if let Above::Other(words) = &edge.above
            && !others.contains(words)
        {
            others.push(words.clone());
        }
    }
    others
}

impl Net {
    /// Layers by the longest path from the top. The graph has no cycles; if a
    /// snapshot had one the layers would be wrong but the loop ends.
    fn new(tops: usize, vertices: usize, edges: &[(usize, usize)]) -> Net {
        let mut layer: Vec<usize> = (0..vertices).map(|v| usize::from(v >= tops)).collect();
        for _ in 0..vertices {
            let mut settled = true;
            for &(above, below) in edges {
                if layer[below] <= layer[above] && layer[above] < vertices {
                    layer[below] = layer[above] + 1;
                    settled = false;
                }
            }
            if settled {
                break;
            }
        }
        Net {
            layer,
            passing: vec![false; vertices],
            above: vec![Vec::new(); vertices],
            below: vec![Vec::new(); vertices],
        }
    }

    /// Adds an edge, with a vertex in every layer it passes.
    fn connect(&mut self, (above, below): (usize, usize)) -> Vec<usize> {
        let mut chain = vec![above];
        for layer in self.layer[above] + 1..self.layer[below] {
            chain.push(self.layer.len());
            self.layer.push(layer);
            self.passing.push(true);
            self.above.push(Vec::new());
            self.below.push(Vec::new());
        }
        chain.push(below);
        for pair in chain.windows(2) {
            self.below[pair[0]].push(pair[1]);
            self.above[pair[1]].push(pair[0]);
        }
        chain
    }

    /// How far from the left each vertex is, part after part.
    fn side_by_side(&self) -> Vec<f64> {
        let mut x = vec![0.0; self.layer.len()];
        let mut left = 0.0;
        for part in self.parts() {
            let mut layers = self.first_order(&part);
            self.reorder(&mut layers);
            self.positions(&layers, &mut x);
            let places = part.iter().map(|&vertex| x[vertex]);
            let shift = left - places.clone().fold(f64::INFINITY, f64::min);
            left = places.fold(f64::NEG_INFINITY, f64::max) + shift + PITCH;
            for &vertex in &part {
                x[vertex] += shift;
            }
        }
        x
    }

    /// The connected parts, in the order of their first vertices.
    fn parts(&self) -> Vec<Vec<usize>> {
        let mut seen = vec![false; self.layer.len()];
        let mut parts = Vec::new();
        for start in 0..self.layer.len() {
            let (mut part, mut stack) = (Vec::new(), vec![start]);
            while let Some(vertex) = stack.pop() {
                if !std::mem::replace(&mut seen[vertex], true) {
                    part.push(vertex);
                    stack.extend(self.above[vertex].iter().chain(&self.below[vertex]));
                }
            }
            if !part.is_empty() {
                part.sort_unstable();
                parts.push(part);
            }
        }
        parts
    }

    /// The vertices of each layer as a walk from the top meets them: what
    /// belongs together stays together.
    fn first_order(&self, part: &[usize]) -> Vec<Vec<usize>> {
        let depth = part.iter().map(|&vertex| self.layer[vertex] + 1).max();
        let mut layers = vec![Vec::new(); depth.unwrap_or(0)];
        let mut seen = vec![false; self.layer.len()];
        let mut starts = part.to_vec();
        starts.sort_by_key(|&vertex| !self.above[vertex].is_empty());
        for start in starts {
            let mut stack = vec![start];
            while let Some(vertex) = stack.pop() {
                if !std::mem::replace(&mut seen[vertex], true) {
                    layers[self.layer[vertex]].push(vertex);
                    stack.extend(self.below[vertex].iter().rev());
                }
            }
        }
        layers
    }

    /// Sorts each layer by the mean place of the neighbours, a few times down
    /// and up.
    fn reorder(&self, layers: &mut [Vec<usize>]) {
        let mut rank = vec![0.0; self.layer.len()];
        let number = |layer: &[usize], rank: &mut [f64]| {
            for (index, &vertex) in layer.iter().enumerate() {
                rank[vertex] = index as f64;
            }
        };
        for layer in layers.iter() {
            number(layer, &mut rank);
        }
        for sweep in 0..8 {
            let neighbours = if sweep % 2 == 0 {
                &self.above
            } else {
                &self.below
            };
            for layer in layers.iter_mut() {
                let key = |vertex: usize| mean(&neighbours[vertex], &rank).unwrap_or(rank[vertex]);
                let mut keyed: Vec<(f64, usize)> =
                    layer.iter().map(|&vertex| (key(vertex), vertex)).collect();
                keyed.sort_by(|one, two| one.0.total_cmp(&two.0));
                *layer = keyed.into_iter().map(|(_, vertex)| vertex).collect();
                number(layer, &mut rank);
            }
        }
    }

    /// Where the vertices of a part want to be, wherever that begins.
    fn positions(&self, layers: &[Vec<usize>], x: &mut [f64]) {
        for layer in layers {
            self.spread(layer, x, |_| None);
        }
        for sweep in 0..24 {
            let neighbours = if sweep % 2 == 0 {
                &self.above
            } else {
                &self.below
            };
            for layer in layers {
                let wanted: HashMap<usize, f64> = layer
                    .iter()
                    .filter_map(|&vertex| Some((vertex, mean(&neighbours[vertex], x)?)))
                    .collect();
                self.spread(layer, x, |vertex| wanted.get(&vertex).copied());
            }
        }
    }

    /// Puts the vertices of a layer as near to where they want to be as their
    /// order and distance allow: isotonic regression on what is left when the
    /// distances are taken out.
    fn spread(&self, layer: &[usize], x: &mut [f64], wanted: impl Fn(usize) -> Option<f64>) {
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(layer.len());
        let mut blocks: Vec<(f64, usize)> = Vec::new();
        for (index, &vertex) in layer.iter().enumerate() {
            if index > 0 {
                offset += (self.width(layer[index - 1]) + self.width(vertex)) / 2.0;
            }
            offsets.push(offset);
            let place = wanted(vertex).unwrap_or(x[vertex]) - offset;
            blocks.push((place, 1));
            while let [.., (one, many), (two, more)] = blocks[..]
                && two < one
            {
                let total = many + more;
                let mean = (one * many as f64 + two * more as f64) / total as f64;
                blocks.truncate(blocks.len() - 2);
                blocks.push((mean, total));
            }
        }
        let places = blocks
            .into_iter()
            .flat_map(|(place, count)| std::iter::repeat_n(place, count));
        for ((place, &vertex), offset) in places.zip(layer).zip(offsets) {
            x[vertex] = place + offset;
        }
    }

    fn width(&self, vertex: usize) -> f64 {
        if self.passing[vertex] { PASS } else { PITCH }
    }
}

fn mean(vertices: &[usize], x: &[f64]) -> Option<f64> {
    let sum: f64 = vertices.iter().map(|&vertex| x[vertex]).sum();
    (!vertices.is_empty()).then(|| sum / vertices.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::example;
    use super::super::{EdgeShape, NodeShape};
    use super::*;

    #[test]
    fn children_are_below_their_parents_and_nothing_overlaps() {
        let snapshot = example();
        let layout = place(&snapshot);
        for (edge, route) in snapshot.edges.iter().zip(&layout.routes) {
            let (from, to) = (route[0], route[route.len() - 1]);
            assert_eq!(to, layout.nodes[edge.below]);
            assert!(from.y < to.y, "{edge:?}");
        }
        let mut all = layout.nodes.clone();
        all.extend(&layout.backends);
        for (index, one) in all.iter().enumerate() {
            for two in &all[..index] {
                let apart = (one.x - two.x).abs() > PITCH - 1e-6 || one.y != two.y;
                assert!(apart, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn a_shared_child_is_between_its_parents() {
        let layout = place(&example());
        let middle = (layout.nodes[1].x + layout.nodes[2].x) / 2.0;
        assert!((layout.nodes[0].x - middle).abs() < 1.0, "{layout:?}");
    }

    #[test]
    fn parts_stand_side_by_side() {
        let mut snapshot = example();
        let parts = snapshot.nodes.len();
        // The same once more, not connected with the first.
        snapshot.nodes.extend(example().nodes);
        snapshot.backends.extend(example().backends);
        for mut edge in example().edges {
            edge.below += parts;
            edge.above = match edge.above {
                Above::Backend(place) => Above::Backend(place + 2),
                Above::Node(place) => Above::Node(place + parts),
                other => other,
            };
            snapshot.edges.push(edge);
        }
        let layout = place(&snapshot);
        let (first, second) = layout.nodes.split_at(parts);
        for one in first {
            for two in second {
                assert!(two.x - one.x > PITCH - 1e-6, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn a_long_edge_passes_each_layer_once() {
        let mut snapshot = example();
        // left, over the window, and straight to the null device.
        snapshot.edges.push(EdgeShape {
            above: Above::Backend(0),
            below: 0,
            ..snapshot.edges[0].clone()
        });
        let layout = place(&snapshot);
        let route = layout.routes.last().expect("a route");
        let heights: Vec<f64> = route.iter().map(|point| point.y).collect();
        assert_eq!(heights, [0.0, STOREY, 2.0 * STOREY]);
    }

    #[test]
    fn odd_graphs_have_a_layout_too() {
        assert_eq!(place(&Snapshot::default()).right, 0.0);
        let mut snapshot = example();
        snapshot.edges.clear();
        assert_eq!(place(&snapshot).bottom, STOREY);
        // A cycle cannot come from a graph, but must not hang.
        let edge = |above, below| EdgeShape {
            above: Above::Node(above),
            below,
            ..example().edges[0].clone()
        };
        snapshot.edges = vec![edge(0, 1), edge(1, 0)];
        snapshot.nodes.truncate(2);
        assert_eq!(place(&snapshot).nodes.len(), 2);
        let lonely = NodeShape {
            name: "lonely".into(),
            ..snapshot.nodes[0].clone()
        };
        snapshot.nodes.push(lonely);
        assert_eq!(place(&snapshot).nodes.len(), 3);
    }
}
