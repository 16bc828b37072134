//! Running the functions many times.

use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use block_gs::{
    Backend, BlockDriver, BlockLayer, BqlCell, BqlGuard, Drained, GraphError, Node, NodeBuilder,
    Perm, Role,
};
use block_io::{Buffer, Destination, DriverIo, InFlight, IoError, IoFuture, Request};
use slotmap::SlotMap;

use crate::pairs::callback::{Callback, Value, enter_main_thread};
use crate::pairs::section::Change;
use crate::pairs::{callback, cell, descend, driver, lookup, section, twice};
use crate::plain::{PlainDriver, PlainGraph, PlainNode, PlainRequest, PlainSection, PlainState};
use crate::{Case, Variant};

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// There is no such function.
    #[error("there is no {case} with {variant}")]
    NoVariant {
        /// The case.
        case: &'static str,
        /// The variant.
        variant: &'static str,
    },
    /// The graph could not be made.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A request failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A request that completes at once did not.
    #[error("a request to a null device waits for something")]
    Waits,
}

/// The length of the null device, and of the reads.
const LENGTH: u64 = 1 << 30;
const BYTES: usize = 4096;

/// Calls the function `count` times.
///
/// # Errors
/// [`WorkError`].
pub fn repeat(case: &Case, variant: Variant, count: u64) -> Result<(), WorkError> {
    use Variant::{Checked, Nothing, Proof};
    enter_main_thread();
    match (case.name, variant) {
        ("callback", _) => inside(|bql| {
            callbacks(bql, variant, count);
            Ok(())
        }),
        ("twice", _) => inside(|bql| {
            twices(bql, variant, count);
            Ok(())
        }),
        ("section", Proof) => inside(|bql| {
            let node = null(bql)?;
            let mut drained = node.drain(bql);
            for _ in 0..count {
                black_box(section::proof(black_box(&mut drained), black_box(&Null)));
            }
            Ok(())
        }),
        ("section", Nothing) => inside(|_| {
            let mut plain = PlainSection { asked: 0 };
            for _ in 0..count {
                black_box(section::nothing(black_box(&mut plain), black_box(&Null)));
            }
            Ok(())
        }),
        ("driver" | "descend", Proof) => inside(|bql| reads(bql, case, count)),
        ("driver" | "descend", Nothing) | ("driver", Checked) => {
            inside(|_| plain_reads(case, variant, count))
        }
        ("cell", Proof) => inside(|bql| {
            let cell = BqlCell::new(bql, Cell::new(1));
            for _ in 0..count {
                black_box(cell::proof(black_box(bql), black_box(&cell)));
            }
            Ok(())
        }),
        ("cell", Nothing | Checked) => {
            let cell = Cell::new(1);
            let get = if variant == Checked {
                cell::checked
            } else {
                cell::nothing
            };
            inside(|_| {
                for _ in 0..count {
                    black_box(get(black_box(&cell)));
                }
                Ok(())
            })
        }
        ("lookup", Proof) => inside(|bql| {
            let node = null(bql)?;
            for _ in 0..count {
                black_box(lookup::proof(black_box(bql), black_box(&node)));
            }
            Ok(())
        }),
        ("lookup", Nothing) => inside(|_| {
            let mut nodes = SlotMap::new();
            let state = PlainState {
                others: [0; 30],
                quiesce: 0,
            };
            let key = nodes.insert(state);
            let graph = PlainGraph { nodes };
            for _ in 0..count {
                black_box(lookup::nothing(black_box(&graph), black_box(key)));
            }
            Ok(())
        }),
        _ => Err(WorkError::NoVariant {
            case: case.name,
            variant: variant.name(),
        }),
    }
}

/// Every variant has the same surroundings.
fn inside(f: impl FnOnce(&mut BqlGuard) -> Result<(), WorkError>) -> Result<(), WorkError> {
    BlockLayer::new()?.enter(f)
}

fn callbacks(bql: &BqlGuard, variant: Variant, count: u64) {
    let null: &dyn Callback = black_box(&Null);
    for n in 0..count {
        black_box(match variant {
            Variant::Proof => callback::proof(null, black_box(bql), n),
            Variant::Nothing => callback::nothing(null, n),
            Variant::Value => callback::value(null, Value::new(), n),
            Variant::Checked => callback::checked(null, n),
        });
    }
}

