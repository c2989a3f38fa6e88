//! One end of a TCP connection in the hand of a test: a caller or an origin that does exactly as it is told.

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    deadline::in_time,
    message::{Cut, Ends, Message},
};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The other side said that it is done.
    Closed,
    /// The other side broke it off.
    Reset,
}

/// What the system holds of a connection whose other end does not read: the memory of thousands of sockets is that of the whole machine.
const LITTLE: usize = 32 * 1024;

/// Has the system hold little of what nobody reads at this end, and of what it cannot send.
pub fn holds_little(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    socket.set_recv_buffer_size(LITTLE).unwrap();
    socket.set_send_buffer_size(LITTLE).unwrap();
}

/// One end of a connection. Each read waits at most the deadline.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// Read from the socket and not yet taken.
    ahead: Vec<u8>,
}

impl From<TcpStream> for Peer {
    fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new() }
    }
}

impl Peer {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("a connect", TcpStream::connect(address)).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.into()
    }

    /// As `holds_little` says.
    pub fn holds_little(self) -> Self {
        holds_little(&self.stream);
        self
    }

    /// Sends text.
    pub async fn sends(&mut self, text: &str) {
        self.try_send(text.as_bytes()).await.unwrap();
    }

    /// Sends bytes; fails when the other side takes no more.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        in_time("a send", self.stream.write_all(bytes)).await
    }

    /// Sends what the socket takes at once; gives how much that was.
    pub fn try_send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    /// Says that nothing more comes, and can still read.
    pub async fn says_goodbye(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The connection, for who speaks a protocol by a library; nothing may have been read yet.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.ahead.is_empty(), "bytes were read ahead: {:?}", self.came());
        self.stream
    }

    /// Breaks the connection off.
    pub fn resets(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Takes exactly `expected`.
    pub async fn reads(&mut self, expected: &str) {
        while self.ahead.len() < expected.len() {
            assert!(expected.as_bytes().starts_with(&self.ahead), "expected {expected:?}, came {:?}", self.came());
            if let Err(end) = self.fill().await {
                panic!("expected {expected:?}, came {:?}, then {end:?}", self.came());
            }
        }
        let taken: Vec<_> = self.ahead.drain(..expected.len()).collect();
        assert_eq!(String::from_utf8_lossy(&taken), expected);
    }

    /// Takes so many bytes, whatever they are.
    pub async fn takes(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            if let Err(end) = self.fill().await {
                panic!("expected {count} bytes, came {}, then {end:?}", self.ahead.len());
            }
        }
        self.ahead.drain(..count).collect()
    }

    /// Takes a request.
    pub async fn request(&mut self) -> Message {
        self.whole(None).await
    }

    /// The next request, however long it takes to come.
    pub async fn next_request(&mut self) -> Result<Message, Cut> {
        if self.ahead.is_empty() {
            // How the connection ended, if it did, is found by reading.
            let _ = self.stream.readable().await;
        }
        self.try_message(None).await
    }

    /// Sends bytes, however long they take to leave.
    pub async fn send_patiently(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Takes the response to a GET, or one like it; interim ones are responses too.
    pub async fn response(&mut self) -> Message {
        self.whole(Some("GET")).await
    }

    /// Takes the response to a request with `method`.
    pub async fn response_to(&mut self, method: &str) -> Message {
        self.whole(Some(method)).await
    }

    /// Takes a head, and leaves its body.
    pub async fn head(&mut self) -> Message {
        self.try_head().await.unwrap_or_else(|cut| panic!("no head came: {cut:?}"))
    }

    /// Takes a message that must not come whole.
    pub async fn cut(&mut self, method: Option<&str>) -> Cut {
        match self.try_message(method).await {
            Err(cut) => cut,
            Ok(message) => panic!("it came whole:\n{message}"),
        }
    }

    /// Takes all that comes until the other side is done.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill().await {
                return (std::mem::take(&mut self.ahead), end);
            }
        }
    }

    /// The other side is done and said nothing more.
    pub async fn is_closed(&mut self) {
        assert_eq!(self.rest().await, (Vec::new(), End::Closed), "only an end may come");
    }

    /// The other side broke off and said nothing more.
    pub async fn is_reset(&mut self) {
        assert_eq!(self.rest().await, (Vec::new(), End::Reset), "only a reset may come");
    }

    /// The other side is done, however it ended, and said nothing more.
    pub async fn is_over(&mut self) {
        let (came, _) = self.rest().await;
        assert_eq!(String::from_utf8_lossy(&came), "", "only an end may come");
    }

    /// The message, or what came of it. `method`: that of the request, when it is a response.
    pub async fn try_message(&mut self, method: Option<&str>) -> Result<Message, Cut> {
        let mut message = self.try_head().await?;
        match message.ends(method) {
            Ends::After(length) => {
                while self.ahead.len() < length {
                    self.more().await?;
                }
                message.body = self.ahead.drain(..length).collect();
            }
            Ends::Chunks => loop {
                if let Some(taken) = message.take_chunks(&self.ahead) {
                    self.ahead.drain(..taken);
                    break;
                }
                self.more().await?;
            },
            Ends::Close => match self.rest().await {
                (body, End::Closed) => message.body = body,
                (came, End::Reset) => return Err(Cut { came, reset: true }),
            },
        }
        Ok(message)
    }

    async fn whole(&mut self, method: Option<&str>) -> Message {
        self.try_message(method)
            .await
            .unwrap_or_else(|cut| panic!("no whole message came: {:?}, {cut:?}", String::from_utf8_lossy(&cut.came)))
    }

    /// The next head, or what came of it; its body is left.
    pub async fn try_head(&mut self) -> Result<Message, Cut> {
        loop {
            if let Some((message, length)) = Message::head(&self.ahead) {
                self.ahead.drain(..length);
                return Ok(message);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Cut> {
        self.fill().await.map_err(|end| Cut { came: self.ahead.clone(), reset: end == End::Reset })
    }

    /// Reads more, or says how the connection ended.
    async fn fill(&mut self) -> Result<(), End> {
        match in_time("a read", self.stream.read_buf(&mut self.ahead)).await {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }

    fn came(&self) -> String {
        String::from_utf8_lossy(&self.ahead).into_owned()
    }
}
