//! Giving images to another process, and taking them back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use block_gs::{
    Backend, BqlGuard, EdgeParent, GraphError, Node, NodeBuilder, NodeOptions, Parent, Perm, Role,
    activate_all, inactivate_all, nodes,
};
use block_io::{Buffer, IoError};

use crate::common::{Mem, above, backend, filter, in_layer, node};
use crate::format;

fn write(bql: &mut BqlGuard, disk: &Backend) -> Result<(), IoError> {
    let buffer = Buffer::zeroed(512);
    bql.block_on(disk.root().write(0, buffer.source()))
}

/// Which nodes are inactive, and what is asked of each of them.
fn picture(bql: &BqlGuard) -> Vec<(String, bool, Perm, Perm)> {
    let seen = nodes(bql).map(|node| {
        let name = node.name().to_owned();
        let (perm, shared) = (node.cumulative_perm(), node.cumulative_shared());
        (name, node.is_inactive(), perm, shared)
    });
    seen.collect()
}

fn told(driver: &Mem) -> Vec<&'static str> {
    driver.handovers.lock().expect("no panic").clone()
}

/// An overlay above `file`, with its data in it.
fn image(bql: &mut BqlGuard, file: &Node, driver: Mem) -> (Node, Arc<Mem>) {
    above(bql, "image", driver, "file", file, Role::IMAGE).expect("an image")
}

#[test]
fn an_inactive_disk_is_read_and_not_written() {
    in_layer(|bql| {
        let (file, below) = node(bql, "file", Mem::of(512));
        let (image, driver) = image(bql, &file, Mem::of(512));
        let disk = backend(bql, "disk", &image);
        let before = picture(bql);
        image.inactivate(bql).expect("nobody minds");
        assert!(image.view(bql).is_inactive() && file.view(bql).is_inactive());
        assert_eq!(image.view(bql).cumulative_perm(), Perm::empty());
        assert_eq!(image.view(bql).cumulative_shared(), Perm::all());
        let refused = write(bql, &disk).expect_err("not ours");
        assert!(matches!(refused, IoError::Inactive), "{refused}");
        let mut buffer = Buffer::zeroed(512);
        bql.block_on(disk.root().read(0, buffer.destination()))
            .expect("reads go on");
        image.inactivate(bql).expect("it is already");

        // What it asks for meanwhile it gets when the node is back.
        let wanted = Perm::CONSISTENT_READ | Perm::WRITE;
        disk.set_perm(bql, wanted, Perm::all()).expect("later");
        assert_eq!(image.view(bql).cumulative_perm(), Perm::empty());
        image.activate(bql).expect("nobody minds");
        assert_eq!(picture(bql), before);
        write(bql, &disk).expect("ours again");
        for driver in [driver, below] {
            assert_eq!(told(&driver), ["released", "taken"]);
        }
    });
}

#[test]
fn a_node_below_an_active_one_stays_active() {
    in_layer(|bql| {
        let (file, _) = node(bql, "file", Mem::of(512));
        let (one, _) = filter(bql, "one", &file);
        let (two, _) = filter(bql, "two", &file);
        let refused = file.inactivate(bql).expect_err("one and two use it");
        assert_eq!(refused.to_string(), "Node has active parent node");
        one.inactivate(bql).expect("nobody minds");
        assert!(one.view(bql).is_inactive() && !file.view(bql).is_inactive());
        two.inactivate(bql).expect("nobody minds");
        assert!(file.view(bql).is_inactive());
        one.activate(bql).expect("nobody minds");
        assert!(!file.view(bql).is_inactive() && two.view(bql).is_inactive());
    });
}

