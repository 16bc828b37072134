//! The tree of words.
//!
//! A leaf holds 64 words of 64 bits, a branch 64 trees of the level below.
//! Either knows of each of its parts whether *any* bit in it is set, and
//! whether it is *full*: a bit above is set iff the part below is not zero.
//! So a search for the next bit, set or clear, touches one part a level. A
//! part in which all bits are equal is not stored, so memory goes with what is
//! mixed and not with what is described. Parts are shared until one of their
//! owners writes, so a copy of a whole tree costs nothing.

use std::sync::Arc;

/// How many parts a node has.
const PARTS: u64 = 64;
/// The bits of a leaf, as a power of two.
const LEAF_SHIFT: u32 = 12;
/// What a level adds to that.
const LEVEL_SHIFT: u32 = 6;

/// A tree. Its level, which says how many bits it describes, is known to
/// whoever holds it; so is the length of what is described: bits beyond are
/// clear.
#[derive(Clone, Debug, Default)]
pub(super) enum Tree {
    /// No bit is set.
    #[default]
    Zero,
    /// Every bit is set.
    Ones,
    /// Level 0.
    Leaf(Arc<Leaf>),
    /// Any other.
    Branch(Arc<Branch>),
}

/// Which parts of a node are not zero, and which have every bit set.
#[derive(Clone, Copy, Debug)]
struct Summary {
    any: u64,
    full: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    summary: Summary,
    words: [u64; PARTS as usize],
}

#[derive(Clone, Debug)]
pub(super) struct Branch {
    summary: Summary,
    parts: [Tree; PARTS as usize],
}

impl Summary {
    fn note(&mut self, part: u32, any: bool, full: bool) {
        self.any = self.any & !(1 << part) | u64::from(any) << part;
        self.full = self.full & !(1 << part) | u64::from(full) << part;
    }

    /// The parts in which a bit may be found that is `set`, or is not.
    fn parts_with(&self, set: bool) -> u64 {
        if set { self.any } else { !self.full }
    }
}

/// How many bits a tree of this level describes, as a power of two.
fn shift(level: u32) -> u32 {
    LEAF_SHIFT + LEVEL_SHIFT * level
}

/// The lowest level of a tree that describes `bits` bits.
pub(super) fn level_for(bits: u64) -> u32 {
    let mut level = 0;
    while shift(level) < 64 && bits > 1 << shift(level) {
        level += 1;
    }
    level
}

/// The bits of a word from `low` up to `high`, which may be 64.
fn mask(low: u64, high: u64) -> u64 {
    debug_assert!(low < high && high <= 64);
    (!0 << low) & (!0 >> (64 - high))
}

/// The bits above `bit`.
fn above(bit: u64) -> u64 {
    (!0u64 << bit) << 1
}

/// The pieces of `low..high`, cut where parts of `1 << shift` bits begin:
/// which part, and where in it.
fn pieces(low: u64, high: u64, shift: u32) -> impl Iterator<Item = (u64, u64, u64)> {
    let (first, last) = (low >> shift, (high - 1) >> shift);
    (first..=last).map(move |part| {
        let start = part << shift;
        let from = low.max(start) - start;
        let to = match part == last {
            true => high - start,
            false => 1 << shift,
        };
        (part, from, to)
    })
}

