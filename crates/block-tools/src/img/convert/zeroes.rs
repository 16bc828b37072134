//! What of a piece of data is worth writing.

use block_io::Source;

/// A part of a piece, and whether it has to be written as data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    /// Where it begins, in bytes from the beginning of the piece.
    pub at: usize,
    /// How long it is.
    pub bytes: usize,
    /// Whether there is something in it besides zeroes that are worth
    /// leaving out.
    pub is_data: bool,
}

/// How zeroes are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sparse {
    /// How many of them in a row are worth leaving out, in bytes; 0 for none.
    pub least: usize,
    /// Parts begin and end at multiples of this in the target, as far as the
    /// piece does; a power of two.
    pub alignment: usize,
}

impl Sparse {
    /// The parts of a piece of data that goes to `offset`, in order. Two that
    /// follow each other differ.
    pub fn parts(self, data: Source<'_>, offset: u64) -> Vec<Part> {
        let mut parts = Vec::new();
        if data.is_empty() {
            return parts;
        }
        if self.least == 0 {
            push(&mut parts, 0, data.len(), true);
            return parts;
        }
        let mut at = 0;
        let mut rest = data;
        // Zeroes that go on until here, and may be too few.
        let mut zeroes = 0;
        while !rest.is_empty() {
            let behind = (offset + at as u64) % self.alignment as u64;
            let block = (self.alignment - behind as usize).min(rest.len());
            let (block, behind) = rest.split_at(block);
            let bytes = block.len();
            if block.is_zero() {
                zeroes += bytes;
            } else {
                let worth = zeroes >= self.least.min(data.len());
                push(&mut parts, at - zeroes, zeroes, !worth);
                zeroes = 0;
                push(&mut parts, at, bytes, true);
            }
            at += bytes;
            rest = behind;
        }
        // What is behind the piece is likely to be zeroes too.
        push(&mut parts, at - zeroes, zeroes, false);
        parts
    }
}

fn push(parts: &mut Vec<Part>, at: usize, bytes: usize, is_data: bool) {
    match parts.last_mut() {
        _ if bytes == 0 => {}
        Some(last) if last.is_data == is_data => last.bytes += bytes,
        _ => parts.push(Part { at, bytes, is_data }),
    }
}

#[cfg(test)]
mod tests {
    use block_io::Buffer;

    use super::*;

    /// A block a letter: `x` is data, a dot is zeroes.
    fn parts(blocks: &str, least: usize, offset: u64) -> Vec<(usize, usize, bool)> {
        let mut buffer = Buffer::zeroed(blocks.len() * 512);
        for (at, block) in blocks.chars().enumerate() {
            if block == 'x' {
                buffer.as_mut_slice()[at * 512 + 511] = 1;
            }
        }
        let sparse = Sparse {
            least: least * 512,
            alignment: 2048,
        };
        let parts = sparse.parts(buffer.source(), offset * 512);
        parts
            .into_iter()
            .map(|part| (part.at / 512, part.bytes / 512, part.is_data))
            .collect()
    }

    #[test]
    fn rows_of_zeroes_are_left_out_if_they_are_long_and_aligned() {
        for (blocks, least, offset, expected) in [
            ("xxxxxxxx", 4, 0, &[(0, 8, true)][..]),
            ("........", 4, 0, &[(0, 8, false)]),
            ("........", 0, 0, &[(0, 8, true)]),
            ("....xxxx", 4, 0, &[(0, 4, false), (4, 4, true)]),
            // Three of them come before the first boundary.
            ("....xxxx", 4, 1, &[(0, 8, true)]),
            ("xxxx....", 4, 0, &[(0, 4, true), (4, 4, false)]),
            (
                "xxxx....xxxx",
                4,
                0,
                &[(0, 4, true), (4, 4, false), (8, 4, true)],
            ),
            ("xxxx....xxxx", 8, 0, &[(0, 12, true)]),
            ("xx..........", 4, 0, &[(0, 4, true), (4, 8, false)]),
            ("", 4, 0, &[]),
        ] {
            let found = parts(blocks, least, offset);
            assert_eq!(found, expected, "{blocks} at {offset}");
        }
    }

    #[test]
    fn parts_cover_the_piece_and_leave_no_data_out() {
        let mut state = 1_u64;
        for round in 0..200 {
            let blocks: String = (0..24)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    if state >> 62 == 0 { 'x' } else { '.' }
                })
                .collect();
            let mut end = 0;
            for (at, bytes, is_data) in parts(&blocks, 4, round % 4) {
                assert_eq!(at, end, "{blocks}");
                assert!(is_data || !blocks[at..at + bytes].contains('x'), "{blocks}");
                end = at + bytes;
            }
            assert_eq!(end, blocks.len());
        }
    }
}
