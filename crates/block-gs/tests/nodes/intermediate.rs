//! Taking images out of the middle of a chain, and their file names.

use block_gs::{BqlGuard, GraphError, Node, NodeBuilder, NodeView, Role};

use crate::common::{Mem, child_name, filter, in_layer, node};
use crate::format::{Format, image, open};

fn refused(result: Result<(), GraphError>) -> String {
    result.expect_err("should be refused").to_string()
}

#[test]
fn parents_and_their_headers_go_to_the_base() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", None);
        let (mid, _) = image(bql, "mid", Some(&base));
        let (top, header) = image(bql, "top", Some(&mid));
        let (other, second) = image(bql, "other", Some(&mid));
        assert_eq!(header.says().as_deref(), Some("/images/mid"));
        let mut drained = mid.drain(bql);
        drained.drop_intermediate(&base, None).expect("dropped");
        drop(drained);
        for (overlay, header) in [(&top, header), (&other, second)] {
            let below = child_name(bql, overlay, "backing");
            assert_eq!(below.as_deref(), Some("base"));
            assert_eq!(header.says().as_deref(), Some("/images/base"));
            assert!(!overlay.view(bql).backing_is_overridden(bql));
        }
        assert_eq!(mid.view(bql).parents().count(), 0);
        assert_eq!(child_name(bql, &mid, "backing").as_deref(), Some("base"));
    });
}

#[test]
fn a_name_can_be_given_and_filters_are_skipped_over() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", None);
        let (mid, _) = image(bql, "mid", Some(&base));
        let (over, _) = filter(bql, "over", &mid);
        let (top, header) = image(bql, "top", Some(&over));
        let dropped = over.drain(bql).drop_intermediate(&base, Some("../base"));
        dropped.expect("dropped");
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("base"));
        assert_eq!(header.says().as_deref(), Some("../base"));
    });
}

#[test]
fn a_header_that_cannot_be_written_takes_everything_back() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", None);
        let (mid, _) = image(bql, "mid", Some(&base));
        // The newest parent comes first.
        let mut stuck = Format::new(bql);
        stuck.stuck = true;
        let (bad, _) = open(bql, "bad", stuck, Some(&mid));
        let (top, header) = image(bql, "top", Some(&mid));
        let mut drained = mid.drain(bql);
        let dropped = drained.drop_intermediate(&base, None);
        drop(drained);
        assert_eq!(
            refused(dropped),
            "Could not update backing file link: No space left on device"
        );
        for overlay in [&top, &bad] {
            assert_eq!(child_name(bql, overlay, "backing").as_deref(), Some("mid"));
        }
        assert_eq!(header.says().as_deref(), Some("/images/mid"));
    });
}

#[test]
fn a_refusal_of_the_graph_writes_the_headers_back() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", None);
        let (mid, _) = image(bql, "mid", Some(&base));
        let (top, header) = image(bql, "top", Some(&mid));
        let chain = top.freeze_chain(bql, &mid).expect("frozen");
        let dropped = mid.drain(bql).drop_intermediate(&base, None);
        assert_eq!(refused(dropped), "Cannot change 'backing' link to 'mid'");
        assert_eq!(header.says().as_deref(), Some("/images/mid"));
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("mid"));
        chain.thaw(bql);
        let (elsewhere, _) = image(bql, "elsewhere", None);
        let dropped = mid.drain(bql).drop_intermediate(&elsewhere, None);
        assert_eq!(
            refused(dropped),
            "'elsewhere' is not in the backing chain of 'mid'"
        );
        mid.drain(bql)
            .drop_intermediate(&mid, None)
            .expect("nothing to do");
    });
}

/// A node of the driver `mem` above `file`, which has no name of its own.
fn plain(bql: &mut BqlGuard, name: &str, file: &Node) -> Node {
    NodeBuilder::new(name)
        .child("file", file, Role::IMAGE)
        .open(bql, std::sync::Arc::new(Mem::of(512)))
        .expect("opened")
}

