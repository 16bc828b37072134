//! Changes of a graph.
//!
//! The graph: a backend over a chain of filters over a null device, a second
//! null device, and unrelated nodes in chains of ten.

use std::fs;
use std::time::{Duration, Instant};

use block_drivers::{NullCo, Stats};
use block_gs::{Backend, BlockLayer, BqlGuard, GraphError, Node, Perm};
use clap::{Args, ValueEnum};

use crate::error::Failure;

/// What is done again and again.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Operation {
    /// A drained section begins and ends.
    Drain,
    /// A filter is made, inserted, and dropped again.
    Filter,
    /// An edge is pointed to another node.
    Replace,
    /// A filter is made above the node, and goes unused.
    Add,
}

/// Where it is done.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum At {
    /// At the upper end of the chain, with all its nodes below.
    Top,
    /// At the lowest filter of the chain, with the others above.
    Bottom,
}

/// Changes of a graph.
#[derive(Args, Clone, Debug)]
pub struct Change {
    /// What is done
    #[arg(value_enum)]
    pub operation: Operation,
    /// How often
    #[arg(short, default_value_t = 1)]
    pub count: u64,
    /// How many nodes there are at least
    #[arg(long, default_value_t = 0)]
    pub nodes: usize,
    /// How many filters the chain has
    #[arg(long, default_value_t = 1)]
    pub depth: usize,
    /// Where it is done
    #[arg(long, value_enum, default_value = "top")]
    pub at: At,
}

/// What the operations need.
struct Chain {
    /// Keeps the chain.
    disk: Backend,
    /// At which node things are done.
    subject: Node,
    /// What is below it, and what it changes with.
    below: [Node; 2],
}

impl Change {
    /// Makes the graph and does the operation so often.
    ///
    /// # Errors
    /// The block layer's.
    pub fn run(&self) -> Result<Duration, Failure> {
        let layer = BlockLayer::new()?;
        layer.enter(|bql| {
            let _others = self.others(bql)?;
            let chain = self.chain(bql)?;
            let start = Instant::now();
            for number in 0..self.count {
                self.change(bql, &chain, number)?;
            }
            let took = start.elapsed();
            drop(chain.disk);
            Ok(took)
        })
    }

    /// How many bytes of memory a node takes that is in a chain of ten.
    ///
    /// # Errors
    /// The block layer's.
    pub fn memory(&self) -> Result<u64, Failure> {
        let layer = BlockLayer::new()?;
        layer.enter(|bql| {
            // The first ones pay for what is there once.
            let _first = chains(bql, "first", 100)?;
            let before = resident()?;
            let _others = self.others(bql)?;
            let took = resident()?.saturating_sub(before);
            Ok(took / self.nodes.max(1) as u64)
        })
    }

    fn others(&self, bql: &mut BqlGuard) -> Result<Vec<Node>, GraphError> {
        chains(bql, "other", self.nodes.saturating_sub(self.depth + 2))
    }

    fn chain(&self, bql: &mut BqlGuard) -> Result<Chain, GraphError> {
        let null = NullCo::new(1 << 20).open(bql, "null")?;
        let other = NullCo::new(1 << 20).open(bql, "null-2")?;
        let mut nodes = vec![null];
        for number in 0..self.depth.max(1) {
            let below = &nodes[number];
            nodes.push(Stats::over(below).open(bql, &format!("filter-{number}"))?);
        }
        let disk = Backend::new(bql, "disk", Perm::CONSISTENT_READ, Perm::all())?;
        disk.insert(bql, &nodes[nodes.len() - 1])?;
        let subject = match self.at {
            At::Top => nodes.len() - 1,
            At::Bottom => 1,
        };
        Ok(Chain {
            disk,
            below: [nodes[subject - 1].clone(), other],
            subject: nodes.swap_remove(subject),
        })
    }

    fn change(&self, bql: &mut BqlGuard, chain: &Chain, number: u64) -> Result<(), GraphError> {
        let node = &chain.subject;
        match self.operation {
            Operation::Drain => {
                node.drain(bql).end();
                Ok(())
            }
            Operation::Filter => {
                let filter = Stats::over(node).open(bql, "")?;
                node.drain(bql).replace_with(&filter)?;
                filter.drain(bql).drop_filter()
            }
            Operation::Replace => {
                let new = &chain.below[(number as usize + 1) % 2];
                node.drain(bql).replace_child("file", new)
            }
            Operation::Add => Stats::over(node).open(bql, "").map(drop),
        }
    }
}

/// So many nodes, in chains of ten. The upper ends keep them.
fn chains(bql: &mut BqlGuard, name: &str, nodes: usize) -> Result<Vec<Node>, GraphError> {
    let mut tops: Vec<Node> = Vec::new();
    for number in 0..nodes {
        let name = format!("{name}-{number}");
        match tops.pop() {
            Some(below) if number % 10 > 0 => tops.push(Stats::over(&below).open(bql, &name)?),
            finished => {
                tops.extend(finished);
                tops.push(NullCo::new(1 << 20).open(bql, &name)?);
            }
        }
    }
    Ok(tops)
}

/// How many bytes of memory this process has.
fn resident() -> Result<u64, Failure> {
    let path = "/proc/self/statm";
    let text = fs::read_to_string(path).map_err(|error| Failure::File {
        path: path.into(),
        error,
    })?;
    let pages = text.split_whitespace().nth(1).and_then(|w| w.parse().ok());
    let pages: u64 = pages.ok_or(Failure::NoFigure {
        command: path.to_owned(),
        what: "size",
    })?;
    Ok(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_leaves_the_graph_as_it_found_it() {
        for operation in Operation::value_variants() {
            for at in [At::Top, At::Bottom] {
                let change = Change {
                    operation: *operation,
                    count: 4,
                    nodes: 30,
                    depth: 3,
                    at,
                };
                let layer = BlockLayer::new().expect("a block layer");
                layer.enter(|bql| {
                    let others = change.others(bql).expect("opened");
                    let chain = change.chain(bql).expect("opened");
                    assert_eq!(others.len(), 3);
                    let nodes = block_gs::nodes(bql).count();
                    assert_eq!(nodes, 30);
                    for number in 0..4 {
                        change.change(bql, &chain, number).expect("changed");
                    }
                    bql.poll(block_io::aio::Wait::No);
                    assert_eq!(block_gs::nodes(bql).count(), nodes, "{change:?}");
                    let below = chain.subject.view(bql).child("file").expect("a child");
                    assert_eq!(below.child().name(), chain.below[0].name());
                });
            }
        }
    }
}
