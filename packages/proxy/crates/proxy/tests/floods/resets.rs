//! A caller or a process that goes away at every point of a request, an upgrade and a tunnel: nothing is lost, sent twice or taken for whole, and
//! nothing is left of it.

use plait_testkit::{End, Origin, Peer, Stage, Way, in_time, until};

use crate::{
    attacker::{Attacker, CONTINUATION, DATA, Door, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Target, field, frame},
    measure::descriptors,
    scene::{alone, nothing_is_left},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bodies whose length is known.
    Length,
    Chunks,
    Upgrade,
    Tunnel,
}

/// How far an exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Point {
    Connected,
    HalfHead,
    Head,
    HalfBody,
    Body,
    Interim,
    HalfAnswerHead,
    AnswerHead,
    /// Of what follows an upgrade or opens a tunnel.
    FirstWord,
    HalfAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Closes,
    /// Resets the connection; in HTTP/2 the stream.
    Resets,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Length, Self::Chunks, Self::Upgrade, Self::Tunnel];

    pub(crate) fn points(self) -> &'static [Point] {
        use Point::{AnswerHead, Body, Connected, FirstWord, HalfAnswer, HalfAnswerHead, HalfBody, HalfHead, Head, Interim};
        match self {
            Self::Length | Self::Chunks => &[Connected, HalfHead, Head, HalfBody, Body, Interim, HalfAnswerHead, AnswerHead, HalfAnswer],
            Self::Upgrade => &[Connected, HalfHead, Head, HalfAnswerHead, AnswerHead, FirstWord, HalfAnswer],
            Self::Tunnel => &[Connected, HalfHead, AnswerHead, FirstWord, HalfAnswer],
        }
    }

    pub(crate) fn is_opaque(self) -> bool {
        matches!(self, Self::Upgrade | Self::Tunnel)
    }

    /// The head of a request of HTTP/1.1.
    fn head(self) -> &'static str {
        match self {
            Self::Length => "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 8\r\n\r\n",
            Self::Chunks => "POST / HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n",
            Self::Upgrade => "GET / HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            Self::Tunnel => "CONNECT ledger:7000 HTTP/1.1\r\nhost: ledger:7000\r\n\r\n",
        }
    }

    /// The head of a request of HTTP/2.
    fn fields(self) -> Vec<u8> {
        let fields: &[(&str, &str)] = match self {
            Self::Length => &[(":method", "POST"), (":scheme", "http"), (":authority", "reviews"), (":path", "/"), ("content-length", "8")],
            Self::Chunks => &[(":method", "POST"), (":scheme", "http"), (":authority", "reviews"), (":path", "/")],
            Self::Upgrade => &[(":method", "CONNECT"), (":protocol", "x"), (":scheme", "http"), (":authority", "reviews"), (":path", "/")],
            Self::Tunnel => &[(":method", "CONNECT"), (":authority", "ledger:7000")],
        };
        fields.iter().flat_map(|(name, value)| field(0, name, value)).collect()
    }

    /// A half of a body as HTTP/1.1 has it.
    fn half(self, last: bool) -> &'static str {
        match (self, last) {
            (Self::Chunks, false) => "4\r\nhalf\r\n",
            (Self::Chunks, true) => "4\r\nrest\r\n0\r\n\r\n",
            (_, false) => "half",
            (_, true) => "rest",
        }
    }

    fn answer(self) -> &'static str {
        match self {
            Self::Length => "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n",
            Self::Chunks => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Self::Upgrade => "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            Self::Tunnel => "",
        }
    }
}

/// Bytes of a head that come first.
const HALF: usize = 10;

pub(crate) enum Caller {
    Http1(Peer),
    Http2(Attacker),
}

impl Caller {
    async fn connects(stage: &Stage, http2: bool) -> Self {
        if http2 {
            Self::Http2(Attacker::connect(&Target::of(stage, Door::Outbound), &[]).await)
        } else {
            Self::Http1(stage.caller_connects().await)
        }
    }

