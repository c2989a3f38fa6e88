//! A peer that writes frames of HTTP/2 by hand, true or not, over TCP or mutual TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use plait_identity::Identities;
use plait_model::SpiffeId;
use plait_testkit::{DOMAIN, Stage, holds_little, in_time};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Which listener is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The one for calls of our own workload, in plaintext.
    Outbound,
    /// The one for other proxies, by a peer with a valid certificate.
    Inbound,
}

impl Door {
    pub(crate) const ALL: [Self; 2] = [Self::Outbound, Self::Inbound];
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A listener and what is needed to knock there; goes to the attacker's thread.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) door: Door,
    pub(crate) address: SocketAddr,
    /// The port that requests name at the inbound door.
    port: u16,
    identities: Arc<Identities>,
}

impl Target {
    pub(crate) fn of(stage: &Stage, door: Door) -> Self {
        let place = &stage.places["reviews-1"];
        let address = if door == Door::Outbound { stage.outbound.address } else { place.inbound.address };
        let identities = Identities::new();
        identities.set_leaf("shop/web-1".into(), stage.authority.leaf("web"));
        identities.set_trust(DOMAIN, std::slice::from_ref(&stage.authority.root));
        Self { door, address, port: place.process.address.port(), identities }
    }

    /// Connects; over TLS where that is asked for.
    async fn stream(&self) -> Box<dyn Stream> {
        let tcp = in_time("a connect", TcpStream::connect(self.address)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        holds_little(&tcp);
        if self.door == Door::Outbound {
            return Box::new(tcp);
        }
        let (name, expected) = (format!("reviews-1.shop.{DOMAIN}"), SpiffeId::new(DOMAIN, "shop", "reviews").unwrap());
        Box::new(in_time("a handshake", self.identities.connect("shop/web-1", tcp, &name, &expected)).await.unwrap())
    }
}

/// A connection in the hand of an attacker.
pub(crate) struct Attacker {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    ahead: Vec<u8>,
    pub(crate) door: Door,
    port: u16,
}

/// How a connection that was attacked ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a GOAWAY of this code.
    Goaway(u32),
    /// Closed or reset without a word.
    Closed,
    /// It goes on.
    Open,
}

impl Attacker {
    /// Connects and says the preface with these settings.
    pub(crate) async fn connect(target: &Target, settings: &[(u16, u32)]) -> Self {
        let (reader, writer) = tokio::io::split(target.stream().await);
        let mut attacker = Self { reader, writer, ahead: Vec::new(), door: target.door, port: target.port };
        let mut start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let payload: Vec<u8> = settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        start.extend(frame(SETTINGS, 0, 0, &payload));
        start.extend(frame(SETTINGS, ACK, 0, b""));
        attacker.send(&start).await.unwrap();
        attacker
    }

    /// The other side: takes the connection of one who asks, with its preface.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let mut tcp = in_time("a connection", listener.accept()).await.unwrap().0;
        tcp.set_nodelay(true).unwrap();
        let mut preface = [0; 24];
        in_time("a preface", tcp.read_exact(&mut preface)).await.unwrap();
        let (reader, writer) = tokio::io::split(Box::new(tcp) as Box<dyn Stream>);
        let mut server = Self { reader, writer, ahead: Vec::new(), door: Door::Outbound, port: 0 };
        server.send(&[frame(SETTINGS, 0, 0, b""), frame(SETTINGS, ACK, 0, b"")].concat()).await.unwrap();
        server
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        in_time("a write", self.writer.write_all(bytes)).await?;
        self.writer.flush().await
    }

    /// The head of a request to reviews, compressed.
    pub(crate) fn head(&self, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let port = self.port.to_string();
        let mut fields = vec![(":method", method), (":scheme", "http"), (":authority", "reviews"), (":path", "/")];
        if self.door == Door::Inbound {
            fields.push(("plait-port", &port));
        }
        fields.extend(more);
        fields.iter().flat_map(|(name, value)| field(0, name, value)).collect()
    }

    /// HEADERS of a request to reviews.
    pub(crate) fn request(&self, stream: u32, method: &str, flags: u8) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | flags, stream, &self.head(method, &[]))
    }

    /// The next frame; `None` when the connection is over.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(header) = self.ahead.first_chunk::<9>() {
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
                if self.ahead.len() >= 9 + length {
                    let (kind, flags) = (header[3], header[4]);
                    let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & 0x7fff_ffff;
                    let payload = self.ahead[9..9 + length].to_vec();
                    self.ahead.drain(..9 + length);
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            match self.reader.read_buf(&mut self.ahead).await {
                Ok(count) if count > 0 => {}
                _ => return None,
            }
        }
    }

    /// The next frame of that kind; what comes before it is dropped.
    pub(crate) async fn frame_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            match in_time("a frame", self.frame()).await {
                Some(frame) if frame.kind == kind => return Some(frame),
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// Sends `pieces` as fast as they are taken, reading all that comes, until the connection ends, or `patience` after the last was sent.
    pub(crate) async fn floods(&mut self, pieces: impl IntoIterator<Item = Vec<u8>>, patience: Duration) -> End {
        let Self { reader, writer, ahead, .. } = self;
        let mut watch = Watch { ahead: std::mem::take(ahead), code: None };
        let reading = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count) = reader.read(&mut buffer).await {
                if count == 0 {
                    break;
                }
                watch.takes(&buffer[..count]);
            }
        };
        let writing = async {
            for piece in pieces {
                if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
                    // How it ended is read.
                    return std::future::pending::<()>().await;
                }
            }
            tokio::time::sleep(patience).await;
        };
        let open = in_time("an end of the flood", async {
            tokio::select! {
                biased;
                () = reading => false,
                () = writing => true,
            }
        })
        .await;
        match watch.code {
            Some(code) => End::Goaway(code),
            None if open => End::Open,
            None => End::Closed,
        }
    }
}

/// Looks for the code of a GOAWAY in what comes, and keeps nothing else.
struct Watch {
    ahead: Vec<u8>,
    code: Option<u32>,
}

impl Watch {
    fn takes(&mut self, bytes: &[u8]) {
        self.ahead.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = self.ahead.get(at..at + 9) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let Some(payload) = self.ahead.get(at + 9..at + 9 + length) else { break };
            if header[3] == GOAWAY {
                self.code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
            at += 9 + length;
        }
        self.ahead.drain(..at);
    }
}

/// A frame as it travels.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A literal field of HPACK; `form` 0x40 puts it into the dynamic table, 0 does not.
pub(crate) fn field(form: u8, name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![form];
    for text in [name, value] {
        field.extend(integer(text.len()));
        field.extend(text.as_bytes());
    }
    field
}

/// An integer of HPACK with a prefix of seven bits.
fn integer(mut number: usize) -> Vec<u8> {
    if number < 0x7f {
        return vec![number as u8];
    }
    number -= 0x7f;
    let mut bytes = vec![0x7f];
    while number >= 0x80 {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
