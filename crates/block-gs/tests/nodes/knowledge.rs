//! What nodes know of their images, and who is asked.

use std::sync::atomic::Ordering;

use block_gs::{
    BqlGuard, GraphError, HeaderBacking, Node, NodeView, PictureKind, Role, Value, graph_picture,
};
use block_io::{Buffer, IoError, Repairs, Request};

use crate::common::{Mem, above, backend, filter, in_layer, node};
use crate::format::{Format, image, open};

/// Does I/O at a node that nobody uses.
fn ask<T>(bql: &mut BqlGuard, node: &Node, f: impl AsyncFnOnce(Request<'_>) -> T) -> T {
    node.drain(bql).io(f)
}

#[test]
fn filters_show_what_their_child_knows_and_formats_do_not() {
    in_layer(|bql| {
        let (disk, _) = image(bql, "disk", None);
        let (above_disk, _) = filter(bql, "above", &disk);
        let (over, _) =
            above(bql, "over", Mem::of(512), "file", &disk, Role::IMAGE).expect("an image");
        let (base, _) = node(bql, "base", Mem::of(512));
        let (overlay, _) = image(bql, "overlay", Some(&base));
        let at = |node: &Node| -> NodeView<'_> { node.view(bql) };
        assert_eq!(
            at(&above_disk)
                .probe_block_sizes(bql)
                .expect("known")
                .physical,
            4096
        );
        assert_eq!(
            at(&above_disk).probe_geometry(bql).expect("known").heads,
            16
        );
        assert_eq!(at(&over).probe_block_sizes(bql), None);
        assert_eq!(at(&over).probe_geometry(bql), None);
        assert!(at(&above_disk).has_zero_init(bql) && at(&disk).has_zero_init(bql));
        assert!(!at(&over).has_zero_init(bql), "a format has to say so");
        assert!(
            !at(&overlay).has_zero_init(bql),
            "it reads as its backing image"
        );
        assert!(at(&above_disk).can_replace(bql, at(&disk)));
        assert!(!at(&over).can_replace(bql, at(&disk)));
        assert!(at(&over).can_replace(bql, at(&over)));
    });
}

#[test]
fn a_node_is_replaced_by_a_copy_only_if_a_guest_sees_the_same() {
    in_layer(|bql| {
        let (disk, _) = image(bql, "disk", None);
        let (shown, _) = filter(bql, "shown", &disk);
        let (other, _) = image(bql, "other", None);
        let view = shown.view(bql);
        assert_eq!(view.check_to_replace(bql, "disk").expect("the same"), disk);
        let text = |name: &str| {
            view.check_to_replace(bql, name)
                .expect_err("no")
                .to_string()
        };
        assert_eq!(text("x"), "Failed to find node with node-name='x'");
        assert_eq!(
            text(other.name()),
            "Cannot replace 'other' by a node mirrored from 'shown', because it cannot be \
             guaranteed that doing so would not lead to an abrupt change of visible data"
        );
    });
}

#[test]
fn requests_reach_the_child_that_knows() {
    in_layer(|bql| {
        let (disk, format) = image(bql, "disk", None);
        let (over, _) =
            above(bql, "over", Mem::of(512), "file", &disk, Role::IMAGE).expect("an image");
        let info = ask(bql, &disk, async |request| request.info().await).expect("known");
        assert_eq!((info.cluster_size, info.subcluster_size), (1024, 1024));
        let none = ask(bql, &over, async |request| request.info().await);
        assert!(matches!(none, Err(IoError::NotSupported)));
        let rounded = async |request: Request<'_>| request.round_to_subclusters(1500, 1000).await;
        assert_eq!(ask(bql, &disk, rounded), (1024, 2048));
        assert_eq!(ask(bql, &over, rounded), (1500, 1000));
        let size = async |request: Request<'_>| request.allocated_size().await;
        assert_eq!(ask(bql, &over, size).expect("known"), 7);

        let mut buffer = Buffer::zeroed(4);
        buffer.as_mut_slice().copy_from_slice(b"live");
        ask(bql, &over, async |request| {
            request.save_vmstate(100, buffer.source()).await
        })
        .expect("kept by the child");
        assert_eq!(format.state.lock().expect("no panic")[100..], *b"live");
        let mut back = Buffer::zeroed(2);
        ask(bql, &over, async |request| {
            request.load_vmstate(102, back.destination()).await
        })
        .expect("kept by the child");
        assert_eq!(back.as_slice(), b"ve");
        let (nobody, _) = node(bql, "nobody", Mem::of(512));
        let refused = ask(bql, &nobody, async |request| {
            request.save_vmstate(0, buffer.source()).await
        });
        assert!(matches!(refused, Err(IoError::NotSupported)));
    });
}

#[test]
fn an_overlay_takes_what_its_own_files_take() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", None);
        let (data, _) = image(bql, "data", None);
        let (overlay, _) = above(
            bql,
            "overlay",
            Mem::overlay(512),
            "backing",
            &base,
            Role::COW,
        )
        .expect("an overlay");
        let size = async |request: Request<'_>| request.allocated_size().await;
        assert_eq!(ask(bql, &overlay, size).expect("known"), 0);
        let attached = overlay.drain(bql).attach_child("file", &data, Role::IMAGE);
        attached.expect("attached");
        assert_eq!(ask(bql, &overlay, size).expect("known"), 7);
        let (protocol, _) = node(bql, "protocol", Mem::of(512));
        let unknown = ask(bql, &protocol, size);
        assert!(matches!(unknown, Err(IoError::NotSupported)));
    });
}