    /// Says what leads to the point, where that is its turn.
    async fn says(&mut self, kind: Kind, point: Point) {
        match self {
            Self::Http1(peer) => {
                let (first, second) = kind.head().split_at(HALF);
                match point {
                    Point::HalfHead => peer.sends(first).await,
                    Point::Head => peer.sends(second).await,
                    Point::AnswerHead if kind == Kind::Tunnel => peer.sends(second).await,
                    Point::HalfBody | Point::FirstWord => peer.sends(kind.half(false)).await,
                    Point::Body => peer.sends(kind.half(true)).await,
                    _ => {}
                }
            }
            Self::Http2(peer) => {
                let fields = kind.fields();
                let (first, second) = fields.split_at(HALF);
                let said = match point {
                    Point::HalfHead => frame(HEADERS, 0, 1, first),
                    Point::Head => frame(CONTINUATION, END_HEADERS, 1, second),
                    Point::AnswerHead if kind == Kind::Tunnel => frame(CONTINUATION, END_HEADERS, 1, second),
                    Point::HalfBody | Point::FirstWord => frame(DATA, 0, 1, b"half"),
                    Point::Body => frame(DATA, END_STREAM, 1, b"rest"),
                    _ => return,
                };
                peer.send(&said).await.unwrap();
            }
        }
    }

    /// Sees what led to the point, where that is for it to see.
    async fn sees(&mut self, kind: Kind, point: Point) {
        match (self, point) {
            (Self::Http1(peer), Point::Interim | Point::AnswerHead) => drop(peer.head().await),
            (Self::Http1(peer), Point::HalfAnswer) => peer.reads(kind.half(false)).await,
            (Self::Http2(peer), Point::Interim | Point::AnswerHead) => drop(peer.frame_of(HEADERS).await.expect("a head")),
            (Self::Http2(peer), Point::HalfAnswer) => assert_eq!(peer.frame_of(DATA).await.expect("a piece").payload, b"half"),
            _ => {}
        }
    }

    async fn goes(self, how: How) {
        match (self, how) {
            (Self::Http1(peer), How::Resets) => peer.resets(),
            // The process must hear of the stream alone.
            (Self::Http2(mut peer), How::Resets) => peer.send(&frame(RST_STREAM, 0, 1, b"\0\0\0\x08")).await.unwrap(),
            (Self::Http1(_) | Self::Http2(_), How::Closes) => {}
        }
    }

    /// What it is told after the process went.
    pub(crate) async fn hears(self, kind: Kind, point: Point) -> Told {
        match self {
            Self::Http1(mut peer) if point < Point::AnswerHead => match peer.try_message(Some("GET")).await {
                Ok(message) if message.status() == 502 => Told::Failed,
                Ok(_) => Told::Ended,
                Err(_) => Told::Broken,
            },
            Self::Http1(mut peer) => {
                let (came, end) = peer.rest().await;
                let whole = kind.is_opaque() || came.ends_with(b"0\r\n\r\n") || came.ends_with(b"rest");
                if whole && end == End::Closed { Told::Ended } else { Told::Broken }
            }
            Self::Http2(mut peer) => loop {
                match in_time("an end", peer.frame()).await {
                    Some(came) if came.kind == RST_STREAM => return Told::Broken,
                    Some(came) if came.kind == HEADERS => return Told::Failed,
                    Some(came) if came.kind == DATA && came.flags & END_STREAM != 0 => return Told::Ended,
                    Some(_) => {}
                    None => return Told::Broken,
                }
            },
        }
    }
}

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// 502: there is no answer.
    Failed,
    /// What came is whole.
    Ended,
    /// What came is not whole.
    Broken,
}

/// Plays an exchange up to a point; gives both ends, the process's when it was connected to.
pub(crate) async fn plays(stage: &Stage, origin: &Origin, kind: Kind, to: Point, http2: bool) -> (Caller, Option<Peer>) {
    let (mut caller, mut process) = (Caller::connects(stage, http2).await, None);
    for &point in kind.points().iter().take_while(|point| **point <= to) {
        caller.says(kind, point).await;
        if point == Point::Head || (point == Point::AnswerHead && kind == Kind::Tunnel) {
            process = Some(origin.accept().await);
        }
        if let Some(process) = &mut process {
            does(process, kind, point).await;
        }
        caller.sees(kind, point).await;
    }
    (caller, process)
}

