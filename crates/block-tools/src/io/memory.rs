//! Memory for requests, and what is in it.

use std::fs::File;
use std::io::Read;

use block_io::Buffer;

use super::command::Failed;
use super::session::words;

/// What a write writes when nobody says what.
pub(super) const WRITTEN: u8 = 0xcd;
/// What is in memory before a read.
pub(super) const UNREAD: u8 = 0xab;

/// A byte, in any notation of C.
pub(super) fn pattern(text: &str) -> Result<u8, Failed> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let parsed = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => u8::from_str_radix(hex, 16),
        (None, Some(octal)) if !octal.is_empty() => u8::from_str_radix(octal, 8),
        _ => digits.parse(),
    };
    parsed.map_err(|_| Failed::Print(format!("{text} is not a valid pattern byte")))
}

/// Memory for a request, full of `byte`.
pub(super) struct Memory {
    buffer: Buffer,
    /// How much of its beginning is not used, so that the rest is not aligned.
    skipped: usize,
}

impl Memory {
    /// So many bytes.
    pub fn filled(bytes: usize, byte: u8, misaligned: bool) -> Memory {
        let skipped = if misaligned { 16 } else { 0 };
        let mut buffer = Buffer::zeroed(bytes + skipped);
        buffer.as_mut_slice().fill(byte);
        Memory { buffer, skipped }
    }

    /// So many bytes, from a file that is repeated until there are enough.
    pub fn from_file(bytes: usize, path: &str, misaligned: bool) -> Result<Memory, Failed> {
        let fail = |error: &std::io::Error| {
            let number = error.raw_os_error().unwrap_or_default();
            eprintln!("{path}: {}", words(number));
            Failed::Said
        };
        let file = File::open(path).map_err(|error| fail(&error))?;
        let mut pattern = Vec::new();
        let read = file.take(bytes as u64).read_to_end(&mut pattern);
        read.map_err(|error| fail(&error))?;
        if pattern.is_empty() && bytes > 0 {
            eprintln!("{path}: file is empty");
            return Err(Failed::Said);
        }
        let mut memory = Memory::filled(bytes, 0, misaligned);
        for piece in memory.bytes_mut().chunks_mut(pattern.len().max(1)) {
            piece.copy_from_slice(&pattern[..piece.len()]);
        }
        Ok(memory)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer.as_slice()[self.skipped..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut_slice()[self.skipped..]
    }

    pub fn source(&self) -> block_io::Source<'_> {
        self.buffer.source().split_at(self.skipped).1
    }

    pub fn destination(&mut self) -> block_io::Destination<'_> {
        self.buffer.destination().split_at(self.skipped).1
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn patterns_are_bytes_in_any_notation() {
        for (text, byte) in [("5", 5), ("0xff", 255), ("010", 8), ("0", 0), ("+7", 7)] {
            assert_eq!(pattern(text).expect(text), byte);
        }
        for text in ["-1", "256", "0x1ff", "5x", "", "0x"] {
            let failed = pattern(text).expect_err(text);
            let expected = format!("{text} is not a valid pattern byte");
            assert!(matches!(failed, Failed::Print(message) if message == expected));
        }
    }

    #[test]
    fn a_file_is_repeated() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"abc").expect("written");
        let path = file.path().to_str().expect("text").to_owned();
        let memory = Memory::from_file(7, &path, true).expect("read");
        assert_eq!(memory.bytes(), b"abcabca");
        file.as_file().set_len(0).expect("emptied");
        assert!(Memory::from_file(7, &path, false).is_err());
    }
}
