//! Which offsets and lengths a request may have.

use crate::IoError;

/// The largest offset, and the largest size of a node, in bytes
/// (`BDRV_MAX_LENGTH`): the largest signed 64-bit number, rounded down to
/// 1 GiB so that rounding up to any alignment cannot overflow.
pub const MAX_LENGTH: u64 = (i64::MAX as u64) & !((1 << 30) - 1);

/// The largest length of a request that carries data, in bytes
/// (`BDRV_REQUEST_MAX_BYTES`). Requests without data (zero writes, discards,
/// truncations) go up to [`MAX_LENGTH`].
pub const MAX_REQUEST: u64 = (i32::MAX as u64) & !511;

/// How many pieces of memory one system call takes (`IOV_MAX`).
pub const MAX_SEGMENTS: usize = 1024;

/// The largest request alignment, in bytes. Padding takes buffers of this
/// size.
pub const MAX_ALIGNMENT: u32 = 1 << 26;

/// Checks a request against the limits of the format-independent layer
/// (`bdrv_check_request`).
///
/// # Errors
/// [`IoError::OutOfRange`] with QEMU's words.
pub fn check_request(offset: u64, bytes: u64) -> Result<(), IoError> {
    let complain = |message: String| Err(IoError::OutOfRange(message));
    if bytes > MAX_LENGTH {
        return complain(format!("bytes({bytes}) exceeds maximum({MAX_LENGTH})"));
    }
    if offset > MAX_LENGTH {
        return complain(format!("offset({offset}) exceeds maximum({MAX_LENGTH})"));
    }
    if offset > MAX_LENGTH - bytes {
        return complain(format!(
            "sum of offset({offset}) and bytes({bytes}) exceeds maximum({MAX_LENGTH})"
        ));
    }
    Ok(())
}

/// [`check_request`] for a request that carries data: at most
/// [`MAX_REQUEST`] bytes (`bdrv_check_request32`).
///
/// # Errors
/// [`IoError::OutOfRange`].
pub fn check_data_request(offset: u64, bytes: u64) -> Result<(), IoError> {
    check_request(offset, bytes)?;
    if bytes > MAX_REQUEST {
        return Err(IoError::OutOfRange(format!(
            "bytes({bytes}) exceeds maximum({MAX_REQUEST})"
        )));
    }
    Ok(())
}

/// What a node needs of its requests (`BlockLimits`). The layer cuts, pads and
/// gathers until the driver gets nothing else; only the alignment of memory is
/// left to the driver, which copies what has less.
///
/// All sizes are in bytes; alignments are powers of two and at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockLimits {
    /// Offset and length of every request are multiples of this. Others are
    /// padded, for writes by reading first what lies around.
    pub request_alignment: u32,
    /// Buffers whose address and pieces have less than this alignment cost a
    /// copy.
    pub memory_alignment: u32,
    /// The alignment that buffers should have.
    pub optimal_memory_alignment: u32,
    /// The longest read or write; a multiple of `request_alignment`.
    pub max_transfer: u64,
    /// The best length of a read or write, 0 if unknown.
    pub optimal_transfer: u64,
    /// How many pieces of memory one request may have.
    pub max_segments: usize,
    /// The longest transfer of the hardware, 0 if unknown: what a command that
    /// is passed through to a device must respect, because nobody cuts it
    /// (`max_hw_transfer`).
    pub max_hw_transfer: u64,
    /// How many pieces of memory the hardware takes, 0 if unknown
    /// (`max_hw_iov`).
    pub max_hw_segments: usize,
    /// Zero writes are best aligned to this.
    pub zero_alignment: u32,
    /// The longest zero write.
    pub max_zeroes: u64,
    /// Discards are best aligned to this.
    pub discard_alignment: u32,
    /// The longest discard.
    pub max_discard: u64,
    /// What the format allocates at once (`cluster_size` of
    /// `BlockDriverInfo`); 1 if nothing is allocated.
    pub cluster_size: u32,
}

/// The smaller one; 0 is unknown (`MIN_NON_ZERO`).
fn least_known<N: Ord + Default + Copy>(one: N, other: N) -> N {
    match (one == N::default(), other == N::default()) {
        (true, _) => other,
        (_, true) => one,
        _ => one.min(other),
    }
}

impl Default for BlockLimits {
    /// No limits but those of the layer.
    fn default() -> Self {
        BlockLimits {
            request_alignment: 1,
            memory_alignment: 1,
            optimal_memory_alignment: 4096,
            max_transfer: MAX_REQUEST,
            optimal_transfer: 0,
            max_segments: MAX_SEGMENTS,
            max_hw_transfer: 0,
            max_hw_segments: 0,
            zero_alignment: 1,
            max_zeroes: MAX_LENGTH,
            discard_alignment: 1,
            max_discard: MAX_LENGTH,
            cluster_size: 1,
        }
    }
}

