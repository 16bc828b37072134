//! What a user may ask of a dirty bitmap.

use super::BitmapError;

/// The longest name of a bitmap, in bytes (`BDRV_BITMAP_MAX_NAME_SIZE`).
pub const MAX_NAME: usize = 1023;

/// The finest granularity, in bytes: a sector.
pub const MIN_GRANULARITY: u32 = 512;

/// The coarsest granularity, in bytes.
pub const MAX_GRANULARITY: u32 = 1 << 31;

/// Checks a name that a user gives to a bitmap. That it is free is for the
/// node to say.
///
/// # Errors
/// [`BitmapError::NameEmpty`], [`BitmapError::NameTooLong`].
pub fn check_name(name: &str) -> Result<(), BitmapError> {
    if name.is_empty() {
        return Err(BitmapError::NameEmpty);
    }
    if name.len() > MAX_NAME {
        return Err(BitmapError::NameTooLong(name.into()));
    }
    Ok(())
}

/// Checks a granularity in bytes: a power of two from [`MIN_GRANULARITY`] to
/// [`MAX_GRANULARITY`], which is the last one that the type can hold.
///
/// # Errors
/// [`BitmapError::Granularity`].
pub fn check_granularity(granularity: u32) -> Result<(), BitmapError> {
    match granularity.is_power_of_two() && granularity >= MIN_GRANULARITY {
        true => Ok(()),
        false => Err(BitmapError::Granularity),
    }
}

/// The granularity of a bitmap whose user names none, in bytes
/// (`bdrv_get_default_bitmap_granularity`): what the node allocates at once,
/// but at least 4 KiB and at most 64 KiB, which is also what a node gets that
/// allocates nothing.
pub fn default_granularity(cluster_size: u32) -> u32 {
    match cluster_size {
        0 | 1 => 64 << 10,
        size => size.clamp(4 << 10, 64 << 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_length() {
        let said = |name: &str| check_name(name).unwrap_err().to_string();
        assert_eq!(said(""), "Bitmap name cannot be empty");
        assert!(check_name(&"n".repeat(1023)).is_ok());
        let long = "n".repeat(1024);
        assert_eq!(said(&long), format!("Bitmap name too long: {long}"));
        assert!(check_name("any thing \u{e4}").is_ok());
    }

    #[test]
    fn granularities_are_powers_of_two_of_sectors() {
        for good in [512, 4096, 1 << 31] {
            assert!(check_granularity(good).is_ok(), "{good}");
        }
        for bad in [0, 1, 256, 511, 513, 100_000, u32::MAX] {
            let error = check_granularity(bad).unwrap_err().to_string();
            assert_eq!(error, "Granularity must be power of 2 and at least 512");
        }
    }

    #[test]
    fn without_a_wish_it_is_that_of_the_image() {
        assert_eq!(default_granularity(1), 65536);
        assert_eq!(default_granularity(512), 4096);
        assert_eq!(default_granularity(16384), 16384);
        assert_eq!(default_granularity(2 << 20), 65536);
    }
}