fn twices(bql: &mut BqlGuard, variant: Variant, count: u64) {
    let null: &dyn Callback = black_box(&Null);
    for n in 0..count {
        black_box(match variant {
            Variant::Proof => twice::proof(null, black_box(bql), n),
            Variant::Nothing => twice::nothing(null, n),
            Variant::Value => twice::value(null, Value::new(), n),
            Variant::Checked => twice::checked(null, n),
        });
    }
}

fn reads(bql: &mut BqlGuard, case: &Case, count: u64) -> Result<(), WorkError> {
    let node = filter(bql)?;
    let disk = Backend::new(bql, "disk", Perm::CONSISTENT_READ, Perm::all())?;
    disk.insert(bql, &node)?;
    let mut buffer = Buffer::with_alignment(BYTES, BYTES);
    let in_flight: InFlight<'_> = disk.root().try_begin().ok_or(WorkError::Waits)?;
    let request = in_flight.request()?;
    let null: &dyn DriverIo = &Null;
    for _ in 0..count {
        let (request, into) = (black_box(request), buffer.destination());
        finish(match case.name {
            "driver" => driver::proof(request, black_box(null), 0, into),
            _ => descend::proof(request, 0, into),
        })?;
    }
    Ok(())
}

fn plain_reads(case: &Case, variant: Variant, count: u64) -> Result<(), WorkError> {
    let below = Arc::new(PlainNode::new(Arc::new(Null), LENGTH, None));
    let node = PlainNode::new(Arc::new(Null), LENGTH, Some(below));
    let request = PlainRequest {
        node: &node,
        perm: Perm::CONSISTENT_READ,
        may_unmap: true,
    };
    let mut buffer = Buffer::with_alignment(BYTES, BYTES);
    let null: &dyn PlainDriver = &Null;
    for _ in 0..count {
        let (request, into) = (black_box(request), buffer.destination());
        finish(match (case.name, variant) {
            ("driver", Variant::Checked) => driver::checked(request, black_box(null), 0, into),
            ("driver", _) => driver::nothing(request, black_box(null), 0, into),
            _ => descend::nothing(request, 0, into),
        })?;
    }
    Ok(())
}

fn finish(outcome: IoFuture<'_>) -> Result<(), WorkError> {
    match outcome.into_ready() {
        Ok(outcome) => Ok(outcome?),
        Err(running) => match pin!(running).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Ok(outcome?),
            Poll::Pending => Err(WorkError::Waits),
        },
    }
}

fn null(bql: &mut BqlGuard) -> Result<Node, GraphError> {
    NodeBuilder::new("null").open(bql, Arc::new(Null))
}

/// A filter that sees the requests, over a null device.
fn filter(bql: &mut BqlGuard) -> Result<Node, GraphError> {
    let below = null(bql)?;
    NodeBuilder::new("filter")
        .child("file", &below, Role::FILTERED | Role::PRIMARY)
        .open(bql, Arc::new(Null))
}

/// Does as little as there is to do, in every role.
struct Null;

impl Callback for Null {
    fn proof(&self, _bql: &BqlGuard, n: u64) -> u64 {
        n ^ 1
    }

    fn nothing(&self, n: u64) -> u64 {
        n ^ 1
    }

    fn value(&self, _bql: Value<'_>, n: u64) -> u64 {
        n ^ 1
    }
}

impl Change for Null {
    fn proof(&self, _section: &mut Drained<'_>) -> u64 {
        1
    }

    fn nothing(&self, _section: &mut PlainSection) -> u64 {
        1
    }
}

impl DriverIo for Null {
    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(LENGTH))
    }
}

impl BlockDriver for Null {
    fn format_name(&self) -> &'static str {
        "null"
    }
}

impl PlainDriver for Null {
    fn read<'r>(
        &'r self,
        _request: PlainRequest<'r>,
        _offset: u64,
        _into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_of_every_case_runs() {
        for case in Case::ALL {
            for variant in Variant::ALL {
                let outcome = repeat(&case, variant, 3);
                let has = case.variants.contains(&variant);
                assert_eq!(outcome.is_ok(), has, "{case:?} {variant:?}: {outcome:?}");
            }
        }
    }
}