#[test]
fn a_medium_is_there_if_all_below_have_one() {
    in_layer(|bql| {
        let mut gone = Format::new(bql);
        gone.stuck = true;
        let (drive, _) = open(bql, "drive", gone, None);
        let (above_drive, _) = filter(bql, "above", &drive);
        let (disk, _) = image(bql, "disk", None);
        let inserted = async |request: Request<'_>| request.is_inserted().await;
        assert!(!ask(bql, &above_drive, inserted).expect("known"));
        assert!(ask(bql, &disk, inserted).expect("known"));
        let (plain, _) = node(bql, "plain", Mem::of(512));
        assert!(ask(bql, &plain, inserted).expect("known"));
        let moved = async |request: Request<'_>| request.eject(true).await;
        ask(bql, &plain, moved).expect("it has no tray");
    });
}

#[test]
fn what_a_driver_lacks_is_refused() {
    in_layer(|bql| {
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let (disk, _) = image(bql, "disk", None);
        let check = async |request: Request<'_>| request.check(Repairs::LEAKS).await;
        assert_eq!(ask(bql, &disk, check).expect("checked").leaks_fixed, 3);
        assert!(matches!(
            ask(bql, &plain, check),
            Err(IoError::NotSupported)
        ));
        let zones = async |request: Request<'_>| request.zones(0, 2).await;
        assert_eq!(ask(bql, &disk, zones).expect("known").len(), 2);
        assert!(matches!(
            ask(bql, &plain, zones),
            Err(IoError::NotSupported)
        ));
        let append = async |request: Request<'_>| {
            let buffer = Buffer::zeroed(512);
            let flags = block_io::WriteFlags::empty();
            request.append_to_zone(0, buffer.source(), flags).await
        };
        assert!(matches!(
            ask(bql, &disk, append),
            Err(IoError::NotSupported)
        ));
        let past = async |request: Request<'_>| request.discard_snapshot(0, 512).await;
        assert!(matches!(ask(bql, &plain, past), Err(IoError::NotSupported)));
        let far =
            async |request: Request<'_>| request.snapshot_status(1 << 63, 1, true).await.map(drop);
        assert!(matches!(ask(bql, &plain, far), Err(IoError::OutOfRange(_))));
        let measured = plain.view(bql).measure(bql, 512, None).map(drop);
        assert_eq!(
            measured.expect_err("unknown").to_string(),
            "Block driver 'mem' does not support size measurement"
        );
    });
}

