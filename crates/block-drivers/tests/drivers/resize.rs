//! Who hears that a node has another length.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use block_drivers::{File, Raw, Throttle, ThrottleConfig, ThrottleGroup};
use block_gs::{Backend, BqlGuard, DeviceOps, EdgeParent, IoThread, Node, Parent, Perm};
use block_io::{DeviceIdentity, DeviceIo, Preallocation};

use crate::support::in_layer;

const EXACT: bool = true;
const OFF: Preallocation = Preallocation::Off;
const KIB: u64 = 1024;

/// A device, or another parent, that counts.
struct Hears {
    main: ThreadId,
    heard: AtomicUsize,
}

impl Hears {
    fn new() -> Arc<Hears> {
        Arc::new(Hears {
            main: std::thread::current().id(),
            heard: AtomicUsize::new(0),
        })
    }

    fn hear(&self) {
        assert_eq!(std::thread::current().id(), self.main);
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// What it has heard since this was last asked.
    fn heard(&self) -> usize {
        self.heard.swap(0, Ordering::Relaxed)
    }
}

impl DeviceIo for Hears {
    fn resized(&self) {
        self.hear();
    }
}

impl DeviceOps for Hears {}

impl EdgeParent for Hears {
    fn describe(&self) -> String {
        "a test".into()
    }

    fn resized(&self, _bql: &BqlGuard) {
        self.hear();
    }
}

/// A backend that may truncate, with its device. Both are kept.
fn disk(bql: &mut BqlGuard, node: &Node) -> (Backend, Arc<Hears>) {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
    let backend = Backend::new(bql, "", perm, Perm::all()).expect("a backend");
    backend.insert(bql, node).expect("inserted");
    let device = Hears::new();
    let identity = DeviceIdentity {
        id: String::new(),
        path: String::new(),
    };
    let attached = backend.attach_device(bql, identity, device.clone());
    std::mem::forget(attached.expect("free"));
    (backend, device)
}

/// A filter that sees requests, and a raw image that does not, over one file.
fn graph(bql: &mut BqlGuard, directory: &tempfile::TempDir) -> [Node; 3] {
    let path = directory.path().join("image");
    File::create(&path, 64 * KIB).expect("created");
    let file = File::new(&path).open(bql, "file").expect("opened");
    let group = ThrottleGroup::new("group", ThrottleConfig::default()).expect("no limits");
    let filter = Throttle::over(&file).group(&group).open(bql, "filter");
    let raw = Raw::over(&file).open(bql, "raw").expect("opened");
    [file, filter.expect("opened"), raw]
}

fn truncate(bql: &mut BqlGuard, disk: &Backend, length: u64) -> bool {
    let done = bql
        .block_on(disk.root().truncate(length, EXACT, OFF))
        .is_ok();
    bql.run_for(Duration::from_millis(1));
    done
}

#[test]
fn everybody_above_hears_of_a_truncation_once() {
    in_layer(|bql, directory| {
        let [file, filter, raw] = graph(bql, directory);
        let (low, one) = disk(bql, &file);
        let (high, two) = disk(bql, &filter);
        let (_skipping, three) = disk(bql, &raw);
        let parent = Hears::new();
        let edges = Parent::new(bql, parent.clone());
        let (perm, shared) = (Perm::empty(), Perm::all());
        edges
            .attach(bql, "main", &filter, perm, shared)
            .expect("attached");
        let all = [&one, &two, &three, &parent];

        // Through the filter, which is truncated too.
        assert!(truncate(bql, &high, 128 * KIB));
        assert_eq!(all.map(|hears| hears.heard()), [1; 4]);
        assert_eq!(filter.io().length(), 128 * KIB);
        // Below it.
        assert!(truncate(bql, &low, 32 * KIB));
        assert_eq!(all.map(|hears| hears.heard()), [1; 4]);
        // Nothing has changed.
        assert!(!truncate(bql, &high, 1 << 62));
        assert_eq!(all.map(|hears| hears.heard()), [0; 4]);
        // A device that has gone hears nothing.
        high.remove(bql);
        assert!(truncate(bql, &low, 64 * KIB));
        assert_eq!(all.map(|hears| hears.heard()), [1, 0, 1, 1]);
    });
}

#[test]
fn truncations_elsewhere_are_heard_in_the_main_loop_and_never_twice() {
    in_layer(|bql, directory| {
        const TIMES: u64 = 300;
        let [_file, filter, _raw] = graph(bql, directory);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let (high, device) = disk(bql, &filter);
        high.set_iothread(bql, Some(&thread)).expect("moved");
        let root = high.root().clone();
        let task = high.root().spawn(async move {
            for number in 1..=TIMES {
                let length = 64 * KIB + number % 2 * 4 * KIB;
                root.truncate(length, EXACT, OFF).await.expect("truncated");
            }
        });
        bql.block_on(task);
        bql.run_for(Duration::from_millis(1));
        let heard = device.heard() as u64;
        assert!((1..=TIMES).contains(&heard), "{heard}");
    });
}
