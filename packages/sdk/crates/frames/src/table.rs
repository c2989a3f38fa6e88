//! What calls and verdicts have in common: a head, a table of tags and lengths, and the bytes it speaks of, in that order.
//!
//! An entry of the table is one word of 32 bits: the tag above, the length in the lower 24.

/// The longest frame there may be.
pub const MAX_FRAME: usize = 1 << 24;
/// The shortest: a head alone.
pub(crate) const MIN_FRAME: usize = 24;

/// A frame that nobody honest wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length in its head is not the length it has.
    #[error("a frame of another length than it says")]
    Length,
    /// The table does not fit the bytes.
    #[error("a frame whose table does not fit its bytes")]
    Table,
    /// A number that stands for nothing.
    #[error("a frame with an unknown number for its {0}")]
    Unknown(&'static str),
    /// Text or a name that may not be.
    #[error("{0}")]
    Content(&'static str),
}

/// More bytes than a frame can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than a frame can hold")]
pub struct TooLarge;

/// A tag and what it stands for.
pub(crate) type Entry<'a> = (u8, &'a [u8]);

/// Table and bytes in the making.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    table: Vec<u8>,
    bytes: Vec<u8>,
    too_large: bool,
}

impl Builder {
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.bytes.clear();
        self.too_large = false;
    }

    pub(crate) fn put(&mut self, tag: u8, bytes: &[u8]) {
        // Checked here, so that the sums below cannot overflow.
        if self.bytes.len() + bytes.len() >= MAX_FRAME || self.count() >= usize::from(u16::MAX) {
            self.too_large = true;
            return;
        }
        let entry = u32::from(tag) << 24 | bytes.len() as u32;
        self.table.extend_from_slice(&entry.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn count(&self) -> usize {
        self.table.len() / 4
    }

    /// Appends the whole frame to `out`; `head` is what stands after its length.
    pub(crate) fn finish(&self, head: &[u8], out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let length = 4 + head.len() + self.table.len() + self.bytes.len();
        if self.too_large || length > MAX_FRAME {
            return Err(TooLarge);
        }
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(head);
        out.extend_from_slice(&self.table);
        out.extend_from_slice(&self.bytes);
        Ok(())
    }
}

/// Checks that a frame's length and table fit its bytes: afterwards `entries` finds all that the table names.
pub(crate) fn check(frame: &[u8], head: usize, count: usize) -> Result<(), FrameError> {
    let said = frame.first_chunk::<4>().map(|start| u32::from_le_bytes(*start) as usize);
    if said != Some(frame.len()) || frame.len() > MAX_FRAME {
        return Err(FrameError::Length);
    }
    let table = frame.get(head..head + count * 4).ok_or(FrameError::Table)?;
    let bytes: usize = table.as_chunks::<4>().0.iter().map(|entry| length_of(*entry)).sum();
    if head + count * 4 + bytes == frame.len() { Ok(()) } else { Err(FrameError::Table) }
}

/// The entries of a checked frame.
pub(crate) fn entries(frame: &[u8], head: usize, count: usize) -> impl Iterator<Item = Entry<'_>> {
    let (table, mut bytes) = frame.get(head..).and_then(|rest| rest.split_at_checked(count * 4)).unwrap_or_default();
    table.as_chunks::<4>().0.iter().map_while(move |entry| {
        let (this, rest) = bytes.split_at_checked(length_of(*entry))?;
        bytes = rest;
        Some((entry[3], this))
    })
}

fn length_of(entry: [u8; 4]) -> usize {
    (u32::from_le_bytes(entry) & 0x00ff_ffff) as usize
}
