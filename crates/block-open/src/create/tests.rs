//! A format of its own, to see what formats are given and what becomes of
//! their files.

use block_common::Role;
use block_gs::{BlockLayer, CreateImage, Creation, GraphError, Node};
use block_io::Buffer;

use super::given::Given;
use super::*;
use crate::drivers::{Child, Driver, Key, Reopen};
use crate::{OpenError, Opener, Options};

const SIZE: Key = Key::size("size", "how long").required();
const WORD: Key = Key::word("level", "how", &["v2", "v3"]);
const BACKING: Key = Key::text("backing-file", "below");
const BACKING_FORMAT: Key = Key::text("backing-fmt", "of that");
const WIDTH: Key = Key::number("width", "how wide");

static FORMAT: Driver = Driver {
    name: "labelled",
    about: "for tests: a label and nothing else",
    options: &[],
    children: &[Child {
        name: "file",
        role: Role::IMAGE,
        required: true,
        about: "where it is",
    }],
    protocol: None,
    is_format: true,
    probe: None,
    compresses: false,
    create: Some(Create {
        options: &[
            CreateOption::new("cluster_size", CreateKind::Size, "clusters").or("4096"),
            CreateOption::new("size", CreateKind::Size, "Virtual disk size"),
            CreateOption::new("backing_file", CreateKind::Text, "below"),
            CreateOption::new("backing_fmt", CreateKind::Text, "of that"),
            CreateOption::new("compat", CreateKind::Text, "level").or("v3"),
            CreateOption::new("width", CreateKind::Number, "width"),
        ],
        typed: &[SIZE, WORD, BACKING, BACKING_FORMAT, WIDTH],
        amend: &[],
        amend_only: &[],
        renamed: &[
            ("compat", "level"),
            ("backing_file", "backing-file"),
            ("backing_fmt", "backing-fmt"),
        ],
        convert: |options| {
            options.remove("cluster_size");
            if options
                .get("level")
                .is_some_and(|level| level.to_string() == "1.1")
            {
                options.set("level", "v3");
            }
            Ok(())
        },
        how: How::InFile(|creating| {
            Ok(Box::new(Label {
                size: creating.size(&SIZE)?.unwrap_or(0),
                level: creating.word(&WORD)?.unwrap_or("v3"),
                backing: creating.text(&BACKING)?,
                format: creating.text(&BACKING_FORMAT)?,
                width: creating.number(&WIDTH)?,
            }))
        }),
    }),
    open: |_| Err(OpenError::NoDriver),
    reopen: Reopen::NOTHING,
};

#[derive(Debug)]
struct Label {
    size: u64,
    level: &'static str,
    backing: Option<String>,
    format: Option<String>,
    width: Option<i64>,
}

impl CreateImage for Label {
    fn create(self: Box<Self>, image: block_gs::NewImage) -> Creation {
        Box::pin(async move {
            let Label {
                size,
                level,
                backing,
                format,
                width,
            } = *self;
            let label = format!("{size} {level} {backing:?} {format:?} {width:?}");
            let text = Buffer::from(label.as_bytes());
            image.root().write(0, text.source()).await?;
            image.root().flush().await?;
            let file: Node = image.into_file().await?;
            drop(file);
            match size {
                0xbad000 => Err(GraphError::Refused {
                    message: "bad".into(),
                    errno: 5,
                }),
                0xb16000 => Err(GraphError::Refused {
                    message: "big".into(),
                    errno: 27,
                }),
                _ => Ok(()),
            }
        })
    }
}

/// It can be made by a job, in any thread.
#[test]
fn making_an_image_is_for_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    layer.enter(|bql| {
        let planned =
            ImageSpec::new("x", "labelled")
                .size(512)
                .plan_as(bql, &FORMAT, &mut Opener::new());
        is_send(&planned.expect("planned").create(&main));
    });
}

/// Makes an image; what is said before, and what then.
fn make(spec: ImageSpec) -> (Result<String, String>, Result<(), String>) {
    let full = |error: OpenError| match error.hint() {
        Some(hint) => format!("{error}\n{hint}"),
        None => error.to_string(),
    };
    BlockLayer::new().expect("a block layer").enter(|bql| {
        let planned = match spec.plan_as(bql, &FORMAT, &mut Opener::new()) {
            Ok(planned) => planned,
            Err(error) => return (Err(full(error)), Ok(())),
        };
        let said = planned.to_string();
        let made = planned.create_now(bql).map_err(full);
        assert_eq!(block_gs::nodes(bql).count(), 0, "nothing is left open");
        (Ok(said), made)
    })
}

#[test]
fn a_format_is_given_typed_options_and_its_protocol_the_rest() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let name = path.to_str().expect("text");
    std::fs::write(&path, [7; 9000]).expect("written");
    let spec = ImageSpec::new(name, "labelled").options("compat=1.1,nocow=on,width=-3");
    let (said, made) = make(spec.size(1000));
    let expected = format!(
        "Formatting '{name}', fmt=labelled cluster_size=4096 size=1000 compat=1.1 width=-3 nocow=on"
    );
    assert_eq!((said, made), (Ok(expected), Ok(())));
    let written = std::fs::read(&path).expect("there");
    assert_eq!(
        String::from_utf8(written).expect("text"),
        "1024 v3 None None Some(-3)"
    );
}

