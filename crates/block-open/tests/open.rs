//! Graphs from options, and what is refused.

use std::fs;

use block_gs::{Backend, BqlGuard, Node, Perm, nodes};
use block_open::{OpenError, Options, add, drivers, for_filename, open};
use test_support::in_layer;

fn pairs(text: &str) -> Options {
    Options::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(bql: &mut BqlGuard, text: &str) -> String {
    open(bql, pairs(text)).expect_err(text).to_string()
}

/// What hangs below a node: `raw(file=null-co)`.
fn shape(bql: &BqlGuard, node: &Node) -> String {
    fn below(view: block_gs::NodeView<'_>) -> String {
        let name = view.driver().format_name().to_owned();
        let children: Vec<String> = view
            .children()
            .map(|edge| format!("{}={}", edge.name(), below(edge.child())))
            .collect();
        match children.is_empty() {
            true => name,
            false => format!("{name}({})", children.join(",")),
        }
    }
    below(node.view(bql))
}

#[test]
fn nested_options_make_a_graph_that_lives_as_long_as_its_top() {
    in_layer(|bql| {
        let options = Options::from_json(
            r#"{"driver":"raw","node-name":"top","offset":512,"size":1024,
                "file":{"driver":"stats","node-name":"middle",
                        "file":{"driver":"null-co","size":4096}}}"#,
        );
        let top = open(bql, options.expect("parsed")).expect("opened");
        assert_eq!(shape(bql, &top), "raw(file=stats(file=null-co))");
        assert_eq!(top.io().length(), 1024);
        assert_eq!(
            Node::find(bql, "middle").expect("there").io().length(),
            4096
        );
        assert_eq!(nodes(bql).count(), 3);
        drop(top);
        bql.poll(block_io::aio::Wait::No);
        assert_eq!(nodes(bql).count(), 0);
    });
}

#[test]
fn a_failure_leaves_no_node_and_no_name_behind() {
    in_layer(|bql| {
        for text in [
            "driver=raw,size=5,file.driver=null-co,file.node-name=a",
            "driver=raw,foo=5,node-name=b,file.driver=null-co,file.node-name=a",
            "driver=raw,node-name=a,file.driver=null-co,file.node-name=a",
        ] {
            refused(bql, text);
            assert_eq!(nodes(bql).count(), 0, "{text}");
        }
        let text = "driver=raw,node-name=b,file.driver=null-co,file.node-name=a";
        assert!(open(bql, pairs(text)).is_ok());
    });
}

#[test]
fn references_find_nodes_and_backends() {
    in_layer(|bql| {
        let null = open(bql, pairs("driver=null-co,node-name=null,size=1k")).expect("opened");
        let backend = Backend::new(bql, "disk", Perm::empty(), Perm::all()).expect("a backend");
        backend.insert(bql, &null).expect("inserted");
        for name in ["null", "disk"] {
            let above = open(bql, pairs(&format!("driver=raw,file={name}"))).expect("opened");
            assert_eq!(shape(bql, &above), "raw(file=null-co)");
        }
        assert_eq!(
            refused(bql, "driver=raw,file=disk,node-name=disk"),
            "node-name=disk is conflicting with a device id"
        );
        assert_eq!(
            refused(bql, "driver=raw,file=disk,node-name=null"),
            "Duplicate nodes with node-name='null'"
        );
    });
}

#[test]
fn children_inherit_what_they_do_not_say() {
    in_layer(|bql| {
        let nested = "driver=raw,read-only=on,force-share=on,file.driver=raw,file.node-name=m,\
                      file.file.driver=null-co,file.file.node-name=n";
        let top = open(bql, pairs(nested)).expect("opened");
        let null = Node::find(bql, "n").expect("there");
        assert!(!top.view(bql).is_writable() && !null.view(bql).is_writable());
        let edge = null.view(bql).parents().next().expect("a parent");
        assert_eq!(edge.shared(), Perm::all(), "force-share came down");
        drop((top, null));

        let nested =
            "driver=raw,read-only=on,file.driver=null-co,file.read-only=off,file.node-name=w";
        let _top = open(bql, pairs(nested)).expect("opened");
        assert!(Node::find(bql, "w").expect("there").view(bql).is_writable());
    });
}

