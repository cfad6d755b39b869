//! The checked cursor that every decoder reads through.
//!
//! Input from the wire is hostile, so no decoder indexes a slice: it asks a [`Reader`], which answers
//! [`Short`] when the bytes are not there. A reader borrows; it never copies and never allocates.

/// The input ended before the field did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the input is {missing} bytes short")]
pub struct Short {
    /// How many bytes more the field needed.
    pub missing: usize,
}

/// A position in borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left, without moving.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Short {
                missing: n - self.rest.len(),
            }),
        }
    }

    /// A reader confined to the next `n` bytes: a length field read once cannot be overrun later.
    pub fn within(&mut self, n: usize) -> Result<Reader<'a>, Short> {
        self.take(n).map(Reader::new)
    }

    /// The next `N` bytes by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(Short {
                missing: N - self.rest.len(),
            }),
        }
    }

    /// One octet.
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// Two octets in network order.
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four octets in network order.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_network_order_and_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 0, 2, 0, 0, 0, 3, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u16(), Err(Short { missing: 1 }));
        assert_eq!(reader.rest(), &[9], "a failed read does not move");
    }

    #[test]
    fn a_confined_reader_cannot_see_past_its_length() {
        let mut reader = Reader::new(&[1, 2, 3]);
        let mut inner = reader.within(2).unwrap();
        assert_eq!(inner.u32(), Err(Short { missing: 2 }));
        assert_eq!(reader.u8(), Ok(3));
        assert!(reader.within(1).is_err());
    }
}
