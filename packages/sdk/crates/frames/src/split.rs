//! Frames out of a byte stream, for where shared memory is not to be had.

use crate::{
    ring::RingBroken,
    table::{MAX_FRAME, MIN_FRAME},
};

/// Collects bytes of a stream and hands out whole frames.
#[derive(Debug, Default)]
pub struct Splitter {
    bytes: Vec<u8>,
    read: usize,
}

impl Splitter {
    /// Takes in what was received.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Copies the next whole frame into `frame`; false when there is none yet.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<bool, RingBroken> {
        let rest = &self.bytes[self.read..];
        let Some(start) = rest.first_chunk::<4>() else { return Ok(false) };
        let length = u32::from_le_bytes(*start) as usize;
        if !(MIN_FRAME..=MAX_FRAME).contains(&length) {
            return Err(RingBroken);
        }
        let Some(whole) = rest.get(..length) else { return Ok(false) };
        frame.clear();
        frame.extend_from_slice(whole);
        self.read += length;
        Ok(true)
    }
}
