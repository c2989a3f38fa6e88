//! The worker's end of either transport: frames in, frames out, and how to sleep in between.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use plait_frames::{Consumer, Direction, Map, Producer, PushError, RingBroken, Splitter};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};

/// How long a worker waits for a proxy that takes no answers.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between looks for room.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000 };

/// What the worker reads from and writes to.
#[derive(Debug)]
pub(crate) enum Link {
    Ring { calls: Consumer, verdicts: Producer, wake_worker: Arc<OwnedFd>, wake_proxy: OwnedFd, armed: bool },
    Stream { socket: Arc<OwnedFd>, splitter: Splitter, out: Vec<u8> },
}

impl Link {
    pub(crate) fn ring(map: &Arc<Map>, wake_worker: Arc<OwnedFd>, wake_proxy: OwnedFd) -> Self {
        let (calls, verdicts) = (Consumer::new(map.clone(), Direction::Calls), Producer::new(map.clone(), Direction::Verdicts));
        Self::Ring { calls, verdicts, wake_worker, wake_proxy, armed: false }
    }

    pub(crate) fn stream(socket: Arc<OwnedFd>) -> Self {
        Self::Stream { socket, splitter: Splitter::default(), out: Vec::new() }
    }

    /// What came meanwhile can be read by `next`.
    pub(crate) fn collect(&mut self) -> io::Result<()> {
        match self {
            Self::Ring { wake_worker, armed, .. } => {
                if std::mem::take(armed) {
                    let _ = rustix::io::read(&*wake_worker, &mut [0; 8]);
                }
                Ok(())
            }
            Self::Stream { socket, splitter, .. } => receive(socket.as_fd(), splitter),
        }
    }

    /// Copies the next frame.
    pub(crate) fn next(&mut self, frame: &mut Vec<u8>) -> Result<bool, RingBroken> {
        match self {
            Self::Ring { calls, .. } => calls.next(frame),
            Self::Stream { splitter, .. } => splitter.next(frame),
        }
    }

    /// Gives room back.
    pub(crate) fn release(&self) {
        if let Self::Ring { calls, .. } = self {
            calls.release();
        }
    }

    /// This side will sleep, unless something came.
    pub(crate) fn arm(&mut self) -> bool {
        match self {
            Self::Ring { calls, armed, .. } => {
                *armed = calls.arm();
                *armed
            }
            Self::Stream { socket, .. } => !readable(&[socket.as_fd()], Some(Duration::ZERO)).is_ok_and(|ready| ready[0]),
        }
    }

    pub(crate) fn push(&mut self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream { out, .. } => {
                out.extend_from_slice(frame);
                Ok(())
            }
            Self::Ring { verdicts, wake_proxy, .. } => push_patiently(verdicts, wake_proxy, frame),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Ring { verdicts, wake_proxy, .. } => {
                publish(verdicts, wake_proxy);
                Ok(())
            }
            Self::Stream { socket, out, .. } => {
                let mut rest = out.as_slice();
                while !rest.is_empty() {
                    match rustix::net::send(&*socket, rest, SendFlags::NOSIGNAL) {
                        Ok(sent) => rest = &rest[sent..],
                        Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&*socket, PollFlags::OUT)], Some(&LOOK))),
                        Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                out.clear();
                Ok(())
            }
        }
    }
}

/// Which of `descriptors` can be read within `timeout`. Interrupted by signals.
pub(crate) fn readable(descriptors: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> = descriptors.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
    let timeout = timeout.map(|timeout| Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) });
    poll(&mut polled, timeout.as_ref())?;
    Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
}

fn publish(verdicts: &mut Producer, wake_proxy: &OwnedFd) {
    if verdicts.publish() {
        let _ = rustix::io::write(wake_proxy, &1u64.to_ne_bytes());
    }
}

fn push_patiently(verdicts: &mut Producer, wake_proxy: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    let mut since = None;
    loop {
        match verdicts.push(frame) {
            Ok(()) => return Ok(()),
            Err(PushError::Broken(error)) => return Err(io::Error::other(error)),
            Err(PushError::Full) if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(PushError::Full) => {
                publish(verdicts, wake_proxy);
                let _ = poll(&mut [], Some(&LOOK));
            }
        }
    }
}

fn receive(socket: BorrowedFd<'_>, splitter: &mut Splitter) -> io::Result<()> {
    let mut bytes = [0; 65536];
    loop {
        match rustix::net::recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((read, _)) => {
                splitter.extend(&bytes[..read]);
                if read < bytes.len() {
                    return Ok(());
                }
            }
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
