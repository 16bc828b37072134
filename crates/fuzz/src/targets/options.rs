//! Options in every form that they come in, and graphs made of them.

use block_gs::BlockLayer;
use block_open::{
    CacheMode, ImageSpec, Opener, Options, for_filename, parse_aio, parse_discard, parse_size,
};

/// What may be opened: nothing that touches a file of this host.
const HARMLESS: &[&str] = &[
    "null-co",
    "null-aio",
    "raw",
    "stats",
    "throttle",
    "copy-on-read",
    "blkdebug",
    "qcow2",
];

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = parse_size(&text);
    let _ = block_tools::human::parse(&text);
    let _ = (
        CacheMode::parse(&text),
        parse_aio(&text),
        parse_discard(&text),
    );
    let forms = [
        Options::from_json(&text).ok(),
        Options::parse(&text).ok(),
        for_filename(&text, Options::new()).ok(),
    ];
    for options in forms.into_iter().flatten() {
        // As text they mean the same.
        let shown = options.to_string();
        if let Some(json) = shown.strip_prefix("json:") {
            let again = Options::from_json(json).expect("what is shown can be read");
            assert_eq!(again.to_string(), shown);
        }
        open(options);
    }
    if let Ok(list) = Options::list_from_json(&text) {
        list.into_iter().take(8).for_each(open);
    }
    plan(&text);
}

fn open(options: Options) {
    // A request to a device that is slow takes as long as the device says,
    // and a configuration is read from a file.
    let harms = |(key, _): (&str, _)| key.contains("latency") || key.contains("config");
    if options.iter().any(harms) {
        return;
    }
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| {
        let opened = Opener::new().allow_only(HARMLESS, &[]).open(bql, options);
        match opened {
            Ok(node) => {
                let _ = node.view(bql).info(bql);
                drop(node);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        bql.poll(block_io::aio::Wait::No);
        assert_eq!(block_gs::nodes(bql).count(), 0, "a node is left");
    });
}

/// What `create -o` would make of it; nothing is made.
fn plan(text: &str) {
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| {
        for format in ["raw", "qcow2"] {
            let spec = ImageSpec::new("/nonexistent/image", format).options(text);
            let _ = spec.size(1 << 20).trust_base(true).plan(bql);
        }
    });
}