#[test]
fn a_writer_that_no_guest_uses_keeps_the_node_active() {
    in_layer(|bql| {
        let (file, driver) = node(bql, "file", Mem::of(512));
        let export = backend(bql, "", &file);
        let before = picture(bql);
        let refused = file.inactivate(bql).expect_err("it writes");
        let text = "Failed to inactivate node: Operation not permitted";
        assert_eq!(refused.to_string(), text);
        assert_eq!(picture(bql), before);
        assert_eq!(told(&driver), ["released", "taken"]);
        write(bql, &export).expect("still ours");
        export.set_force_allow_inactivate(bql);
        file.inactivate(bql).expect("it may");
        assert!(file.view(bql).is_inactive());
    });
}

#[test]
fn a_refusal_far_below_takes_everything_back() {
    in_layer(|bql| {
        let stubborn = Mem {
            refuse_handover: true,
            ..Mem::of(512)
        };
        let (file, _) = node(bql, "file", stubborn);
        let (image, driver) = image(bql, &file, Mem::of(512));
        let (top, above) = filter(bql, "top", &image);
        let disk = backend(bql, "disk", &top);
        let before = picture(bql);
        let refused = top.inactivate(bql).expect_err("the file refuses");
        let text = "Failed to inactivate node: Input/output error";
        assert_eq!(refused.to_string(), text);
        assert_eq!(picture(bql), before);
        for driver in [driver, above] {
            assert_eq!(told(&driver), ["released", "taken"]);
        }
        assert_eq!(top.view(bql).quiesce_count(), 0);
        write(bql, &disk).expect("still ours");
    });
}

#[test]
fn what_is_open_for_writing_is_writable_while_it_is_ours() {
    in_layer(|bql| {
        let (disk, _) = format::image(bql, "disk", None);
        let locked = NodeBuilder::new("locked").read_only(true);
        let locked = locked.open(bql, Arc::new(Mem::of(512))).expect("opened");
        let both = |bql: &BqlGuard, node: &Node| {
            let (io_node, view) = (node.io(), node.view(bql));
            assert_eq!(io_node.is_read_only(), view.is_read_only());
            assert_eq!(io_node.is_writable(), view.is_writable());
            assert_eq!(view.info(bql).read_only, view.is_read_only());
            (view.is_read_only(), view.is_writable())
        };
        assert_eq!(both(bql, &disk), (false, true));
        assert_eq!(both(bql, &locked), (true, false));
        assert!(disk.view(bql).can_snapshot());
        disk.inactivate(bql).expect("nobody minds");
        assert_eq!(both(bql, &disk), (false, false));
        // Its snapshots are the other process's now.
        assert!(!disk.view(bql).can_snapshot());
        disk.activate(bql).expect("nobody minds");
        assert_eq!(both(bql, &disk), (false, true));
        assert!(disk.view(bql).can_snapshot());
    });
}

/// A parent that hears when its node comes back, and may object.
#[derive(Default)]
struct Hears {
    told: Mutex<Vec<&'static str>>,
    objects: AtomicBool,
}

impl Hears {
    fn hear(&self, what: &'static str) -> Result<(), GraphError> {
        self.told.lock().expect("no panic").push(what);
        match self.objects.load(Ordering::Relaxed) {
            true => Err(IoError::from_errno(16).into()),
            false => Ok(()),
        }
    }

    fn told(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.told.lock().expect("no panic"))
    }
}

impl EdgeParent for Hears {
    fn describe(&self) -> String {
        "a test that hears".into()
    }

    fn inactivate(&self, _bql: &BqlGuard) -> Result<(), GraphError> {
        self.hear("inactivate")
    }

    fn activate(&self, _bql: &BqlGuard) -> Result<(), GraphError> {
        self.hear("activate")
    }
}

