//! Making requests fit the alignment and the limits of a driver.

use std::ops::Range;

use block_common::{BlockLimits, IoError};

use super::MAX_BOUNCE;
use crate::{Buffer, Destination, Request, Source, SourceVec};

/// The range, made larger until `alignment` divides both ends. Cannot
/// overflow for a range that was checked.
pub(super) fn align(range: &Range<u64>, alignment: u32) -> Range<u64> {
    let mask = u64::from(alignment) - 1;
    range.start & !mask..(range.end + mask) & !mask
}

/// How much of a request that long goes into one transfer.
pub(super) fn longest_piece(limits: &BlockLimits, bytes: usize) -> usize {
    bytes.min(limits.max_transfer as usize)
}

/// How long a buffer is that replaces a scattered one: whole blocks.
pub(super) fn longest_bounce(limits: &BlockLimits) -> usize {
    MAX_BOUNCE.max(u64::from(limits.request_alignment)) as usize
}

/// How much of `range` goes into one request without data: up to where the
/// driver's own blocks of `alignment` begin, then whole ones, then the rest.
/// At most `most` bytes, which may be less than a block.
pub(super) fn next_piece(range: &Range<u64>, alignment: u64, most: u64) -> u64 {
    let bytes = (range.end - range.start).min(most);
    match range.start % alignment {
        0 if bytes > alignment => bytes - bytes % alignment,
        0 => bytes,
        into => bytes.min(alignment - into),
    }
}

/// What lies between a request and the blocks it touches
/// (`BdrvRequestPadding`).
pub(super) struct Padding {
    aligned: Range<u64>,
    head: usize,
    tail: usize,
    block: usize,
}

impl Padding {
    /// `None` for a request that is aligned.
    pub(super) fn of(range: &Range<u64>, alignment: u32) -> Option<Padding> {
        let aligned = align(range, alignment);
        (aligned != *range).then(|| Padding {
            head: (range.start - aligned.start) as usize,
            tail: (aligned.end - range.end) as usize,
            block: alignment as usize,
            aligned,
        })
    }

    /// The blocks that the request touches.
    pub(super) fn aligned(&self) -> Range<u64> {
        self.aligned.clone()
    }

    /// Memory for what a read gets too much: before, and after.
    pub(super) fn scratch(&self) -> (Buffer, Buffer) {
        (Buffer::zeroed(self.head), Buffer::zeroed(self.tail))
    }

    fn blocks(&self) -> usize {
        let all = ((self.aligned.end - self.aligned.start) / self.block as u64).min(2);
        let ends = usize::from(self.head > 0) + usize::from(self.tail > 0);
        ends.min(all as usize)
    }

    /// Reads the blocks at the ends, of which a write changes a part only.
    /// Nobody else may write them meanwhile.
    ///
    /// # Errors
    /// The driver's. Then nothing may be written: it would overwrite what
    /// could not be read.
    pub(super) async fn read_ends(self, request: Request<'_>) -> Result<Ends, IoError> {
        let blocks = self.blocks();
        let mut memory = Buffer::zeroed(blocks * self.block);
        let whole = memory.destination();
        let last = self.aligned.end - self.block as u64;
        let adjacent = self.aligned.end - self.aligned.start == memory_len(blocks, self.block);
        let has = |end: usize, name| (end > 0).then_some(name);
        let before = [
            has(self.head, "pwritev_rmw_head"),
            has(self.tail, "pwritev_rmw_tail"),
        ];
        let after = [
            has(self.head, "pwritev_rmw_after_head"),
            has(self.tail, "pwritev_rmw_after_tail"),
        ];
        let report = async |events: &[Option<&'static str>]| {
            for event in events.iter().flatten() {
                request.report(event).await;
            }
        };
        match (blocks, adjacent) {
            (2, false) => {
                let (head, tail) = whole.split_at(self.block);
                report(&before[..1]).await;
                request.read_blocks(self.aligned.start, head).await?;
                report(&after[..1]).await;
                report(&before[1..]).await;
                request.read_blocks(last, tail).await?;
                report(&after[1..]).await;
            }
            _ => {
                let from_start = adjacent || self.head > 0;
                let from = if from_start { self.aligned.start } else { last };
                report(&before).await;
                request.read_blocks(from, whole).await?;
                report(&after).await;
            }
        }
        Ok(Ends {
            memory,
            padding: self,
        })
    }
}

fn memory_len(blocks: usize, block: usize) -> u64 {
    (blocks * block) as u64
}

/// The blocks at the ends of a write, as they were.
pub(super) struct Ends {
    memory: Buffer,
    padding: Padding,
}

impl Ends {
    /// The whole blocks: what was there, with `from` in between.
    pub(super) fn around<'a>(&'a self, from: Source<'a>) -> SourceVec<'a> {
        let (head, _) = self.memory.source().split_at(self.padding.head);
        let tail_at = self.memory.len() - self.padding.tail;
        let (_, tail) = self.memory.source().split_at(tail_at);
        let mut whole = SourceVec::new();
        whole.push(head);
        whole.push(from);
        whole.push(tail);
        whole
    }
}

impl Request<'_> {
    /// Reads whole blocks, of which the last may reach beyond the end of the
    /// node.
    async fn read_blocks(self, offset: u64, into: Destination<'_>) -> Result<(), IoError> {
        let block = u64::from(self.limits().request_alignment);
        // Each piece must begin within the node, however short pieces are.
        let end = self.length().await?.next_multiple_of(block);
        let inside = end.saturating_sub(offset).min(into.len() as u64);
        let (into, mut beyond) = into.split_at(inside as usize);
        beyond.fill(0);
        self.read_pieces(offset, into).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_padded_to_the_blocks_it_touches() {
        let padding = Padding::of(&(700..1500), 512).expect("not aligned");
        assert_eq!(padding.aligned(), 512..1536);
        assert_eq!((padding.head, padding.tail), (188, 36));
        assert!(Padding::of(&(512..1024), 512).is_none());
        assert!(Padding::of(&(3..4), 1).is_none());
    }

    #[test]
    fn pieces_end_at_blocks_and_are_never_too_long() {
        let pieces = |range: Range<u64>, most| {
            let (mut at, mut pieces) = (range.start, Vec::new());
            while at < range.end {
                pieces.push(next_piece(&(at..range.end), 100, most));
                at += pieces[pieces.len() - 1];
            }
            pieces
        };
        assert_eq!(pieces(30..530, u64::MAX), [70, 400, 30]);
        assert_eq!(pieces(30..530, 250), [70, 200, 200, 30]);
        assert_eq!(pieces(30..60, 250), [30]);
        assert_eq!(pieces(30..230, 40), [40, 30, 40, 40, 20, 30]);
        assert_eq!(pieces(0..100, 100), [100]);
    }

    #[test]
    fn only_the_blocks_at_the_ends_are_read() {
        let blocks = |range| Padding::of(&range, 512).expect("not aligned").blocks();
        assert_eq!(blocks(1..2), 1);
        assert_eq!(blocks(1..512), 1);
        assert_eq!(blocks(0..513), 1);
        assert_eq!(blocks(1..513), 2);
        assert_eq!(blocks(1..5000), 2);
        assert_eq!(blocks(512..5000), 1);
    }
}
