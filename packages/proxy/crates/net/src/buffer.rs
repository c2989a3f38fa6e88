//! A window of received bytes over a borrowed buffer: while no byte is pending, no memory is held.
//! Used by every HTTP/1.1 connection; knows nothing of what the bytes mean.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

const SMALL: usize = 16 * 1024;
const LARGE: usize = 64 * 1024;
/// Spare buffers that a worker keeps of each size.
const SPARE: usize = 64;

thread_local! {
    static SMALL_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
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
        if count == asked && self.memory.len() < LARGE {
            self.memory.resize(LARGE, 0);
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
        self.memory.resize(larger, 0);
        Ok(())
    }

    fn release(&mut self) {
        let memory = std::mem::take(&mut self.memory);
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