#[test]
fn an_image_without_a_driver_is_raw() {
    in_layer(|bql| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a,b.img");
        fs::write(&path, [1; 3000]).expect("written");
        let name = path.to_str().expect("text");
        let escaped = name.replace(',', ",,");
        for options in [
            pairs(&format!("file.driver=file,file.filename={escaped}")),
            pairs(&format!("file.filename={escaped}")),
            for_filename(name, Options::new()).expect("a path"),
            for_filename(&format!("file:{name}"), pairs("driver=raw")).expect("a path"),
            for_filename(
                &format!(
                    r#"json:{{"driver":"raw","file":{{"driver":"file","filename":"{name}"}}}}"#
                ),
                Options::new(),
            )
            .expect("json"),
        ] {
            let node = open(bql, options).expect("opened");
            assert_eq!(shape(bql, &node), "raw(file=file)");
            assert_eq!(node.io().length(), 3000);
        }
        let filtered = format!("driver=stats,file.filename={escaped}");
        let node = open(bql, pairs(&filtered)).expect("opened");
        assert_eq!(shape(bql, &node), "stats(file=raw(file=file))");
    });
}

#[test]
fn what_is_for_reading_until_somebody_writes_does_not_need_to_be_writable() {
    in_layer(|bql| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image");
        fs::write(&path, [1; 512]).expect("written");
        let mut permissions = fs::metadata(&path).expect("there").permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).expect("changed");
        if fs::OpenOptions::new().write(true).open(&path).is_ok() {
            println!("SKIPPED: this user may write whatever the mode says");
            return;
        }
        let text = format!("driver=file,filename={}", path.display());
        assert!(refused(bql, &text).ends_with("Permission denied"));
        let text = format!(
            "driver=raw,auto-read-only=on,file.filename={}",
            path.display()
        );
        open(bql, pairs(&text)).expect("the file has inherited it");
    });
}

#[test]
fn the_monitor_owns_what_it_adds() {
    in_layer(|bql| {
        let json = |text: &str| Options::from_json(text).expect(text);
        let node = add(
            bql,
            json(r#"{"driver":"null-co","node-name":"a","size":1024}"#),
        );
        assert!(node.expect("added").view(bql).is_monitor_owned());
        assert!(Node::find(bql, "a").is_some(), "without a handle too");
        let nameless = add(bql, json(r#"{"driver":"null-co"}"#)).expect_err("no name");
        assert_eq!(
            nameless.to_string(),
            "'node-name' must be specified for the root node"
        );
        let untyped = add(
            bql,
            json(r#"{"driver":"null-co","node-name":"b","size":"1k"}"#),
        );
        assert_eq!(
            untyped.expect_err("a string").to_string(),
            "Invalid parameter type for 'size', expected: integer"
        );
        add(bql, pairs("driver=null-co,node-name=b,size=1k")).expect("a command line has no types");
    });
}

#[test]
fn an_unknown_driver_comes_with_the_known_ones() {
    in_layer(|bql| {
        let error = open(bql, pairs("driver=raww")).expect_err("unknown");
        let hint = error.hint().expect("a hint");
        for driver in drivers() {
            assert!(hint.contains(driver.name), "{hint}");
        }
        assert!(matches!(error, OpenError::UnknownDriver(name) if name == "raww"));
    });
}

#[test]
fn a_node_can_be_opened_for_another_process_to_write() {
    in_layer(|bql| {
        let text = "driver=raw,active=off,node-name=top,size=1024,file.driver=null-co,\
                    file.node-name=below";
        let top = open(bql, pairs(text)).expect("opened");
        let below = Node::find(bql, "below").expect("there");
        assert!(top.view(bql).is_inactive());
        assert!(below.view(bql).is_inactive(), "it inherits that");
        let disk = Backend::new(bql, "disk", Perm::WRITE, Perm::all()).expect("new");
        assert_eq!(
            disk.insert(bql, &top).expect_err("not ours").to_string(),
            "Permission 'write' unavailable on inactive node"
        );
        let active = "driver=stats,file=top";
        assert_eq!(
            refused(bql, &format!("{active},node-name=over")),
            "Inactive 'top' can't be a file child of active 'over'"
        );
        top.activate(bql).expect("nobody minds");
        assert!(!below.view(bql).is_inactive());
        disk.insert(bql, &top).expect("ours now");
    });
}