impl BlockLimits {
    /// Takes over what a node inherits from a child that it passes data to
    /// (`bdrv_merge_limits`): nothing about offsets, which a format moves.
    pub fn merge_child(&mut self, child: &BlockLimits) {
        self.memory_alignment = self.memory_alignment.max(child.memory_alignment);
        self.optimal_memory_alignment = self
            .optimal_memory_alignment
            .max(child.optimal_memory_alignment);
        self.max_transfer = self.max_transfer.min(child.max_transfer);
        self.optimal_transfer = self.optimal_transfer.max(child.optimal_transfer);
        self.max_segments = self.max_segments.min(child.max_segments);
        self.max_hw_transfer = least_known(self.max_hw_transfer, child.max_hw_transfer);
        self.max_hw_segments = least_known(self.max_hw_segments, child.max_hw_segments);
    }

    /// The longest transfer that a device may show its guest
    /// (`blk_get_max_hw_transfer`), a multiple of the request alignment.
    pub fn max_transfer_of_hardware(&self) -> u64 {
        let most = least_known(self.max_hw_transfer, self.max_transfer);
        let align = u64::from(self.request_alignment);
        (least_known(most, MAX_REQUEST) & !(align - 1)).max(align)
    }

    /// How many pieces of memory a device may show its guest
    /// (`blk_get_max_hw_iov`).
    pub fn max_segments_of_hardware(&self) -> usize {
        least_known(self.max_hw_segments, self.max_segments)
    }

    /// The limits with every length rounded so that requests can be cut by
    /// it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn checked(mut self) -> Result<Self, &'static str> {
        let alignments = [
            self.request_alignment,
            self.memory_alignment,
            self.optimal_memory_alignment,
            self.zero_alignment,
            self.discard_alignment,
            self.cluster_size,
        ];
        if !alignments
            .iter()
            .all(|alignment| alignment.is_power_of_two())
        {
            return Err("Driver requires an alignment that is not a power of two");
        }
        if self.request_alignment > MAX_ALIGNMENT {
            return Err("Driver requires too large request alignment");
        }
        let align = u64::from(self.request_alignment);
        let cut = |length: u64, most: u64| {
            let length = if length == 0 { most } else { length.min(most) };
            (length & !(align - 1)).max(align)
        };
        self.max_transfer = cut(self.max_transfer, MAX_REQUEST);
        self.max_zeroes = cut(self.max_zeroes, MAX_LENGTH);
        self.max_discard = cut(self.max_discard, MAX_LENGTH);
        self.max_segments = self.max_segments.clamp(1, MAX_SEGMENTS);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_is_reachable_and_the_next_is_not() {
        assert!(check_request(MAX_LENGTH - 1, 1).is_ok());
        assert!(check_request(MAX_LENGTH, 0).is_ok());
        assert_eq!(
            check_request(MAX_LENGTH, 1).unwrap_err().to_string(),
            format!("sum of offset({MAX_LENGTH}) and bytes(1) exceeds maximum({MAX_LENGTH})")
        );
        assert!(check_request(u64::MAX, 1).is_err());
        assert!(check_request(1, u64::MAX).is_err());
    }

    #[test]
    fn data_requests_are_shorter_than_two_gibibytes() {
        assert!(check_data_request(0, MAX_REQUEST).is_ok());
        assert!(check_data_request(0, MAX_REQUEST + 1).is_err());
        assert!(check_request(0, MAX_REQUEST + 1).is_ok());
    }

    #[test]
    fn limits_are_rounded_so_that_cutting_keeps_requests_aligned() {
        let limits = BlockLimits {
            request_alignment: 4096,
            max_transfer: 10_000,
            max_zeroes: 1,
            max_discard: 0,
            max_segments: 0,
            ..BlockLimits::default()
        };
        let checked = limits.checked().expect("possible limits");
        assert_eq!(checked.max_transfer, 8192);
        assert_eq!(checked.max_zeroes, 4096);
        assert_eq!(checked.max_discard, MAX_LENGTH);
        assert_eq!(checked.max_segments, 1);
        let odd = |request_alignment| BlockLimits {
            request_alignment,
            ..BlockLimits::default()
        };
        assert!(odd(3).checked().is_err());
        assert!(odd(0).checked().is_err());
        assert!(odd(1 << 31).checked().is_err());
    }

    #[test]
    fn a_guest_sees_the_least_of_what_is_known() {
        let mut limits = BlockLimits {
            max_transfer: 1 << 20,
            request_alignment: 4096,
            ..BlockLimits::default()
        };
        assert_eq!(limits.max_transfer_of_hardware(), 1 << 20);
        assert_eq!(limits.max_segments_of_hardware(), MAX_SEGMENTS);
        let child = BlockLimits {
            max_hw_transfer: 10_000,
            max_hw_segments: 7,
            ..BlockLimits::default()
        };
        limits.merge_child(&child);
        limits.merge_child(&BlockLimits::default());
        assert_eq!(limits.max_transfer_of_hardware(), 8192);
        assert_eq!(limits.max_segments_of_hardware(), 7);
    }
}
