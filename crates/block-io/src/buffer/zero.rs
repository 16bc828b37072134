//! Are these bytes all zero?

/// Whether every byte is zero (`buffer_is_zero`).
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Most data shows within its first bytes that it is not.
    let (head, rest) = bytes.split_at(bytes.len().min(16));
    if head.iter().any(|&byte| byte != 0) {
        return false;
    }
    // No early end within a block, so that it is done in whole registers.
    let mut blocks = rest.chunks_exact(256);
    let is_zero_block = |block: &[u8]| block.iter().fold(0, |all, byte| all | byte) == 0;
    blocks.by_ref().all(is_zero_block) && is_zero_block(blocks.remainder())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        for len in [0, 1, 15, 16, 17, 255, 256, 271, 272, 273, 1000] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes), "{len}");
            for index in 0..len {
                bytes[index] = 0x80;
                assert!(!is_zero(&bytes), "{index} of {len}");
                bytes[index] = 0;
            }
        }
    }
}