#[test]
fn what_is_no_image_is_deleted_and_options_are_checked_before_the_file_is_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let name = path.to_str().expect("text");
    for existed in [false, true] {
        for (size, message) in [
            (0xbad000, "bad"),
            (
                0xb16000,
                "The image size is too large for file format 'labelled' (try using a larger \
                 cluster size)",
            ),
        ] {
            if existed {
                std::fs::write(&path, b"before").expect("written");
            }
            let (said, made) = make(ImageSpec::new(name, "labelled").size(size));
            assert!(said.is_ok());
            assert_eq!(made, Err(message.to_owned()));
            assert!(!path.exists());
        }
    }
    std::fs::write(&path, b"before").expect("written");
    let (said, made) = make(
        ImageSpec::new(name, "labelled")
            .size(512)
            .options("compat=x"),
    );
    assert!(said.is_ok(), "it is said before, as in QEMU");
    let message = "Parameter 'level' does not accept value 'x'";
    assert_eq!(made, Err(message.to_owned()));
    assert_eq!(std::fs::read(&path).expect("there"), b"before");
}

#[test]
fn a_base_is_looked_at_unless_it_is_trusted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("base"), [0; 3000]).expect("written");
    let top = path("top");
    let spec = || ImageSpec::new(&top, "labelled");
    let refused = |spec: ImageSpec| make(spec).0.expect_err("refused");

    // The length comes from the base, which is beside the image: whole sectors.
    let (said, made) = make(spec().base("base").base_format("raw"));
    assert!(
        said.expect("planned")
            .contains(" size=3072 backing_file=base backing_fmt=raw ")
    );
    assert_eq!(made, Ok(()));
    let written = std::fs::read_to_string(&top).expect("there");
    assert_eq!(written, r#"3072 v3 Some("base") Some("raw") None"#);
    let (said, _) = make(
        spec()
            .options("backing_file=base,backing_fmt=raw")
            .size(512),
    );
    assert!(said.expect("planned").contains(" size=512 "));

    assert_eq!(
        refused(spec().base("base")),
        "Backing file specified without backing format\nDetected format of raw."
    );
    assert_eq!(
        refused(spec().base("nosuch").base_format("raw").size(512)),
        format!(
            "Could not open '{}': No such file or directory\nCould not open backing image.",
            path("nosuch")
        )
    );
    assert_eq!(
        refused(spec().base("base").base_format("foo")),
        "Unknown driver 'foo'\nCould not open backing image."
    );
    assert_eq!(
        refused(spec().base("")),
        "Expected backing file name, got empty string"
    );
    assert_eq!(
        refused(spec().base(&top)),
        "Error: Trying to create an image with the same filename as the backing file"
    );

    let trusting = || spec().base("nosuch").trust_base(true);
    assert!(make(trusting().base_format("raw").size(512)).0.is_ok());
    assert_eq!(
        refused(trusting().base_format("raw")),
        "Image creation needs a size parameter"
    );
    assert_eq!(
        refused(trusting().size(512)),
        "Backing file specified without backing format"
    );
}

