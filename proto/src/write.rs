//! The cursor that every encoder writes through.
//!
//! It appends to a buffer that the caller owns, so that many messages can share one output queue without
//! copies. Length fields are written as a [`Hole`] first and filled when the end is known.

/// Appends to a borrowed buffer in network order.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

/// A two-octet length field whose value is not known yet.
#[derive(Debug)]
#[must_use = "an unfilled length field goes out as zero"]
pub struct Hole {
    at: usize,
    /// Where counting starts.
    from: usize,
}

impl<'a> Writer<'a> {
    /// Continues at the end of `out`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// How many bytes the buffer holds, counted from its own start.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.out.len()
    }

    /// One octet.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Two octets.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Four octets.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Two octets that will hold the number of bytes that follow them.
    pub fn hole(&mut self) -> Hole {
        self.hole_from(self.out.len() + 2)
    }

    /// Two octets that will hold the number of bytes from position `from` on.
    pub fn hole_from(&mut self, from: usize) -> Hole {
        let at = self.out.len();
        self.u16(0);
        Hole { at, from }
    }

    /// Fills `hole` with the number of bytes written since its start of counting.
    ///
    /// Callers keep blocks below 64 KiB by construction (a BGP message has at most 4096 bytes).
    pub fn fill(&mut self, hole: &Hole) {
        let length = self.out.len() - hole.from;
        debug_assert!(u16::try_from(length).is_ok(), "block of {length} bytes");
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        if let Some(field) = self
            .out
            .get_mut(hole.at..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *field = length.to_be_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_counts_what_follows_it() {
        let mut out = vec![7];
        let mut writer = Writer::new(&mut out);
        let hole = writer.hole();
        writer.u8(1);
        writer.u32(2);
        writer.fill(&hole);
        assert_eq!(out, [7, 0, 5, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn a_hole_may_count_from_an_earlier_place() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.bytes(&[0xff; 3]);
        let hole = writer.hole_from(0);
        writer.fill(&hole);
        assert_eq!(out, [0xff, 0xff, 0xff, 0, 5]);
    }
}
