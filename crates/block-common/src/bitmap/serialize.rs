//! Bitmaps as bytes: 64-bit words, lowest first, each with its lowest byte
//! first and the lowest granule in its lowest bit. It is the form in which
//! images keep them and migrations send them.
//!
//! QEMU's functions leave a bitmap half made until
//! `hbitmap_deserialize_finish`. Here each step leaves it whole, so there is
//! nothing to finish.

use std::ops::Range;

use super::{HBitmap, MapError};

/// The granularity from which on a word stands for more than a number can say.
const TOO_COARSE: u32 = 58;

impl HBitmap {
    /// Whether the bitmap can be serialised: not if it is too coarse for it
    /// (`hbitmap_is_serializable`).
    pub fn is_serializable(&self) -> bool {
        self.granularity_bits() < TOO_COARSE
    }

    /// What parts begin at a multiple of, in bytes of what is described: those
    /// of 64 granules (`hbitmap_serialization_align`).
    ///
    /// # Errors
    /// [`MapError::NotSerializable`].
    pub fn serialization_alignment(&self) -> Result<u64, MapError> {
        match self.is_serializable() {
            true => Ok(64 << self.granularity_bits()),
            false => Err(MapError::NotSerializable(self.granularity_bits())),
        }
    }

    /// How many bytes the part `range` takes (`hbitmap_serialization_size`).
    /// It begins at a multiple of the
    /// [alignment](HBitmap::serialization_alignment) and ends at one, or with
    /// the bitmap.
    ///
    /// # Errors
    /// [`MapError::NotSerializable`], [`MapError::Unaligned`].
    pub fn serialization_size(&self, range: Range<u64>) -> Result<u64, MapError> {
        let bits = self.bits_of_part(range)?;
        Ok((bits.end - bits.start) / 8)
    }

    /// The bits of a part, up to the end of the last word.
    fn bits_of_part(&self, range: Range<u64>) -> Result<Range<u64>, MapError> {
        let alignment = self.serialization_alignment()?;
        let Range { start, end } = range;
        let whole = end.is_multiple_of(alignment) || end == self.size();
        if start > end || end > self.size() || !start.is_multiple_of(alignment) || !whole {
            return Err(MapError::Unaligned { start, end });
        }
        Ok(start / alignment * 64..end.div_ceil(alignment) * 64)
    }

    /// Writes the part `range` to `to` (`hbitmap_serialize_part`).
    ///
    /// # Errors
    /// As [`serialization_size`](HBitmap::serialization_size), and
    /// [`MapError::BufferLength`] unless `to` has just that size.
    pub fn serialize_part(&self, range: Range<u64>, to: &mut [u8]) -> Result<(), MapError> {
        self.check_buffer(&range, to.len())?;
        to.fill(0);
        let low = range.start >> self.granularity_bits();
        let high = range.end.div_ceil(self.granularity()).min(self.bits());
        if low < high {
            let (tree, level) = self.tree();
            tree.words(level, 0, low, high, &mut |bit, word| {
                let at = ((bit - low) / 8) as usize;
                to[at..at + 8].copy_from_slice(&word.to_le_bytes());
            });
        }
        Ok(())
    }

    /// Replaces the part `range` by what [`serialize_part`] wrote
    /// (`hbitmap_deserialize_part`). Bits beyond the end of the bitmap are
    /// ignored.
    ///
    /// # Errors
    /// As [`serialize_part`]; nothing has changed then.
    ///
    /// [`serialize_part`]: HBitmap::serialize_part
    pub fn deserialize_part(&mut self, range: Range<u64>, from: &[u8]) -> Result<(), MapError> {
        self.check_buffer(&range, from.len())?;
        let bits = self.bits_of_part(range)?;
        for (bit, bytes) in bits.step_by(64).zip(from.chunks_exact(8)) {
            let bytes = bytes.try_into().expect("chunks of 8 bytes");
            self.put_word(bit, u64::from_le_bytes(bytes));
        }
        Ok(())
    }

    /// Makes the part `range` clean (`hbitmap_deserialize_zeroes`).
    ///
    /// # Errors
    /// As [`serialization_size`](HBitmap::serialization_size).
    pub fn deserialize_zeroes(&mut self, range: Range<u64>) -> Result<(), MapError> {
        self.bits_of_part(range.clone())?;
        self.reset(range);
        Ok(())
    }

    /// Makes the part `range` dirty (`hbitmap_deserialize_ones`).
    ///
    /// # Errors
    /// As [`serialization_size`](HBitmap::serialization_size).
    pub fn deserialize_ones(&mut self, range: Range<u64>) -> Result<(), MapError> {
        self.bits_of_part(range.clone())?;
        self.set(range);
        Ok(())
    }

    fn check_buffer(&self, range: &Range<u64>, found: usize) -> Result<(), MapError> {
        let expected = self.serialization_size(range.clone())?;
        match expected == found as u64 {
            true => Ok(()),
            false => Err(MapError::BufferLength {
                expected,
                found: found as u64,
            }),
        }
    }
}
