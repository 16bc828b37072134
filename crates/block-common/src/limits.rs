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
}
