//! Bitmaps that are copied along (`--bitmaps`).

use block_gs::{BitmapInfo, BitmapOptions, BqlGuard, DirtyBitmap, Node};

use crate::img::call::{Call, Failed, because, fail};

/// Looks whether the bitmaps of `source` can be copied.
///
/// # Errors
/// It has none, or one is worth nothing and not to be skipped.
pub(super) fn check(bql: &BqlGuard, source: &Node, skip_broken: bool) -> Result<(), Failed> {
    if !source.supports_persistent_bitmaps(bql) {
        return Err(fail("Source lacks bitmap support"));
    }
    let mut broken = kept(bql, source)
        .into_iter()
        .filter(|info| info.inconsistent);
    match broken.next() {
        Some(info) if !skip_broken => Err(Failed::Report(
            format!("Cannot copy inconsistent bitmap '{}'", info.name),
            Some(
                "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it"
                    .to_owned(),
            ),
            1,
        )),
        _ => Ok(()),
    }
}

/// Copies them.
///
/// # Errors
/// The target has those before the first that could not be copied.
pub(super) fn copy(
    bql: &mut BqlGuard,
    call: &Call<'_>,
    source: &Node,
    target: &Node,
    skip_broken: bool,
) -> Result<(), Failed> {
    for info in kept(bql, source) {
        let name = &info.name;
        if skip_broken && info.inconsistent {
            call.warn(&format!("Skipping inconsistent bitmap '{name}'"));
            continue;
        }
        let options = BitmapOptions {
            granularity: u32::try_from(info.granularity).ok(),
            persistent: true,
            disabled: !info.recording,
        };
        let made = target
            .add_bitmap(bql, name, options)
            .map_err(|error| because(format_args!("Failed to create bitmap {name}: "), &error))?;
        let original = DirtyBitmap::lookup(bql, source.name(), name);
        let merged = original.and_then(|original| made.merge(bql, &[original]));
        if let Err(error) = merged {
            let _ = made.remove(bql);
            let before = format_args!("Failed to populate bitmap {name}: ");
            return Err(because(before, &error));
        }
    }
    Ok(())
}

/// Those that are kept with the image.
fn kept(bql: &BqlGuard, node: &Node) -> Vec<BitmapInfo> {
    let all = node.bitmaps(bql).filter(|bitmap| bitmap.is_persistent());
    all.map(|bitmap| bitmap.info()).collect()
}