impl Tree {
    fn uniform(set: bool) -> Tree {
        if set { Tree::Ones } else { Tree::Zero }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Tree::Zero)
    }

    fn is_full(&self) -> bool {
        matches!(self, Tree::Ones)
    }

    /// How many bits are set.
    pub(super) fn ones(&self, level: u32) -> u64 {
        match self {
            Tree::Zero => 0,
            Tree::Ones => 1 << shift(level),
            Tree::Leaf(leaf) => {
                let words = leaf.words.iter();
                words.map(|word| u64::from(word.count_ones())).sum()
            }
            Tree::Branch(branch) => {
                let parts = branch.parts.iter();
                parts.map(|part| part.ones(level - 1)).sum()
            }
        }
    }

    /// The words of a tree of level 0, to be changed.
    fn leaf(&mut self) -> &mut Leaf {
        let filled = match self {
            Tree::Ones => !0,
            _ => 0,
        };
        if !matches!(self, Tree::Leaf(_)) {
            *self = Tree::Leaf(Arc::new(Leaf {
                summary: Summary {
                    any: filled,
                    full: filled,
                },
                words: [filled; PARTS as usize],
            }));
        }
        match self {
            Tree::Leaf(leaf) => Arc::make_mut(leaf),
            _ => unreachable!("made a leaf just now"),
        }
    }

    /// The parts of a tree of a higher level, to be changed.
    fn branch(&mut self) -> &mut Branch {
        if !matches!(self, Tree::Branch(_)) {
            let full = self.is_full();
            let filled = if full { !0 } else { 0 };
            *self = Tree::Branch(Arc::new(Branch {
                summary: Summary {
                    any: filled,
                    full: filled,
                },
                parts: std::array::from_fn(|_| Tree::uniform(full)),
            }));
        }
        match self {
            Tree::Branch(branch) => Arc::make_mut(branch),
            _ => unreachable!("made a branch just now"),
        }
    }

    /// Gives back the memory of a tree whose bits are all equal now.
    fn collapse(&mut self, summary: Summary) {
        if summary.any == 0 {
            *self = Tree::Zero;
        } else if summary.full == !0 {
            *self = Tree::Ones;
        }
    }

    /// Sets or clears the bits `low..high`, which is not empty. How many
    /// changed.
    pub(super) fn assign(&mut self, level: u32, low: u64, high: u64, set: bool) -> u64 {
        match self {
            Tree::Zero if !set => return 0,
            Tree::Ones if set => return 0,
            _ => {}
        }
        if low == 0 && shift(level) < 64 && high == 1 << shift(level) {
            let ones = self.ones(level);
            *self = Tree::uniform(set);
            return if set { high - ones } else { ones };
        }
        let mut changed = 0;
        let summary = if level == 0 {
            let leaf = self.leaf();
            for (part, from, to) in pieces(low, high, 6) {
                let word = &mut leaf.words[part as usize];
                let before = *word;
                match set {
                    true => *word |= mask(from, to),
                    false => *word &= !mask(from, to),
                }
                changed += u64::from((before ^ *word).count_ones());
                leaf.summary.note(part as u32, *word != 0, *word == !0);
            }
            leaf.summary
        } else {
            let branch = self.branch();
            for (part, from, to) in pieces(low, high, shift(level - 1)) {
                let below = &mut branch.parts[part as usize];
                changed += below.assign(level - 1, from, to, set);
                let (any, full) = (!below.is_zero(), below.is_full());
                branch.summary.note(part as u32, any, full);
            }
            branch.summary
        };
        self.collapse(summary);
        changed
    }

    /// The word that the bit `at` is in.
    pub(super) fn word(&self, level: u32, at: u64) -> u64 {
        match self {
            Tree::Zero => 0,
            Tree::Ones => !0,
            Tree::Leaf(leaf) => leaf.words[(at >> 6) as usize],
            Tree::Branch(branch) => {
                let shift = shift(level - 1);
                let below = &branch.parts[(at >> shift) as usize];
                below.word(level - 1, at & ((1 << shift) - 1))
            }
        }
    }

    /// Replaces the word that begins with the bit `at`. How many bits were set
    /// in it.
    pub(super) fn put_word(&mut self, level: u32, at: u64, word: u64) -> u64 {
        match self {
            Tree::Zero if word == 0 => return 0,
            Tree::Ones if word == !0 => return 64,
            _ => {}
        }
        let (before, summary) = if level == 0 {
            let leaf = self.leaf();
            let part = at >> 6;
            let before = std::mem::replace(&mut leaf.words[part as usize], word);
            leaf.summary.note(part as u32, word != 0, word == !0);
            (u64::from(before.count_ones()), leaf.summary)
        } else {
            let shift = shift(level - 1);
            let (part, rest) = (at >> shift, at & ((1 << shift) - 1));
            let branch = self.branch();
            let below = &mut branch.parts[part as usize];
            let before = below.put_word(level - 1, rest, word);
            let (any, full) = (!below.is_zero(), below.is_full());
            branch.summary.note(part as u32, any, full);
            (before, branch.summary)
        };
        self.collapse(summary);
        before
    }

    /// The first bit from `from` on that is set, or that is not.
    pub(super) fn next(&self, level: u32, from: u64, set: bool) -> Option<u64> {
        match self {
            Tree::Zero => (!set).then_some(from),
            Tree::Ones => set.then_some(from),
            Tree::Leaf(leaf) => {
                let found = |part: u64, rest: u64| {
                    let word = leaf.words[part as usize] ^ if set { 0 } else { !0 };
                    let word = word & (!0 << rest);
                    (word != 0).then(|| part << 6 | u64::from(word.trailing_zeros()))
                };
                let part = from >> 6;
                found(part, from & 63).or_else(|| {
                    let others = leaf.summary.parts_with(set) & above(part);
                    let part = u64::from(others.trailing_zeros());
                    (others != 0).then(|| found(part, 0)).flatten()
                })
            }
            Tree::Branch(branch) => {
                let shift = shift(level - 1);
                let found = |part: u64, rest: u64| {
                    let below = branch.parts[part as usize].next(level - 1, rest, set)?;
                    Some(part << shift | below)
                };
                let part = from >> shift;
                found(part, from & ((1 << shift) - 1)).or_else(|| {
                    let others = branch.summary.parts_with(set) & above(part);
                    let part = u64::from(others.trailing_zeros());
                    (others != 0).then(|| found(part, 0)).flatten()
                })
            }
        }
    }

    /// Sets what is set in `other`, a tree of the same level. How many bits
    /// were not.
    pub(super) fn unite(&mut self, other: &Tree, level: u32) -> u64 {
        let (added, summary) = match (&mut *self, other) {
            (_, Tree::Zero) | (Tree::Ones, _) => return 0,
            (Tree::Zero, other) => {
                *self = other.clone();
                return self.ones(level);
            }
            (mine, Tree::Ones) => {
                let added = (1 << shift(level)) - mine.ones(level);
                *self = Tree::Ones;
                return added;
            }
            (Tree::Leaf(mine), Tree::Leaf(other)) if Arc::ptr_eq(mine, other) => return 0,
            (Tree::Branch(mine), Tree::Branch(other)) if Arc::ptr_eq(mine, other) => return 0,
            (Tree::Leaf(mine), Tree::Leaf(other)) => {
                let mine = Arc::make_mut(mine);
                let mut added = 0;
                for part in bits_of(other.summary.any) {
                    let word = &mut mine.words[part as usize];
                    let before = *word;
                    *word |= other.words[part as usize];
                    added += u64::from((before ^ *word).count_ones());
                    mine.summary.note(part, true, *word == !0);
                }
                (added, mine.summary)
            }
            (Tree::Branch(mine), Tree::Branch(other)) => {
                let mine = Arc::make_mut(mine);
                let mut added = 0;
                for part in bits_of(other.summary.any) {
                    let below = &mut mine.parts[part as usize];
                    added += below.unite(&other.parts[part as usize], level - 1);
                    mine.summary.note(part, true, below.is_full());
                }
                (added, mine.summary)
            }
            (Tree::Leaf(_), Tree::Branch(_)) | (Tree::Branch(_), Tree::Leaf(_)) => {
                unreachable!("trees of one level have one shape")
            }
        };
        self.collapse(summary);
        added
    }

    /// The same bits in a tree of another level. Bits that the new one does
    /// not describe must be clear.
    pub(super) fn relevel(&mut self, from: u32, to: u32) {
        for _ in from..to {
            let below = std::mem::take(self);
            if below.is_zero() {
                return;
            }
            let branch = self.branch();
            branch.summary.note(0, true, below.is_full());
            branch.parts[0] = below;
        }
        for _ in to..from {
            let below = match self {
                Tree::Branch(branch) => branch.parts[0].clone(),
                _ => return,
            };
            *self = below;
        }
    }

    /// Calls `f` with each word of `low..high` that is not zero, and with
    /// the bit that it begins with. `low` begins a word.
    pub(super) fn words(
        &self,
        level: u32,
        base: u64,
        low: u64,
        high: u64,
        f: &mut impl FnMut(u64, u64),
    ) {
        match self {
            Tree::Zero => {}
            Tree::Ones => {
                for at in (low..high).step_by(64) {
                    f(base + at, !0);
                }
            }
            Tree::Leaf(leaf) => {
                for (part, _, _) in pieces(low, high, 6) {
                    let word = leaf.words[part as usize];
                    if word != 0 {
                        f(base + (part << 6), word);
                    }
                }
            }
            Tree::Branch(branch) => {
                let shift = shift(level - 1);
                for (part, from, to) in pieces(low, high, shift) {
                    let below = &branch.parts[part as usize];
                    below.words(level - 1, base + (part << shift), from, to, f);
                }
            }
        }
    }

    /// Whether every summary says what is below it.
    #[cfg(test)]
    pub(super) fn check(&self, level: u32) {
        let (summary, parts): (Summary, Vec<(bool, bool)>) = match self {
            Tree::Zero | Tree::Ones => return,
            Tree::Leaf(leaf) => {
                assert_eq!(level, 0);
                let words = leaf.words.iter();
                (leaf.summary, words.map(|&w| (w != 0, w == !0)).collect())
            }
            Tree::Branch(branch) => {
                branch.parts.iter().for_each(|part| part.check(level - 1));
                let parts = branch.parts.iter();
                let parts = parts.map(|part| (!part.is_zero(), part.is_full()));
                (branch.summary, parts.collect())
            }
        };
        for (part, (any, full)) in parts.into_iter().enumerate() {
            assert_eq!(summary.any >> part & 1 == 1, any);
            assert_eq!(summary.full >> part & 1 == 1, full);
        }
        assert!(summary.any != 0 && summary.full != !0, "not given back");
    }
}

/// The positions of the bits that are set.
fn bits_of(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros();
        word &= word - 1;
        Some(bit)
    })
}