#[test]
fn typed_options_make_an_image_in_a_file_that_is_described_or_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    std::fs::write(&path, b"").expect("written");
    let How::InFile(check) = FORMAT.create.as_ref().expect("it is made").how else {
        panic!("it is in a file");
    };
    BlockLayer::new().expect("a block layer").enter(|bql| {
        let main = bql.main_loop();
        let make = |bql: &mut block_gs::BqlGuard, json: &str| {
            let json = json.replace('@', path.to_str().expect("text"));
            let options = Options::from_json(&json).expect("parsed");
            let making = typed::in_file(&main, &FORMAT, check, options, Opener::new());
            let made = bql.block_on(making).map_err(|error| error.to_string());
            made.map(|()| std::fs::read_to_string(&path).expect("there"))
        };
        let file = r#"{"file":{"driver":"file","filename":"@"},"size":"#;
        let made = make(bql, &format!(r#"{file}1000,"level":"v2"}}"#));
        assert_eq!(made.as_deref(), Ok("1000 v2 None None None"));
        assert_eq!(block_gs::nodes(bql).count(), 0);
        for (rest, message) in [
            (
                r#"512,"level":"x"}"#,
                "Parameter 'level' does not accept value 'x'",
            ),
            (
                r#"512,"other":1}"#,
                "Block format 'labelled' does not support the option 'other'",
            ),
            ("12242944}", "bad"),
        ] {
            let refused = make(bql, &format!("{file}{rest}")).expect_err(rest);
            assert_eq!(refused, message);
            assert_eq!(block_gs::nodes(bql).count(), 0, "nothing is left open");
            assert!(path.exists(), "who gave the file, keeps it");
        }
        let refused = make(bql, r#"{"file":"nobody","size":512}"#).expect_err("not there");
        assert_eq!(
            refused,
            "Cannot find device='nobody' nor node-name='nobody'"
        );

        let node = format!("driver=file,node-name=node,filename={}", path.display());
        let node = crate::open(bql, Options::parse(&node).expect("parsed")).expect("opened");
        let made = make(bql, r#"{"file":"node","size":512}"#).expect("made");
        assert!(made.starts_with("512 v3 None None None"), "{made}");
        assert_eq!(node.view(bql).cumulative_perm(), block_gs::Perm::empty());
    });
}

#[test]
fn an_opener_that_allows_little_makes_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("base"), [0; 512]).expect("written");
    BlockLayer::new().expect("a block layer").enter(|bql| {
        let mut opener = Opener::new().allow_only(&["file"], &[]);
        let spec = ImageSpec::new(&path("top"), "labelled")
            .base("base")
            .base_format("raw");
        let refused = spec
            .plan_as(bql, &FORMAT, &mut opener)
            .expect_err("not allowed");
        assert_eq!(refused.to_string(), "Driver 'raw' is not whitelisted");
        let spec = ImageSpec::new(&path("top"), "raw").size(512);
        assert!(
            spec.plan_with(bql, &mut opener).is_ok(),
            "what is made is not opened"
        );
    });
    let options = |driver: &str| {
        let json = format!(r#"{{"driver":"{driver}","filename":"x","size":5}}"#);
        Options::from_json(&json).expect("parsed")
    };
    let opener = || Opener::new().allow_only(&["raw"], &["file"]);
    let refused = TypedImage::check_for(options("file"), opener()).expect_err("not allowed");
    assert_eq!(refused.to_string(), "Driver is not whitelisted");
    let opener = Opener::new().allow_only(&["file"], &[]);
    assert!(TypedImage::check_for(options("file"), opener).is_ok());
}

#[test]
fn values_have_the_types_that_options_have() {
    let create = FORMAT.create.as_ref().expect("it is made");
    let mut given = Given::none(create, create);
    given
        .parse("width=0x10,size=1k,id=1x,compat")
        .expect("all right");
    assert_eq!(
        given.to_string(),
        " cluster_size=4096 size=1024 compat=on width=16"
    );
    given
        .parse("nocompat,backing_file=a,,b,width=010")
        .expect("all right");
    let shown = " cluster_size=4096 size=1024 backing_file=a,,b compat=off width=8";
    assert_eq!(given.to_string(), shown);
    for (text, message) in [
        ("width=x", "Parameter 'width' expects a number"),
        ("width=1k", "Parameter 'width' expects a number"),
        ("width=", "Parameter 'width' expects a number"),
        (
            "width=18446744073709551616",
            "Value '18446744073709551616' is too large for parameter 'width'",
        ),
        ("nosuch", "Invalid parameter 'such'"),
        ("=5", "Invalid parameter ''"),
    ] {
        let refused = given.parse(text).expect_err(text);
        assert_eq!(refused.to_string(), message, "{text}");
    }
    let many = "id=x,".repeat(5000);
    assert!(matches!(given.parse(&many), Err(OpenError::Parse(_))));
}

#[test]
fn typed_arguments_are_refused_in_a_schemas_words() {
    for (json, message) in [
        ("{}", "Parameter 'options.driver' is missing"),
        (
            r#"{"driver":"x"}"#,
            "Parameter 'driver' does not accept value 'x'",
        ),
        (
            r#"{"driver":5}"#,
            "Invalid parameter type for 'options.driver', expected: string",
        ),
        (
            r#"{"driver":"file"}"#,
            "Parameter 'options.filename' is missing",
        ),
        (
            r#"{"driver":"file","filename":"a"}"#,
            "Parameter 'options.size' is missing",
        ),
        (
            r#"{"driver":"file","filename":"a","size":"5"}"#,
            "Parameter 'options.size' expects uint64",
        ),
        (
            r#"{"driver":"file","filename":"a","size":5,"foo":{"a":1}}"#,
            "Parameter 'options.foo' is unexpected",
        ),
        (
            r#"{"driver":"file","filename":"a","size":5,"nocow":5}"#,
            "Invalid parameter type for 'options.nocow', expected: boolean",
        ),
        (
            r#"{"driver":"file","filename":"a","size":5,"preallocation":"x"}"#,
            "Parameter 'preallocation' does not accept value 'x'",
        ),
        (
            r#"{"driver":"raw","size":5}"#,
            "Parameter 'options.size' is unexpected",
        ),
        (
            r#"{"driver":"raw"}"#,
            "Driver does not support blockdev-create",
        ),
        (
            r#"{"driver":"host_device","filename":"x","size":5}"#,
            "Parameter 'options.filename' is unexpected",
        ),
    ] {
        let options = Options::from_json(json).expect(json);
        let refused = TypedImage::check(options).expect_err(json);
        assert_eq!(refused.to_string(), message, "{json}");
    }
}
