//! Making images, beside `qemu-img create`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use block_gs::{BlockLayer, BqlGuard};
use block_open::{ImageSpec, OpenError, Options, PlannedImage, TypedImage, creation_help};
use test_support::{Little, Tool, in_layer, little_room, with_little_room};

/// What is said before, and what about the failure, in lines.
#[derive(PartialEq, Eq, Debug, Default)]
struct Said {
    before: String,
    failure: String,
}

/// Options as for `qemu-img create`: `-f`, `-o`, `-b`, `-F`, `-u`, then the
/// size.
struct Case<'c> {
    format: &'c str,
    options: &'c str,
    name: &'c str,
    size: &'c str,
    more: &'c [&'c str],
}

impl Case<'_> {
    fn theirs(&self, tool: &Tool) -> Said {
        let mut command = tool.command();
        command.args(["create", "-f", self.format]);
        if !self.options.is_empty() {
            command.args(["-o", self.options]);
        }
        command.args(self.more).args(["--", self.name]);
        if !self.size.is_empty() {
            command.arg(self.size);
        }
        let output = command.output().expect("qemu-img starts");
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("text");
            text.strip_suffix('\n').unwrap_or(&text).to_owned()
        };
        let failure = text(output.stderr);
        let prefix = format!("qemu-img: {}: ", self.name);
        let failure = failure.strip_prefix(&prefix).unwrap_or(&failure);
        let failure = failure.strip_prefix("qemu-img: ").unwrap_or(failure);
        Said {
            before: text(output.stdout),
            failure: failure.to_owned(),
        }
    }

    fn spec(&self) -> ImageSpec {
        let mut spec = ImageSpec::new(self.name, self.format);
        if !self.options.is_empty() {
            spec = spec.options(self.options);
        }
        if !self.size.is_empty() {
            spec = spec.size(block_open::parse_size(self.size).expect("a size"));
        }
        let mut more = self.more.iter();
        while let Some(option) = more.next() {
            spec = match *option {
                "-u" => spec.trust_base(true),
                "-b" => spec.base(more.next().expect("a name")),
                "-F" => spec.base_format(more.next().expect("a format")),
                other => panic!("{other}"),
            };
        }
        spec
    }

    fn ours(&self) -> Said {
        let full = |error: OpenError| match error.hint() {
            Some(hint) => format!("{error}\n{hint}"),
            None => error.to_string(),
        };
        in_layer(|bql| match self.spec().plan(bql) {
            Err(error) => Said {
                before: String::new(),
                failure: full(error),
            },
            Ok(planned) => Said {
                before: planned.to_string(),
                failure: planned.create_now(bql).err().map(full).unwrap_or_default(),
            },
        })
    }
}

fn plain<'c>(options: &'c str, name: &'c str, size: &'c str) -> Case<'c> {
    Case {
        format: "raw",
        options,
        name,
        size,
        more: &[],
    }
}