#[test]
fn a_parent_hears_once_for_each_of_its_nodes_and_may_object() {
    in_layer(|bql| {
        let (one, driver) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let hears = Arc::new(Hears::default());
        let job = Parent::new(bql, hears.clone());
        for node in [&one, &two] {
            job.attach(bql, node.name(), node, Perm::empty(), Perm::all())
                .expect("attached");
        }
        inactivate_all(bql).expect("nobody minds");
        assert_eq!(hears.told(), ["inactivate", "inactivate"]);
        one.activate(bql).expect("nobody minds");
        assert_eq!(hears.told(), ["activate"]);
        one.activate(bql).expect("it is already");
        assert_eq!(hears.told(), [""; 0]);

        hears.objects.store(true, Ordering::Relaxed);
        let before = picture(bql);
        let refused = two.activate(bql).expect_err("the parent objects");
        assert_eq!(refused.errno(), 16);
        assert!(two.view(bql).is_inactive() && !one.view(bql).is_inactive());
        assert_eq!(picture(bql), before);
        assert_eq!(told(&driver), ["released", "taken"]);
        hears.objects.store(false, Ordering::Relaxed);
        hears.told();
        activate_all(bql).expect("nobody minds");
        assert_eq!(hears.told(), ["activate"]);
        assert!(!two.view(bql).is_inactive());
    });
}

/// A parent that has an opinion.
struct Refuses;

impl EdgeParent for Refuses {
    fn describe(&self) -> String {
        "a test".into()
    }

    fn inactivate(&self, _bql: &BqlGuard) -> Result<(), GraphError> {
        Err(IoError::from_errno(16).into())
    }
}

#[test]
fn every_parent_is_asked() {
    in_layer(|bql| {
        let (file, _) = node(bql, "file", Mem::of(512));
        let disk = backend(bql, "disk", &file);
        let job = Parent::new(bql, Arc::new(Refuses));
        job.attach(bql, "main", &file, Perm::empty(), Perm::all())
            .expect("attached");
        let before = picture(bql);
        let refused = inactivate_all(bql).expect_err("the parent refuses");
        assert_eq!(refused.errno(), 16);
        assert_eq!(picture(bql), before);
        write(bql, &disk).expect("still ours");
    });
}

/// A parent that breaks down.
struct Panics;

impl EdgeParent for Panics {
    fn describe(&self) -> String {
        "a broken test".into()
    }

    fn inactivate(&self, _bql: &BqlGuard) -> Result<(), GraphError> {
        panic!("on purpose")
    }
}

#[test]
fn a_parent_that_panics_leaves_all_nodes_active() {
    in_layer(|bql| {
        let (file, _) = node(bql, "file", Mem::of(512));
        let (top, _) = filter(bql, "top", &file);
        let disk = backend(bql, "disk", &top);
        let job = Parent::new(bql, Arc::new(Panics));
        job.attach(bql, "main", &file, Perm::empty(), Perm::all())
            .expect("attached");
        let before = picture(bql);
        let attempt = std::panic::AssertUnwindSafe(|| top.inactivate(bql));
        let panicked = std::panic::catch_unwind(attempt).expect_err("on purpose");
        assert_eq!(panicked.downcast_ref(), Some(&"on purpose"));
        assert_eq!(picture(bql), before);
        assert_eq!(top.view(bql).quiesce_count(), 0);
        write(bql, &disk).expect("still ours");
    });
}

#[test]
fn all_nodes_change_or_none() {
    in_layer(|bql| {
        let (good, driver) = node(bql, "good", Mem::of(512));
        let stubborn = Mem {
            refuse_handover: true,
            ..Mem::of(512)
        };
        let (bad, _) = node(bql, "bad", stubborn);
        let refused = inactivate_all(bql).expect_err("one refuses");
        assert_eq!(refused.errno(), 5);
        assert!(!good.view(bql).is_inactive() && !bad.view(bql).is_inactive());
        drop(bad);
        bql.run_for(std::time::Duration::from_millis(1));
        inactivate_all(bql).expect("nobody minds");
        assert!(good.view(bql).is_inactive());
        activate_all(bql).expect("nobody minds");
        assert!(!good.view(bql).is_inactive());
        assert_eq!(told(&driver).last(), Some(&"taken"));
    });
}

fn inactive(bql: &mut BqlGuard, name: &str, driver: Mem, below: Option<&Node>) -> Node {
    let options = NodeOptions {
        inactive: true,
        ..NodeOptions::default()
    };
    let mut builder = NodeBuilder::new(name).options(options);
    if let Some(below) = below {
        builder = builder.child("file", below, Role::IMAGE);
    }
    builder.open(bql, Arc::new(driver)).expect("opened")
}