#[test]
fn a_file_name_is_what_opens_the_node_again() {
    in_layer(|bql| {
        let (file, _) = image(bql, "disk", None);
        let over = plain(bql, "over", &file);
        let (above, _) = filter(bql, "filter", &file);
        let mut format = Format::new(bql);
        format.options = vec![("size", 512u64.into())];
        let (strong, _) = open(bql, "strong", format, Some(&file));
        let name = |node: &Node| {
            let view: NodeView<'_> = node.view(bql);
            assert_eq!(view.filename(bql), node.filename(bql));
            view.filename(bql)
        };
        assert_eq!(name(&file), "/images/disk");
        assert_eq!(name(&over), "/images/disk");
        assert_eq!(
            name(&above),
            "json:{\"driver\": \"mem\", \"file\": {\"driver\": \"format\"}}"
        );
        assert_eq!(
            name(&strong),
            "json:{\"driver\": \"format\", \"size\": 512, \"backing\": {\"driver\": \"format\"}}"
        );
        assert_eq!(over.view(bql).dirname(bql).expect("known"), "/images/");
        let (nameless, _) = node(bql, "nameless", Mem::of(512));
        let none = nameless.view(bql).dirname(bql).expect_err("unknown");
        assert_eq!(
            none.to_string(),
            "Cannot generate a base directory for mem nodes"
        );
    });
}

#[test]
fn backing_images_are_found_by_the_names_in_headers() {
    in_layer(|bql| {
        let (base, _) = image(bql, "base", None);
        let (mid, mid_header) = image(bql, "mid", Some(&base));
        let (top, _) = image(bql, "top", Some(&mid));
        let found = |bql: &BqlGuard, name: &str| {
            let found = top.view(bql).find_backing_image(bql, name);
            found.map(|node| node.name().to_owned())
        };
        // No such files, so only names that are compared as they stand.
        assert_eq!(found(bql, "nbd:base"), None);
        let mut header = mid_header.header.lock().expect("no panic");
        header.as_mut().expect("set").file = "nbd:base".into();
        drop(header);
        assert!(mid.view(bql).backing_is_overridden(bql));
        // The node's own name counts then.
        assert_eq!(found(bql, "nbd:base"), None);
        assert_eq!(found(bql, "/images/base").as_deref(), Some("base"));
    });
}

#[test]
fn relative_names_lead_to_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    for name in ["base", "top"] {
        std::fs::write(path(name), "").expect("written");
    }
    in_layer(|bql| {
        let mut format = Format::new(bql);
        format.name = Some(path("base"));
        let (base, _) = open(bql, "base", format, None);
        let mut format = Format::new(bql);
        format.name = Some(path("top"));
        let backing = block_gs::HeaderBacking {
            file: "base".into(),
            format: None,
        };
        format.header = std::sync::Mutex::new(Some(backing));
        let (top, _) = open(bql, "top", format, Some(&base));
        let view = top.view(bql);
        let full = view.full_backing_filename(bql).expect("known");
        assert_eq!(full, Some(path("base")));
        assert!(!view.backing_is_overridden(bql));
        for name in ["base", "./base", &path("base")] {
            let found = view.find_backing_image(bql, name);
            assert_eq!(found, Some(base.view(bql)), "{name}");
        }
        assert_eq!(view.find_backing_image(bql, "top"), None);
        let info = view.info(bql);
        assert_eq!(info.backing_filename, Some(path("base")));
        assert_eq!((info.backing_depth, info.length), (1, 4096));
        assert_eq!(info.detect_zeroes, block_gs::DetectZeroes::Off);
        assert!(info.active && !info.implicit && !info.unmap && !info.no_flush);
        let below = base.view(bql).info(bql);
        assert_eq!(view.chain_info(bql), [info, below]);
    });
}
