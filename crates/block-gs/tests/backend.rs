//! Operations on a backend while other main-loop code changes what is below.
//!
//! Each waits for a request, and runs the main loop meanwhile. What runs
//! there gives the backend another node.

use std::time::Duration;

use block_drivers::{NullCo, Stats};
use block_gs::{Backend, BlockLayer, BqlGuard, GraphError, IoThread, Node, Perm};
use block_io::Buffer;
use block_io::aio::JoinHandle;

const READ: Perm = Perm::CONSISTENT_READ;

fn slow_disk(bql: &mut BqlGuard) -> Result<(Backend, Node), GraphError> {
    let node = NullCo::new(1 << 20)
        .latency(Duration::from_millis(30))
        .open(bql, "slow")?;
    let disk = Backend::new(bql, "disk", READ, Perm::all())?;
    disk.set_allow_context_change(bql, true);
    disk.insert(bql, &node)?;
    Ok((disk, node))
}

/// A read that is in flight when this returns.
fn begin_read(bql: &mut BqlGuard, disk: &Backend) -> JoinHandle<Result<(), block_io::IoError>> {
    let root = disk.root().clone();
    let reader = disk.root().spawn(async move {
        let mut buffer = Buffer::zeroed(512);
        root.read(0, buffer.destination()).await
    });
    let root = disk.root().clone();
    while root.in_flight() == 0 {
        bql.run_for(Duration::from_millis(1));
    }
    reader
}

/// Lets the main loop put a filter above `node`, when it next runs.
fn insert_filter_later(bql: &BqlGuard, node: &Node) {
    let node = node.clone();
    bql.main_loop().schedule(move |bql| {
        let filter = Stats::over(&node).open(bql, "filter").expect("opened");
        node.drain(bql).replace_with(&filter).expect("replaced");
    });
}

#[test]
fn removing_a_node_that_was_replaced_meanwhile_removes_the_new_one() {
    let layer = BlockLayer::new().expect("a layer");
    let outcome = layer.enter(|bql| -> Result<(), GraphError> {
        let (disk, node) = slow_disk(bql)?;
        let reader = begin_read(bql, &disk);
        insert_filter_later(bql, &node);
        disk.remove(bql);
        assert_eq!(disk.node(bql), None);
        bql.block_on(reader)?;
        Ok(())
    });
    outcome.expect("no error");
}

#[test]
fn replacing_a_node_that_was_replaced_meanwhile_is_no_error() {
    let layer = BlockLayer::new().expect("a layer");
    let outcome = layer.enter(|bql| -> Result<(), GraphError> {
        let (disk, node) = slow_disk(bql)?;
        let other = NullCo::new(1 << 20).open(bql, "other")?;
        let reader = begin_read(bql, &disk);
        insert_filter_later(bql, &node);
        disk.replace(bql, &other)?;
        assert_eq!(disk.node(bql), Some(other));
        bql.block_on(reader)?;
        Ok(())
    });
    outcome.expect("no error");
}

#[test]
fn moving_a_backend_whose_filter_is_dropped_meanwhile_moves_it() {
    let layer = BlockLayer::new().expect("a layer");
    let outcome = layer.enter(|bql| -> Result<(), GraphError> {
        let (disk, node) = slow_disk(bql)?;
        let filter = Stats::over(&node).open(bql, "filter")?;
        node.drain(bql).replace_with(&filter)?;
        let iothread = IoThread::create(bql, "io0")?;
        let reader = begin_read(bql, &disk);
        let dropped = filter.clone();
        bql.main_loop().schedule(move |bql| {
            dropped.drain(bql).drop_filter().expect("dropped");
        });
        disk.set_iothread(bql, Some(&iothread))?;
        assert_eq!(disk.root().context(), *iothread.context());
        assert_eq!(node.io().context(), *iothread.context());
        bql.block_on(reader)?;
        Ok(())
    });
    outcome.expect("no error");
}

#[test]
fn a_refused_insertion_moves_nothing_and_stands_in_nobodys_way() {
    let layer = BlockLayer::new().expect("a layer");
    let outcome = layer.enter(|bql| -> Result<(), GraphError> {
        let (disk, node) = slow_disk(bql)?;
        let iothread = IoThread::create(bql, "io0")?;
        disk.set_iothread(bql, Some(&iothread))?;
        let greedy = Backend::new(bql, "greedy", Perm::empty(), Perm::empty())?;
        for home in [None, Some(&iothread)] {
            greedy.set_iothread(bql, home)?;
            let reader = begin_read(bql, &disk);
            let above = node.clone();
            // Would be refused beside an edge that shares nothing.
            bql.main_loop().schedule(move |bql| {
                let other = Backend::new(bql, "", READ, Perm::all()).expect("a backend");
                other.set_allow_context_change(bql, true);
                other.insert(bql, &above).expect("nobody is in the way");
                other.remove(bql);
            });
            let refused = greedy.insert(bql, &node);
            assert!(
                matches!(refused, Err(GraphError::PermissionConflict { .. })),
                "{refused:?}"
            );
            bql.block_on(reader)?;
            assert_eq!(greedy.node(bql), None);
        }
        let quiet = Backend::new(bql, "quiet", Perm::empty(), Perm::empty())?;
        disk.set_iothread(bql, Some(&iothread))?;
        let refused = quiet.insert(bql, &node);
        assert!(refused.is_err());
        assert_eq!(node.io().context(), *iothread.context());
        assert_eq!(disk.root().context(), *iothread.context());
        assert_eq!(quiet.root().context(), *bql.context());
        Ok(())
    });
    outcome.expect("no error");
}

#[test]
fn a_backend_may_lose_its_last_handle_while_its_layer_closes() {
    let layer = BlockLayer::new().expect("a layer");
    let reader = layer.enter(|bql| {
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let (disk, _) = slow_disk(bql).expect("a disk");
        disk.set_iothread(bql, Some(&io)).expect("moved");
        let root = disk.root().clone();
        let reader = io.context().spawn(async move {
            let request = root.begin().await;
            let mut buffer = Buffer::zeroed(512);
            let read = async { request.request()?.read(0, buffer.destination()).await };
            let outcome = read.await;
            // Counted until here: closing waits for it, and finds no backend.
            drop(disk);
            drop(request);
            outcome
        });
        while layer_is_idle(bql) {
            bql.run_for(Duration::from_millis(1));
        }
        reader
    });
    drop(layer);
    assert!(reader.is_finished());
}

fn layer_is_idle(bql: &BqlGuard) -> bool {
    block_gs::backends(bql).all(|backend| backend.root().in_flight() == 0)
}