#[test]
fn nodes_can_be_opened_inactive() {
    in_layer(|bql| {
        let file = inactive(bql, "file", Mem::of(512), None);
        assert_eq!(file.length(bql), 512);
        let over = Arc::new(Mem::of(512));
        let refused = NodeBuilder::new("active")
            .child("file", &file, Role::IMAGE)
            .open(bql, over)
            .expect_err("active above inactive");
        assert_eq!(
            refused.to_string(),
            "Inactive 'file' can't be a file child of active 'active'"
        );
        let top = inactive(bql, "top", Mem::of(512), Some(&file));
        let disk = Backend::new(bql, "disk", Perm::WRITE, Perm::all()).expect("made");
        let refused = disk.insert(bql, &top).expect_err("it would write");
        assert_eq!(
            refused.to_string(),
            "Permission 'write' unavailable on inactive node"
        );
        disk.set_perm(bql, Perm::CONSISTENT_READ, Perm::all())
            .expect("nothing below yet");
        disk.insert(bql, &top).expect("it only reads");
        top.activate(bql).expect("nobody minds");
        assert!(!top.view(bql).is_inactive() && !file.view(bql).is_inactive());
        let all = Perm::CONSISTENT_READ | Perm::WRITE;
        disk.set_perm(bql, all, Perm::all()).expect("ours now");
        write(bql, &disk).expect("ours now");
    });
}

#[test]
fn an_activation_that_conflicts_takes_everything_back() {
    in_layer(|bql| {
        let file = inactive(bql, "file", Mem::of(512), None);
        let top = inactive(bql, "top", Mem::of(512), Some(&file));
        // Once active the image keeps writers from its file; there is one
        // already that lets nobody else write.
        let reader = Backend::new(bql, "", Perm::CONSISTENT_READ, Perm::CONSISTENT_READ);
        let reader = reader.expect("made");
        reader.insert(bql, &file).expect("inserted");
        let before = picture(bql);
        let refused = top.activate(bql).expect_err("a conflict");
        assert!(
            refused
                .to_string()
                .starts_with("Permission conflict on node 'file'"),
            "{refused}"
        );
        assert_eq!(picture(bql), before);
        reader.remove(bql);
        top.activate(bql).expect("no conflict any more");
        assert!(!file.view(bql).is_inactive());
    });
}

#[test]
fn damage_is_told_in_the_main_loop_with_the_device_above() {
    in_layer(|bql| {
        let (file, _) = node(bql, "file", Mem::of(512));
        let _disk = backend(bql, "disk", &file);
        let heard: Arc<Mutex<Vec<block_io::BackendEvent>>> = Arc::default();
        let ears = Arc::clone(&heard);
        let listening = bql.events().listen(move |event| {
            ears.lock().expect("no panic").push(event.clone());
        });
        file.drain(bql).io(async |request| {
            request.report_damage("odd", None, false);
            request.report_damage("worse", Some(512..1536), true);
        });
        while bql.poll(block_io::aio::Wait::No) {}
        let event = |message: &str, range: Option<(u64, u64)>, fatal| {
            block_io::BackendEvent::ImageCorrupted(block_io::ImageCorrupted {
                device: "disk".into(),
                node_name: "file".into(),
                message: message.into(),
                offset: range.map(|range| range.0),
                size: range.map(|range| range.1),
                fatal,
            })
        };
        let expected = [
            event("odd", None, false),
            event("worse", Some((512, 1024)), true),
        ];
        assert_eq!(*heard.lock().expect("no panic"), expected);
        drop(listening);
        file.drain(bql)
            .io(async |request| request.report_damage("later", None, false));
        while bql.poll(block_io::aio::Wait::No) {}
        assert_eq!(heard.lock().expect("no panic").len(), 2);
    });
}