#[test]
fn a_header_is_believed_or_not_but_always_shown() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", None);
        let (top, format) = image(bql, "top", Some(&base));
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let said = |bql: &BqlGuard, view: NodeView<'_>| {
            let said = view.header_backing(bql)?;
            Some((said.file, said.format))
        };
        let named = |file: &str| Some((file.to_owned(), Some("format".to_owned())));
        assert_eq!(said(bql, top.view(bql)), named("/images/base"));
        assert_eq!(said(bql, base.view(bql)), None);
        assert_eq!(said(bql, plain.view(bql)), None);
        // The graph may say something else; the header does not change for it.
        let mut drained = top.drain(bql);
        drained.set_backing(None).expect("removed");
        drop(drained);
        assert_eq!(said(bql, top.view(bql)), named("/images/base"));
        assert!(top.view(bql).backing_is_overridden(bql));
        *format.header.lock().expect("no panic") = Some(HeaderBacking {
            file: "elsewhere".into(),
            format: None,
        });
        let now = said(bql, top.view(bql));
        assert_eq!(now, Some(("elsewhere".into(), None)));
    });
}

#[test]
fn a_header_needs_the_format_with_the_name() {
    in_layer(|bql| {
        let (disk, format) = image(bql, "disk", None);
        let write = async |request: Request<'_>, format: Option<&str>| {
            let file = "/base";
            request
                .change_backing_file(Some(block_io::BackingName { file, format }))
                .await
        };
        let refused = ask(bql, &disk, async |request| write(request, None).await);
        assert_eq!(refused.expect_err("no format").errno(), 22);
        assert_eq!(format.says(), None);
        let written = ask(bql, &disk, async |request| {
            write(request, Some("raw")).await
        });
        written.expect("written");
        assert_eq!(format.says().as_deref(), Some("/base"));
    });
}

#[test]
fn an_amendment_runs_as_it_was_prepared_and_is_cleaned_up() {
    in_layer(|bql| {
        let (disk, format) = image(bql, "disk", None);
        let (other, _) = image(bql, "other", None);
        let options = Value::map([("size", 1u64.into())]);
        let prepared = disk.prepare_amend(bql, &options, false).expect("prepared");
        assert_eq!(format.prepared.load(Ordering::Relaxed), 1);
        let run = async |request: Request<'_>| request.amend(prepared.ready()?).await;
        let elsewhere = ask(bql, &other, run);
        assert_eq!(elsewhere.expect_err("another node").errno(), 22);
        ask(bql, &disk, run).expect("amended");
        drop(prepared);
        bql.run_for(std::time::Duration::from_millis(1));
        assert_eq!(format.prepared.load(Ordering::Relaxed), 0);
        disk.drain(bql)
            .amend_options(&options, true)
            .expect("amended");
        assert_eq!(format.prepared.load(Ordering::Relaxed), 0);
        let amended = format.amended.lock().expect("no panic").clone();
        assert_eq!(amended, ["{\"size\": 1}", "{\"size\": 1}"]);
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let refused = plain.prepare_amend(bql, &options, false).map(drop);
        assert_eq!(
            refused.expect_err("it cannot").to_string(),
            "Block driver 'mem' does not support option amendment"
        );
    });
}

