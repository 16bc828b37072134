//! Changes to an input, for tests that have no libFuzzer.

/// A change at a place, which is taken modulo the length.
#[derive(Clone, Debug)]
pub enum Edit {
    /// One bit is the other way round.
    Flip(u32, u8),
    /// Another byte.
    Byte(u32, u8),
    /// A number that means something in tables, at a multiple of its size.
    Word(u32, u64),
    /// Bytes from one place at another.
    Copy(u32, u32, u16),
    /// The rest is gone.
    Cut(u32),
    /// More bytes.
    Insert(u32, Vec<u8>),
}

impl Edit {
    /// Changes an input.
    pub fn apply(&self, input: &mut Vec<u8>) {
        let place = |at: u32| (at as usize) % input.len().max(1);
        match self {
            Edit::Insert(at, bytes) => {
                let at = place(*at).min(input.len());
                input.splice(at..at, bytes.iter().copied());
            }
            _ if input.is_empty() => {}
            Edit::Flip(at, bit) => {
                let at = place(*at);
                input[at] ^= 1 << (bit % 8);
            }
            Edit::Byte(at, byte) => {
                let at = place(*at);
                input[at] = *byte;
            }
            Edit::Word(at, word) => {
                let at = place(*at) & !7;
                let end = input.len().min(at + 8);
                input[at..end].copy_from_slice(&word.to_be_bytes()[..end - at]);
            }
            Edit::Copy(from, to, length) => {
                let (from, to) = (place(*from), place(*to));
                let room = input.len() - from.max(to);
                let length = usize::from(*length).min(room);
                input.copy_within(from..from + length, to);
            }
            Edit::Cut(at) => input.truncate(place(*at)),
        }
    }
}
