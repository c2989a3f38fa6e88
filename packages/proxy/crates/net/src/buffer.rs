//! A window of received bytes over a borrowed buffer: while no byte is pending, no memory is held.
//! Used by every HTTP/1.1 connection; knows nothing of what the bytes mean.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

const SMALL: usize = 16 * 1024;
const LARGE: usize = 64 * 1024;
/// Bodies that get more room at a time. Those who stream are few; when there are more, most of them wait for readers that do not read.
const STREAMING: usize = 64;
/// Spare buffers that a worker keeps.
const SPARE: usize = 64;

thread_local! {
    static SMALL_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// Buffers with more room.
    static GROWN: Cell<usize> = const { Cell::new(0) };
}

/// Bytes received and not read yet.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Its length is its capacity; `start..end` is what was received.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes that wait.
    pub fn data(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// True when no byte waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Takes all that waits.
    pub fn take(&mut self) -> Vec<u8> {
        let taken = self.data().to_vec();
        self.release();
        taken
    }

    /// Receives more behind what waits, growing up to `limit` bytes; 0 = the other side has closed.
    pub fn poll_fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room(limit)?;
        let mut free = ReadBuf::new(&mut self.memory[self.end..]);
        let filled = Pin::new(reader).poll_read(cx, &mut free);
        let count = free.filled().len();
        let asked = self.memory.len() - self.end;
        if filled.is_pending() {
            if self.is_empty() {
                self.release();
            }
            return Poll::Pending;
        }
        ready!(filled)?;
        self.end += count;
        // A full read says that a body streams: the next one deserves more room.
        if count == asked && self.memory.len() < LARGE && GROWN.get() < STREAMING {
            self.grow(LARGE);
        }
        Poll::Ready(Ok(count))
    }

    /// As `poll_fill`, waiting.
    pub async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R, limit: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(reader, limit, cx)).await
    }

    fn make_room(&mut self, limit: usize) -> io::Result<()> {
        if self.memory.is_empty() {
            self.memory = SMALL_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SMALL]);
        }
        if self.end < self.memory.len() {
            return Ok(());
        }
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return Ok(());
        }
        if self.memory.len() >= limit.max(LARGE) {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "more bytes wait than the limit allows"));
        }
        let larger = (self.memory.len() * 2).min(limit.max(LARGE));
        self.grow(larger);
        Ok(())
    }

    fn grow(&mut self, size: usize) {
        if self.memory.len() == SMALL {
            GROWN.set(GROWN.get() + 1);
        }
        self.memory.resize(size, 0);
    }

    fn release(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.len() > SMALL {
            // A buffer that came from another thread was counted there.
            GROWN.set(GROWN.get().saturating_sub(1));
        }
        self.start = 0;
        self.end = 0;
        if memory.len() == SMALL {
            // At the end of a thread the store may be gone already; the memory is then freed.
            let _ = SMALL_BUFFERS.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARE {
                    spare.push(memory);
                }
            });
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in_and_idle_holds_nothing() {
        let (mut far, mut near) = tokio::io::duplex(200_000);
        let mut buffer = Buffer::default();
        let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        far.write_all(&sent).await.unwrap();
        let mut received = Vec::new();
        while received.len() < sent.len() {
            buffer.fill(&mut near, 0).await.unwrap();
            received.extend_from_slice(buffer.data());
            buffer.consume(buffer.data().len());
        }
        assert_eq!(received, sent);
        let idle = std::future::poll_fn(|cx| Poll::Ready(buffer.poll_fill(&mut near, 0, cx).is_pending())).await;
        assert!(idle && buffer.memory.is_empty());
    }

    #[tokio::test]
    async fn few_bodies_get_much_room_and_many_get_little() {
        let mut streaming = Vec::new();
        for number in 0..2 * STREAMING {
            let mut buffer = Buffer::default();
            let mut full = &vec![7; LARGE][..];
            buffer.fill(&mut full, 0).await.unwrap();
            assert_eq!(buffer.memory.len(), if number < STREAMING { LARGE } else { SMALL }, "{number}");
            streaming.push(buffer);
        }
        streaming.clear();
        assert_eq!(GROWN.get(), 0);
    }

    #[tokio::test]
    async fn no_more_waits_than_the_limit() {
        let (mut far, mut near) = tokio::io::duplex(400_000);
        far.write_all(&vec![1; 300_000]).await.unwrap();
        let mut buffer = Buffer::default();
        let error = loop {
            if let Err(error) = buffer.fill(&mut near, 128 * 1024).await {
                break error;
            }
        };
        assert_eq!((error.kind(), buffer.data().len()), (io::ErrorKind::OutOfMemory, 128 * 1024));
    }
}