/// The process's part.
async fn does(process: &mut Peer, kind: Kind, point: Point) {
    let answer = kind.answer();
    let (first, second) = answer.split_at(HALF.min(answer.len()));
    match point {
        Point::Head => drop(process.head().await),
        Point::HalfBody | Point::FirstWord => process.reads(kind.half(false)).await,
        Point::Body => process.reads(kind.half(true)).await,
        Point::Interim => process.sends("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n").await,
        Point::HalfAnswerHead => process.sends(first).await,
        Point::AnswerHead => process.sends(second).await,
        Point::HalfAnswer => process.sends(kind.half(false)).await,
        Point::Connected | Point::HalfHead => {}
    }
}

/// What went wrong, counted apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrongs {
    /// A process went and its caller was told of no failure.
    pub(crate) untold: Vec<String>,
    /// What was not whole looked whole to the other end.
    pub(crate) truncated: Vec<String>,
    /// A process was asked what another was asked before.
    pub(crate) duplicated: Vec<String>,
}

async fn the_process_goes(stage: &Stage, origin: &Origin, (kind, point, how, http2): (Kind, Point, How, bool), wrongs: &mut Wrongs) {
    let case = format!("{:?} {kind:?} {point:?} the process {how:?} http2 {http2}", stage.way);
    let (caller, process) = plays(stage, origin, kind, point, http2).await;
    let Some(process) = process else { return };
    if how == How::Resets {
        process.resets();
    } else {
        drop(process);
    }
    let told = caller.hears(kind, point).await;
    let expected = match point {
        _ if point < Point::AnswerHead => Told::Failed,
        _ if kind.is_opaque() && how == How::Closes => Told::Ended,
        _ => Told::Broken,
    };
    match (told, expected) {
        (told, expected) if told == expected => {}
        (Told::Ended, _) => wrongs.truncated.push(case.clone()),
        _ => wrongs.untold.push(format!("{case}: {told:?}")),
    }
    if origin.is_asked() {
        wrongs.duplicated.push(case);
    }
}

async fn the_caller_goes(stage: &Stage, origin: &Origin, (kind, point, how, http2): (Kind, Point, How, bool), wrongs: &mut Wrongs) {
    let case = format!("{:?} {kind:?} {point:?} the caller {how:?} http2 {http2}", stage.way);
    let (caller, process) = plays(stage, origin, kind, point, http2).await;
    caller.goes(how).await;
    if let Some(mut process) = process {
        let (came, end) = process.rest().await;
        // A tunnel has no other end than that of its connection.
        let ends_whole = kind.is_opaque() && point >= Point::AnswerHead && !http2 && how == How::Closes;
        if !came.is_empty() || (kind.is_opaque() && point >= Point::AnswerHead && ends_whole != (end == End::Closed)) {
            wrongs.truncated.push(format!("{case}: {:?} {end:?}", String::from_utf8_lossy(&came)));
        }
    }
    if origin.is_asked() {
        wrongs.duplicated.push(case);
    }
}

pub(crate) async fn nobody_waits(stage: &Stage) {
    for proxy in [Some(&stage.web), stage.far.as_ref()].into_iter().flatten() {
        for (gauge, labels) in [("plait_requests_in_flight", &[][..]), ("plait_connections_open", &["protocol=\"tcp\""][..])] {
            until(gauge, || (proxy.metric(gauge, labels) == 0.0).then_some(())).await;
        }
    }
}

async fn goes_through_every_point(way: Way, http2: bool) {
    let _alone = alone().await;
    let stage = Stage::new(way).await;
    let (reviews, ledger) = (stage.origin("reviews-1"), stage.origin("ledger-1"));
    let (held, mut wrongs) = (descriptors(), Wrongs::default());
    for kind in Kind::ALL {
        let origin = if kind == Kind::Tunnel { &ledger } else { &reviews };
        for &point in kind.points() {
            for how in [How::Closes, How::Resets] {
                the_process_goes(&stage, origin, (kind, point, how, http2), &mut wrongs).await;
                the_caller_goes(&stage, origin, (kind, point, how, http2), &mut wrongs).await;
                nobody_waits(&stage).await;
            }
        }
    }
    assert_eq!(wrongs, Wrongs::default());
    nothing_is_left(&stage, held).await;
}

#[tokio::test]
async fn a_peer_of_http1_may_go_at_every_point() {
    for way in Way::ALL {
        goes_through_every_point(way, false).await;
    }
}

#[tokio::test]
async fn a_peer_of_http2_may_go_at_every_point() {
    for way in Way::ALL {
        goes_through_every_point(way, true).await;
    }
}