#[test]
fn images_are_made_and_refused_as_qemu_img_does() {
    let Some(tool) = Tool::find("qemu-img") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let name = path("a.img");
    let name = name.as_str();
    let file = format!("file:{name}");
    let device = format!("host_device:{name}");
    let colon = path("a:b");
    let inside = path("nosuch/a.img");
    let folder = directory.path().display().to_string();
    fs::write(path("base"), [0; 1000]).expect("written");
    let mut cases = vec![
        plain("", name, "1M"),
        plain("size=5", name, ""),
        plain("size=1.5k", name, ""),
        plain("size=0x100000", name, ""),
        plain("size=0", name, ""),
        plain("", name, "513"),
        plain("nocow=yes", name, "1k"),
        plain("nonocow", name, "1k"),
        plain("preallocation=falloc", name, "1M"),
        plain("preallocation=full,extent_size_hint=0", name, "70000"),
        plain("nopreallocation,extent_size_hint=1M,nocow=on", name, "1k"),
        plain("size=1M,size=2M", name, ""),
        plain("size=2M,id=x", name, ""),
        plain("", &file, "1k"),
        plain("", &colon, "1k"),
        // These are refused.
        plain("", name, ""),
        plain("size=5", name, "5"),
        plain("size=-5", name, ""),
        plain("size=xx", name, ""),
        plain("size=", name, ""),
        plain("size", name, ""),
        plain("size=1.5", name, ""),
        plain("size=1M,,5", name, ""),
        plain("size=18446744073709551616", name, ""),
        plain("size=18446744073709551615", name, ""),
        plain("size=9223372036854775808", name, ""),
        plain("", name, "9223372036854775807"),
        plain("", name, "9223372036854775296"),
        plain("nosuch=1", name, "1M"),
        plain("nofoo", name, "1M"),
        plain("1M", name, ""),
        plain("foo=1,size=x", name, ""),
        plain("size=x,foo=1", name, ""),
        plain("nocow=maybe", name, "1M"),
        plain("nocow", name, "1M"),
        plain("nocow=", name, "1M"),
        plain("preallocation=metadata", name, "1M"),
        plain("preallocation=x", name, "1M"),
        plain("preallocation=", name, "1M"),
        plain("preallocation", name, "1M"),
        plain("extent_size_hint=8E", name, "1M"),
        plain("backing_file=x", name, "1M"),
        plain("=5", name, "1M"),
        plain(",", name, "1M"),
        plain("size=1M,", name, ""),
        plain(",size=1M", name, ""),
        plain("", "null-co://", "1M"),
        plain("", "foo:bar", "1M"),
        plain("", "json:{}", "1M"),
        plain("", &inside, "1M"),
        plain("", &folder, "1M"),
        plain("", "", "1M"),
        plain("", "file:", "1M"),
        plain("", &device, "1M"),
        plain("", "/dev/zero", "0"),
        plain("", "/dev/zero", "1M"),
        plain("preallocation=off", "/dev/zero", "0"),
        plain("preallocation=full", "/dev/zero", "0"),
        plain("preallocation=x", "/dev/zero", "0"),
    ];
    for format in ["foo", "null-co", "throttle", "file", "host_device"] {
        cases.push(Case {
            format,
            ..plain("", name, "1k")
        });
    }
    for more in [
        &["-b", "base"][..],
        &["-b", ""],
        &["-b", "base", "-F", "raw"],
        &["-F", "raw"],
    ] {
        cases.push(Case {
            more,
            ..plain("", name, "1k")
        });
    }
    for case in cases {
        let label = format!(
            "{} {} {} {:?}",
            case.format, case.options, case.name, case.more
        );
        for before in [None, Some([1; 100])] {
            let state = || {
                let seen = fs::read(name).ok();
                (seen, fs::metadata(name).map(|file| file.blocks()).ok())
            };
            let prepare = || {
                let _ = fs::remove_file(name);
                if let Some(before) = before {
                    fs::write(name, before).expect("written");
                }
            };
            prepare();
            let theirs = case.theirs(&tool);
            let left = state();
            prepare();
            let ours = case.ours();
            assert_eq!(ours, theirs, "{label}");
            match theirs.failure.is_empty() {
                true => assert_eq!(state(), left, "{label}"),
                // Where QEMU has lost what was there, it may be there still;
                // what was not there, is not.
                false => assert!(
                    state().0 == left.0 || state().0 == before.map(Vec::from),
                    "{label}"
                ),
            }
        }
    }
}

#[test]
fn qemu_takes_what_is_made_for_what_it_is() {
    let Some(tool) = Tool::find("qemu-img") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    in_layer(|bql| {
        for options in ["", "preallocation=falloc", "preallocation=full"] {
            let mut spec = ImageSpec::new(&path("a"), "raw").size(1_000_000);
            if !options.is_empty() {
                spec = spec.options(options);
            }
            let planned = spec.plan(bql).expect("all right");
            assert_eq!(planned.size(), 1_000_000);
            planned.create_now(bql).expect("made");
            let info = tool.succeed(["info", "--output=json", &path("a")]);
            assert!(info.contains("\"virtual-size\": 1000448"), "{info}");
            assert!(info.contains("\"format\": \"raw\""), "{info}");
        }
    });
}

#[test]
fn help_reads_as_qemu_imgs() {
    let Some(tool) = Tool::find("qemu-img") else {
        return;
    };
    for (format, filename) in [
        ("raw", None),
        ("file", None),
        ("host_device", None),
        ("raw", Some("a.img")),
        ("file", Some("a.img")),
        ("raw", Some("host_device:x")),
        ("foo", None),
        ("null-co", None),
        ("raw", Some("null-co://")),
        ("raw", Some("foo:x")),
    ] {
        let mut command = tool.command();
        command.args(["create", "-f", format, "-o", "help"]);
        command.args(filename);
        let output = command.output().expect("qemu-img starts");
        let theirs = match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).expect("text")),
            false => {
                let text = String::from_utf8(output.stderr).expect("text");
                Err(text.trim_end().trim_start_matches("qemu-img: ").to_owned())
            }
        };
        let ours = creation_help(format, filename).map_err(|error| error.to_string());
        assert_eq!(ours, theirs, "{format} {filename:?}");
    }
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let (link, target) = (
        directory.path().join("link"),
        directory.path().join("target"),
    );
    symlink("target", &link).expect("linked");
    in_layer(|bql| {
        let spec = ImageSpec::new(link.to_str().expect("text"), "raw").size(512);
        let planned = spec.plan(bql).expect("planned");
        PlannedImage::create_now(planned, bql).expect("made");
    });
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert_eq!(fs::metadata(&target).expect("made").len(), 512);
}

