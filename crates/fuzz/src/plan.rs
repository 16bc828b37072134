//! Small decisions, taken from the bytes of an input.

/// Bytes that are used up by deciding; when there are none left every decision
/// is zero.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p>(&'p [u8]);

impl<'p> Plan<'p> {
    /// Decides by these bytes.
    pub fn new(bytes: &'p [u8]) -> Plan<'p> {
        Plan(bytes)
    }

    /// Takes the last `length` bytes of an input for decisions, or fewer, and
    /// leaves the others.
    pub fn at_end(input: &'p [u8], length: usize) -> (&'p [u8], Plan<'p>) {
        let (rest, plan) = input.split_at(input.len().saturating_sub(length));
        (rest, Plan(plan))
    }

    /// Whether all bytes are used up.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// Two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Eight bytes.
    pub fn number(&mut self) -> u64 {
        (0..4).fold(0, |number, _| number << 16 | u64::from(self.word()))
    }

    /// The next `length` bytes, or what is left.
    pub fn bytes(&mut self, length: usize) -> &'p [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A place in something `length` bytes long, which need not be aligned.
    pub fn place(&mut self, length: u64) -> u64 {
        let part = (u128::from(self.word()) * u128::from(length)) >> 16;
        let part = part as u64;
        match self.byte() {
            // Most often where something begins.
            0..=159 => part & !4095,
            160..=223 => part & !511,
            other => part.saturating_add(u64::from(other)).min(length),
        }
    }
}