#[test]
fn children_come_and_go_where_the_driver_takes_them() {
    in_layer(|bql| {
        let (many, _) = image(bql, "many", None);
        let (child, _) = image(bql, "child", None);
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let text = |result: Result<(), GraphError>| result.expect_err("no").to_string();
        assert_eq!(
            text(plain.drain(bql).add_child(&child)),
            "The node plain does not support adding a child"
        );
        assert_eq!(
            text(plain.drain(bql).del_child("x")),
            "The node plain does not support removing a child"
        );
        let mut drained = many.drain(bql);
        drained.add_child(&child).expect("added");
        let edge = many.view(&drained).children().next().expect("added");
        assert_eq!(
            (edge.name(), edge.child()),
            ("children.0", child.view(&drained))
        );
        assert_eq!(
            text(drained.add_child(&child)),
            "The node child already has a parent"
        );
        assert_eq!(
            text(drained.del_child("x")),
            "The node many does not have a child named x"
        );
        drained.del_child("children.0").expect("removed");
        assert_eq!(many.view(&drained).children().count(), 0);
        assert_eq!(child.view(&drained).parents().count(), 0);
    });
}

#[test]
fn only_what_may_be_written_is_emptied() {
    in_layer(|bql| {
        let mut broken = Format::new(bql);
        broken.stuck = true;
        broken.name = Some("/images/a".into());
        let (image, _) = open(bql, "image", broken, None);
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let text = |result: Result<(), GraphError>| result.expect_err("no").to_string();
        let nobody = image.drain(bql).make_empty();
        assert_eq!(text(nobody), "Block node is read-only");
        let _disk = backend(bql, "disk", &image);
        let _other = backend(bql, "other", &plain);
        assert_eq!(
            text(image.drain(bql).make_empty()),
            "Failed to empty /images/a: Input/output error"
        );
        assert_eq!(
            text(plain.drain(bql).make_empty()),
            "mem does not support emptying image files"
        );
    });
}

#[test]
fn breakpoints_are_those_of_the_first_driver_that_has_them() {
    in_layer(|bql| {
        let (disk, _) = image(bql, "disk", None);
        let (above_disk, _) = filter(bql, "above", &disk);
        above_disk
            .set_breakpoint(bql, "l1_update", "A")
            .expect("set");
        assert!(disk.is_suspended(bql, "A") && above_disk.is_suspended(bql, "A"));
        above_disk.resume_breakpoint(bql, "A").expect("gone on");
        assert!(!disk.is_suspended(bql, "A"));
        disk.remove_breakpoint(bql, "A").expect("none left");
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let none = plain.set_breakpoint(bql, "l1_update", "A");
        assert!(matches!(none, Err(IoError::NotSupported)));
        assert!(!plain.is_suspended(bql, "A"));
    });
}

#[test]
fn the_graph_is_drawn_with_every_edge() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let (above_disk, _) = filter(bql, "above", &disk);
        let _device = backend(bql, "device", &above_disk);
        let picture = graph_picture(bql);
        let names: Vec<_> = picture.places.iter().map(|place| &*place.name).collect();
        assert_eq!(names, ["device", "above", "disk"]);
        assert_eq!(picture.places[0].kind, PictureKind::Device);
        let edges: Vec<_> = picture
            .edges
            .iter()
            .map(|edge| (edge.parent, edge.child, &*edge.name))
            .collect();
        assert_eq!(edges, [(1, 2, "file"), (0, 1, "root")]);
    });
}

#[test]
fn allocation_is_that_of_the_node_or_of_the_chain() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(8192));
        let (top, _) = image(bql, "top", Some(&base));
        let below = base.io().clone();
        ask(bql, &top, async |request| {
            // The drivers say nothing, so all is data of the first.
            let here = request.is_allocated(0, 8192).await;
            assert_eq!(here.expect("known"), (true, 4096));
            let above = request.is_allocated_above(Some(&below), 0, 512).await;
            assert_eq!(above.expect("known"), (Some(1), 512));
            assert!(!request.is_zero_fast(0, 512).await.expect("known"));
            assert!(request.is_zero_fast(4096, 0).await.expect("empty"));
        });
        ask(bql, &base, async |request| {
            let above = request.is_allocated_above(Some(&below), 0, 512).await;
            assert_eq!(above.expect("nothing above itself"), (None, 512));
        });
        top.drain(bql).refresh_limits().expect("as they were");
    });
}