#[test]
fn what_somebody_uses_is_not_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    fs::write(&path, [5; 512]).expect("written");
    let name = path.to_str().expect("text");
    in_layer(|bql| {
        let used = Options::parse(&format!("driver=file,locking=on,filename={name}"));
        let node = block_open::open(bql, used.expect("parsed")).expect("opened");
        let perm = block_gs::Perm::CONSISTENT_READ | block_gs::Perm::WRITE;
        let disk = block_gs::Backend::new(bql, "", perm, perm).expect("a backend");
        disk.insert(bql, &node).expect("inserted");
        let planned = ImageSpec::new(name, "raw")
            .size(4096)
            .plan(bql)
            .expect("planned");
        let refused = planned.create_now(bql).expect_err("in use");
        assert_eq!(refused.to_string(), "Failed to get \"resize\" lock");
        let hint = format!("Is another process using the image [{name}]?");
        assert_eq!(refused.hint(), Some(hint));
    });
    assert_eq!(fs::read(&path).expect("there"), [5; 512]);
}

#[test]
fn what_does_not_fit_on_the_disk_leaves_no_new_file() {
    const IN_THE_CHILD: &str = "no_file_is_left_where_there_is_little_room";
    for little in [Little::Files, Little::FileSystem] {
        let directory = tempfile::tempdir().expect("a directory");
        let run = with_little_room(little, directory.path(), IN_THE_CHILD);
        assert!(run || little == Little::FileSystem, "a limit is possible");
    }
}

/// For the test above, in a child process; alone it does nothing.
#[test]
fn no_file_is_left_where_there_is_little_room() {
    let Some(directory) = little_room() else {
        return;
    };
    let path = directory.join("image");
    in_layer(|bql| {
        let spec = ImageSpec::new(path.to_str().expect("text"), "raw");
        let planned = spec.size(1 << 30).options("preallocation=falloc").plan(bql);
        let refused = planned
            .expect("planned")
            .create_now(bql)
            .expect_err("too much");
        let message = refused.to_string();
        assert!(
            message == "Could not preallocate new data: No space left on device"
                || message == "The image size is too large for file format 'raw'",
            "{message}"
        );
    });
    assert!(!path.exists());
    assert_eq!(fs::read_dir(&directory).expect("listed").count(), 0);
}

#[test]
fn typed_arguments_make_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let create = |bql: &mut BqlGuard, json: String| {
        let json = json.replace('@', path.to_str().expect("text"));
        let checked = TypedImage::check(Options::from_json(&json).expect("parsed"));
        let made = checked.expect("checked").create_now(bql);
        made.map_err(|error| error.to_string())
    };
    in_layer(|bql| {
        let json = r#"{"driver":"file","filename":"@","size":5,"preallocation":"full"}"#;
        assert_eq!(create(bql, json.into()), Ok(()));
        assert_eq!(fs::read(&path).expect("made"), [0; 512]);
        let json = r#"{"driver":"file","filename":"@","size":5,"preallocation":"metadata"}"#;
        let refused = create(bql, json.into());
        assert_eq!(
            refused,
            Err("Unsupported preallocation mode: metadata".into())
        );
        let json = r#"{"driver":"file","filename":"@","size":5,"extent-size-hint":5000000000}"#;
        let refused = create(bql, json.into());
        assert_eq!(refused, Err("Extent size hint is too large".into()));
        let json = r#"{"driver":"file","filename":"@/x","size":5}"#;
        let refused = create(bql, json.into()).expect_err("no directory");
        assert!(refused.ends_with("/x': Not a directory"), "{refused}");
    });
}

#[test]
fn an_image_is_made_in_the_thread_of_a_job() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let json = format!(
        r#"{{"driver":"file","filename":"{}","size":512}}"#,
        path.display()
    );
    let image = TypedImage::check(Options::from_json(&json).expect("parsed")).expect("checked");
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    let thread = block_io::aio::ContextThread::spawn("job").expect("a thread");
    let task = thread
        .context()
        .spawn(async move { image.create(&main).await });
    let made = layer.enter(|bql| bql.block_on(task));
    made.expect("made");
    assert_eq!(fs::metadata(&path).expect("there").len(), 512);
}
