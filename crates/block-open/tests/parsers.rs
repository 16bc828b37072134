//! Parsers get whatever users and other programs send.

use block_gs::BlockLayer;
use block_open::{
    ImageSpec, OpenError, Options, TypedImage, Value, add, drivers, for_filename, open, parse_size,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn key() -> impl Strategy<Value = String> {
    vec("[a-z][a-z0-9_-]{0,6}", 1..4).prop_map(|parts| parts.join("."))
}

/// Texts made of what the grammars are made of, so that some of it parses.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("\"".to_owned()),
        Just("\\u0000".to_owned()),
        Just(":".to_owned()),
        Just(",".to_owned()),
        Just("=".to_owned()),
        Just(".".to_owned()),
        Just("json:".to_owned()),
        Just("null".to_owned()),
        Just("1e9".to_owned()),
        Just("-".to_owned()),
        Just("\"driver\":\"raw\"".to_owned()),
        Just("driver=null-co".to_owned()),
        Just("file".to_owned()),
        Just("size".to_owned()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Options of real drivers with values that may not suit, for opening. No
/// paths: nothing outside is to be touched. No latencies: closing a node
/// flushes it, and a device that takes centuries takes them.
fn plausible() -> impl Strategy<Value = Options> {
    let names: Vec<&str> = drivers()
        .iter()
        .map(|driver| driver.name)
        .filter(|name| !["file", "host_device"].contains(name))
        .collect();
    let keys = [
        "size",
        "offset",
        "read-only",
        "discard",
        "force-share",
        "node-name",
        "file",
        "read-zeroes",
        "detect-zeroes",
        "cache.direct",
        "other",
        "file.file.0",
    ];
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Integer(number.into())),
        (0..20_000i128).prop_map(|number| Value::Integer(number / 512 * 512)),
        any::<f64>().prop_map(Value::Float),
        "(on|off|unmap|ignore|a|b|1k|-5|)".prop_map(Value::Text),
    ];
    let level = btree_map(proptest::sample::select(keys.to_vec()), value, 0..4);
    let level = (proptest::sample::select(names), level);
    vec(level, 1..5).prop_map(|levels| {
        let mut options = Options::new();
        let mut prefix = String::new();
        for (driver, values) in levels {
            options.set(&format!("{prefix}driver"), driver);
            for (key, value) in values {
                options.set(&format!("{prefix}{key}"), value);
            }
            prefix.push_str("file.");
        }
        options
    })
}

proptest! {
    #[test]
    fn pairs_come_back_as_they_went(map in btree_map(key(), any::<String>(), 0..20)) {
        let mut options = Options::new();
        for (key, value) in &map {
            options.set(key, value.as_str());
        }
        let parsed = Options::parse(&options.to_string()).expect("what is printed is parsed");
        prop_assert_eq!(parsed, options);
    }

    #[test]
    fn json_comes_back_as_it_went(json in soup()) {
        if let Ok(options) = Options::from_json(&json) {
            let flat = serde_json::to_string(&options).expect("printed");
            let again = Options::from_json(&flat).expect("what is printed is parsed");
            prop_assert_eq!(again, options);
        }
    }

    #[test]
    fn nested_and_flat_json_say_the_same(map in btree_map("[a-z]{1,3}", btree_map("[a-z]{1,3}", any::<u64>(), 1..4), 1..5)) {
        let nested = serde_json::to_string(&map).expect("printed");
        let flat: std::collections::BTreeMap<String, u64> = map
            .iter()
            .flat_map(|(outer, inner)| inner.iter().map(move |(key, value)| (format!("{outer}.{key}"), *value)))
            .collect();
        let flat = serde_json::to_string(&flat).expect("printed");
        prop_assert_eq!(Options::from_json(&nested), Options::from_json(&flat));
    }

    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), soup()]) {
        let _ = Options::parse(&text);
        let _ = Options::from_json(&text);
        let _ = Options::list_from_json(&text);
        let _ = parse_size(&text);
        let _ = for_filename(&text, Options::new());
        let _ = for_filename(&format!("json:{text}"), Options::new());
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Options::parse(&text);
        let _ = Options::from_json(&text);
    }

    #[test]
    fn no_description_of_an_image_panics(text in prop_oneof![any::<String>(), soup()]) {
        let layer = BlockLayer::new().expect("a block layer");
        layer.enter(|bql| {
            // Planning touches nothing.
            for format in ["raw", "file", &text] {
                let _ = ImageSpec::new("/nosuch/x", format).options(&text).plan(bql);
            }
            let _ = ImageSpec::new(&text, "raw").size(0).plan(bql);
        });
        if let Ok(options) = Options::from_json(&text) {
            let _ = TypedImage::check(options);
        }
        let json = format!(r#"{{"driver":"file","filename":"/nosuch/x",{text}}}"#);
        if let Ok(options) = Options::from_json(&json) {
            let _ = TypedImage::check(options);
        }
    }

    #[test]
    fn any_bytes_are_some_format(bytes in vec(any::<u8>(), 0..600), magic in 0usize..4) {
        let begins: &[u8] = [&b""[..], b"QFI\xfb", b"version=", b"#\n"][magic];
        let image = [begins, &bytes].concat();
        let format = block_open::probe(&image, "");
        prop_assert_eq!(format, block_open::probe(&image[..image.len().min(512)], ""));
    }

    #[test]
    fn sizes_are_what_they_say(number in any::<u64>(), shift in 0usize..7) {
        let suffix = ["", "k", "M", "G", "T", "P", "E"][shift];
        let parsed = parse_size(&format!("{number}{suffix}"));
        let expected = number.checked_mul(1 << (10 * shift));
        prop_assert_eq!(parsed.ok(), expected);
    }

    #[test]
    fn whatever_is_opened_leaves_nothing_behind(list in vec(plausible(), 1..4)) {
        let layer = BlockLayer::new().expect("a block layer");
        let left = layer.enter(|bql| {
            for options in list {
                let before = block_gs::nodes(bql).count();
                match open(bql, options.clone()) {
                    Ok(node) => drop(node),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
                bql.poll(block_io::aio::Wait::No);
                assert_eq!(block_gs::nodes(bql).count(), before, "{options}");
                let _: Result<_, OpenError> = add(bql, options);
            }
            block_gs::nodes(bql).count()
        });
        prop_assert!(left <= 12);
    }
}
