//! The control socket: length and JSON each way, descriptors beside the first byte.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream as Pair,
    },
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, Interest},
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
};

use crate::load::FromPython;

/// The longest message; a traceback is far shorter.
const LONGEST: u32 = 4 << 20;
/// A process that does not read for so long never will.
const PATIENCE: Duration = Duration::from_secs(5);
/// Descriptors of the largest message.
const DESCRIPTORS: usize = 4;

/// A new control socket: our end, and the other's.
pub(crate) fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = Pair::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

/// Sends one message.
pub(crate) async fn send(control: &OwnedWriteHalf, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&json);
    tokio::time::timeout(PATIENCE, send_all(control.as_ref(), &bytes, descriptors)).await?
}

async fn send_all(control: &UnixStream, mut bytes: &[u8], mut descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = control
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
                let mut beside = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() {
                    beside.push(SendAncillaryMessage::ScmRights(descriptors));
                }
                Ok(sendmsg(control, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?)
            })
            .await?;
        bytes = &bytes[sent..];
        descriptors = &[];
    }
    Ok(())
}

/// The next message.
pub(crate) async fn receive(control: &mut OwnedReadHalf) -> io::Result<FromPython> {
    let length = control.read_u32_le().await?;
    if length > LONGEST {
        return Err(io::Error::other("a message longer than 4 MiB"));
    }
    let mut json = vec![0; length as usize];
    control.read_exact(&mut json).await?;
    Ok(serde_json::from_slice(&json)?)
}
