//! Words of a command line that stand for several options of a node.

use crate::Options;

/// How much of what is written is safe, and when (`-t`, `cache=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheMode {
    /// Past the cache of the host.
    pub direct: bool,
    /// Never waits until data is on the medium.
    pub no_flush: bool,
    /// A write is done when it is on the medium. It is for the backend to
    /// know, not for the node: see [`Backend::set_write_cache`](block_gs::Backend::set_write_cache).
    pub writethrough: bool,
}

impl CacheMode {
    /// The mode called so, if there is one (`bdrv_parse_cache_mode`): `none`
    /// or `off`, `directsync`, `writeback`, `unsafe`, `writethrough`.
    pub fn parse(word: &str) -> Option<Self> {
        let mode = |direct, no_flush, writethrough| CacheMode {
            direct,
            no_flush,
            writethrough,
        };
        Some(match word {
            "none" | "off" => mode(true, false, false),
            "directsync" => mode(true, false, true),
            "writeback" => mode(false, false, false),
            "unsafe" => mode(false, true, false),
            "writethrough" => mode(false, false, true),
            _ => return None,
        })
    }

    /// Makes it the mode of the node that `options` describe, where they do
    /// not say otherwise.
    pub fn apply(self, options: &mut Options) {
        options.set_default(crate::general::CACHE_DIRECT.name, self.direct);
        options.set_default(crate::general::CACHE_NO_FLUSH.name, self.no_flush);
    }
}

/// Whether discards reach the image, as `word` says it
/// (`bdrv_parse_discard_flags`): `unmap` or `on`, `ignore` or `off`. `None`
/// for any other word.
pub fn parse_discard(word: &str) -> Option<bool> {
    match word {
        "unmap" | "on" => Some(true),
        "ignore" | "off" => Some(false),
        _ => None,
    }
}

/// Who carries transfers out, as `word` says it (`bdrv_parse_aio`):
/// `threads`, `native` or `io_uring`. `None` for any other word.
pub fn parse_aio(word: &str) -> Option<block_drivers::file::Aio> {
    use block_drivers::file::Aio;
    match word {
        "threads" => Some(Aio::Threads),
        "native" => Some(Aio::Native),
        "io_uring" => Some(Aio::IoUring),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use block_drivers::file::Aio;

    use super::*;

    #[test]
    fn words_are_what_qemu_takes_for_them() {
        let flags = |word| {
            let CacheMode {
                direct,
                no_flush,
                writethrough,
            } = CacheMode::parse(word)?;
            Some((direct, no_flush, writethrough))
        };
        for (word, expected) in [
            ("none", Some((true, false, false))),
            ("off", Some((true, false, false))),
            ("directsync", Some((true, false, true))),
            ("writeback", Some((false, false, false))),
            ("unsafe", Some((false, true, false))),
            ("writethrough", Some((false, false, true))),
            ("", None),
            ("None", None),
            ("on", None),
        ] {
            assert_eq!(flags(word), expected, "{word}");
        }
        for (word, expected) in [
            ("unmap", Some(true)),
            ("on", Some(true)),
            ("ignore", Some(false)),
            ("off", Some(false)),
            ("yes", None),
        ] {
            assert_eq!(parse_discard(word), expected, "{word}");
        }
        for (word, expected) in [
            ("threads", Some(Aio::Threads)),
            ("native", Some(Aio::Native)),
            ("io_uring", Some(Aio::IoUring)),
            ("io-uring", None),
        ] {
            assert_eq!(parse_aio(word), expected, "{word}");
        }
    }

    #[test]
    fn a_cache_mode_counts_where_nothing_else_is_said() {
        let mut options = Options::parse("cache.direct=off").expect("parsed");
        CacheMode::parse("none")
            .expect("a mode")
            .apply(&mut options);
        assert_eq!(options.to_string(), "cache.direct=off,cache.no-flush=off");
    }
}
