//! Configuration files of blkdebug.

use block_drivers::NullCo;
use block_drivers::blkdebug::{Blkdebug, parse_config};
use block_gs::BlockLayer;
use block_io::Buffer;

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (errors, states) = match parse_config(&text) {
        Ok(rules) => rules,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| {
        let below = NullCo::new(1 << 20)
            .read_zeroes(true)
            .open(bql, "")
            .expect("a device");
        let mut options = Blkdebug::over(&below);
        for rule in errors.into_iter().take(64) {
            options = options.inject_error(rule);
        }
        for rule in states.into_iter().take(64) {
            options = options.set_state(rule);
        }
        let Ok(node) = options.open(bql, "") else {
            return;
        };
        let perm = block_common::Perm::CONSISTENT_READ | block_common::Perm::WRITE;
        let all = block_common::Perm::all();
        let Ok(disk) = block_gs::Backend::new(bql, "", perm, all) else {
            return;
        };
        if disk.insert(bql, &node).is_err() {
            return;
        }
        for turn in 0..4 {
            let mut buffer = Buffer::zeroed(4096);
            let _ = bql.block_on(disk.root().read(turn * 512, buffer.destination()));
            let _ = bql.block_on(disk.root().write(turn * 4096, buffer.source()));
            let _ = bql.block_on(disk.root().flush());
        }
    });
}
