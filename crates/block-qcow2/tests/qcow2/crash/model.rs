//! What a guest may see.

use block_io::Buffer;

use super::recorder::SECTOR;

/// What is beyond the end of the image.
pub const GONE: u64 = u64::MAX;

/// Sectors that somebody changed, or a flush.
#[derive(Clone, Debug)]
pub struct Deed {
    pub from: u64,
    /// What each sector then begins with.
    pub values: Vec<u64>,
    /// What was written before this began is durable when it is over.
    pub flush: bool,
    /// It is durable itself when it is over.
    pub through: bool,
    /// How much the files had been told when this began and ended.
    pub before: usize,
    pub after: usize,
    /// In which order deeds began and ended.
    pub began: u64,
    pub ended: u64,
}

/// Sectors filled with a number each.
pub fn filled(values: &[u64]) -> Buffer {
    let mut buffer = Buffer::zeroed(values.len() * SECTOR as usize);
    let sectors = buffer.as_mut_slice().chunks_exact_mut(SECTOR as usize);
    for (sector, value) in sectors.zip(values) {
        for word in sector.chunks_exact_mut(8) {
            word.copy_from_slice(&value.to_be_bytes());
        }
    }
    buffer
}

/// The numbers that sectors are filled with; none may be torn.
pub fn numbers(bytes: &[u8], name: &str) -> Vec<u64> {
    let sectors = bytes.chunks_exact(SECTOR as usize).enumerate();
    let number = |(at, sector): (usize, &[u8])| {
        let value = u64::from_be_bytes(sector[..8].try_into().expect("eight"));
        let whole = sector.chunks_exact(8).all(|word| word == &sector[..8]);
        assert!(whole, "{name}: sector {at} is torn");
        value
    };
    sectors.map(number).collect()
}

/// Refuses what no guest may see after a failure between two steps, given
/// what it had before all `deeds`.
pub fn assert_allowed(
    first: &[u64],
    deeds: &[Deed],
    (cut, next): (usize, usize),
    seen: &[u64],
    name: &str,
) {
    // The last flush of the guest that was over.
    let over = |deed: &&Deed| deed.flush && deed.after <= cut;
    let flushed = deeds.iter().filter(over).map(|deed| deed.began).max();
    let mut allowed: Vec<Vec<u64>> = first.iter().map(|value| vec![*value]).collect();
    for deed in deeds {
        if deed.before >= next {
            continue;
        }
        let is_durable =
            flushed.is_some_and(|began| deed.ended < began) || (deed.through && deed.after <= cut);
        for (sector, value) in (deed.from..).zip(&deed.values) {
            let allowed = &mut allowed[sector as usize];
            if is_durable {
                allowed.clear();
            }
            if !allowed.contains(value) {
                allowed.push(*value);
            }
        }
    }
    for (sector, value) in seen.iter().enumerate() {
        let allowed = &allowed[sector];
        assert!(
            allowed.contains(value),
            "{name}, steps {cut} to {next}: sector {sector} has {value}, not {allowed:?}: {:#?}",
            history(deeds, sector as u64)
        );
    }
}

/// What happened to a sector.
fn history(deeds: &[Deed], sector: u64) -> Vec<String> {
    let told = deeds.iter().filter_map(|deed| {
        let at = sector.checked_sub(deed.from);
        let value = match at.and_then(|at| deed.values.get(at as usize)) {
            Some(value) => format!("{value} from sector {}", deed.from),
            None if deed.flush => "flushed".to_owned(),
            None => return None,
        };
        let (before, after) = (deed.before, deed.after);
        let through = if deed.through { ", durable" } else { "" };
        Some(format!("{value}{through}: steps {before} to {after}"))
    });
    told.collect()
}
