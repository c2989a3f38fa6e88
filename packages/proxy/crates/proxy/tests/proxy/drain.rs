//! A proxy that stops: what is under way ends well, nothing new begins, and no request is lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use plait_identity::Identities;
use plait_testkit::{Peer, Proxy, Sent, Stage, Way, in_time, until};
use plait_wire as wire;
use tokio::net::TcpStream;

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn what_is_under_way_ends_and_says_that_nothing_follows() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        let mut process = origin.accept().await;
        process.request().await;
        stage.web.drain();
        until("closed listeners", || std::net::TcpStream::connect(stage.outbound.address).err()).await;
        assert!(stage.web.is_running());
        process.sends("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok").await;
        assert_eq!(caller.head().await.field("connection"), Some("close"), "{way:?}");
        assert!(stage.web.is_running());
        process.sends("ay").await;
        caller.reads("okay").await;
        caller.is_closed().await;
        stage.web.is_drained().await;
    }
}

#[tokio::test]
async fn a_reject_during_the_drain_says_that_nothing_follows() {
    let stage = Stage::new(Way::Hop).await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let mut process = origin.accept().await;
    process.request().await;
    stage.web.drain();
    process.resets();
    let response = caller.response().await;
    assert_eq!((response.status(), response.field("connection")), (502, Some("close")));
    caller.is_closed().await;
    stage.web.is_drained().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_request_that_crossed_is_answered() {
    for crosses in [false, true] {
        let stage = Stage::new(Way::Hop).await;
        let seen = stage.origin("reviews-1").answers(|_| OK.into());
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        caller.response().await;
        stage.web.drain();
        if crosses {
            // Its caller did not know yet.
            until("closed listeners", || std::net::TcpStream::connect(stage.outbound.address).err()).await;
            caller.sends(GET).await;
            let response = caller.response().await;
            assert_eq!((response.text().as_str(), response.field("connection")), ("ok", Some("close")));
        }
        caller.is_closed().await;
        stage.web.is_drained().await;
        assert_eq!(seen.count(), 1 + usize::from(crosses));
    }
}

#[tokio::test]
async fn a_tunnel_goes_on_until_its_ends_are_done() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("ledger-1");
        let mut caller = Peer::connect(stage.binds["ledger"].address).await;
        caller.sends("one").await;
        let mut process = origin.accept().await;
        process.reads("one").await;
        stage.web.drain();
        if let Some(far) = &stage.far {
            far.drain();
        }
        until("closed listeners", || std::net::TcpStream::connect(stage.outbound.address).err()).await;
        process.sends("two").await;
        caller.reads("two").await;
        caller.says_goodbye().await;
        process.is_closed().await;
        assert!(stage.web.is_running());
        process.says_goodbye().await;
        caller.is_closed().await;
        stage.web.is_drained().await;
        if let Some(far) = &stage.far {
            far.is_drained().await;
        }
    }
}

#[tokio::test]
async fn the_far_side_ends_its_streams_and_takes_no_more() {
    let stage = Stage::new(Way::Pair).await;
    let far = stage.far.as_ref().unwrap();
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let mut process = origin.accept().await;
    process.request().await;
    far.drain();
    until("closed listeners", || std::net::TcpStream::connect(stage.places["reviews-1"].inbound.address).err()).await;
    assert!(far.is_running());
    process.sends(OK).await;
    assert_eq!(caller.response().await.text(), "ok");
    far.is_drained().await;
    // The connection said goodbye; a new one is refused, and nothing was delivered.
    caller.sends("POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(caller.response().await.field("plait-reason"), Some("upstream_unreachable"));
}

/// Callers that ask as fast as they can, each on one connection after the other, until they are told to stop.
struct Load {
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn begin(address: std::net::SocketAddr, callers: usize) -> Self {
        let (stopping, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let caller = |number| {
            let (stopping, answered) = (stopping.clone(), answered.clone());
            tokio::spawn(async move {
                let request = if number % 2 == 0 { GET } else { "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 2\r\n\r\nhi" };
                // A proxy that stops accepts nobody: then this caller has nothing more to ask.
                while let Ok(stream) = TcpStream::connect(address).await {
                    if stopping.load(Relaxed) {
                        return;
                    }
                    let mut peer = Peer::from(stream);
                    for turn in 0.. {
                        let asked = peer.try_send(request.as_bytes()).await;
                        let response = match peer.try_message(Some("GET")).await {
                            Ok(response) => response,
                            // A connection that was made while the listener closed is refused in its own way.
                            Err(cut) if turn == 0 && cut.came.is_empty() => return,
                            Err(cut) => panic!("a request was lost: {asked:?} {cut:?}"),
                        };
                        assert_eq!(response.text(), "ok", "a request was lost: {response}");
                        answered.fetch_add(1, Relaxed);
                        if response.field("connection") == Some("close") || stopping.load(Relaxed) {
                            break;
                        }
                    }
                }
            })
        };
        let callers = (0..callers).map(caller).collect();
        Self { stopping, answered, callers }
    }

    async fn answers(&self, more: usize) {
        let wanted = self.answered.load(Relaxed) + more;
        until("answers under load", || (self.answered.load(Relaxed) >= wanted).then_some(())).await;
    }

    async fn ends(self) -> usize {
        self.stopping.store(true, Relaxed);
        for caller in self.callers {
            in_time("the end of a caller", caller).await.unwrap();
        }
        self.answered.load(Relaxed)
    }
}

#[tokio::test]
async fn no_request_is_lost_when_one_of_two_places_stops_under_load() {
    for turn in 0..3 {
        let mut stage = Stage::new(Way::Pair).await;
        let workload = stage.add_place("reviews", 2).await;
        let identities = Identities::new();
        identities.set_leaf("shop/reviews-2".into(), stage.authority.leaf("reviews"));
        let other = Proxy::start(identities);
        let upserts = vec![stage.mesh().resource(), stage.workload(&workload, &[]).resource()];
        other.apply(wire::ChangeSet { generation: 1, upserts, ..wire::ChangeSet::default() }).await;
        stage.apply(vec![stage.endpoints(&["reviews-1", "reviews-2"]).resource()]).await;
        let (one, two) = (stage.origin("reviews-1").answers(|_| OK.into()), stage.origin("reviews-2").answers(|_| OK.into()));
        let load = Load::begin(stage.outbound.address, 16);
        until("both places are asked", || (one.count() > 100 && two.count() > 100).then_some(())).await;
        other.drain();
        other.is_drained().await;
        load.answers(200).await;
        let answered = load.ends().await;
        assert_eq!(one.count() + two.count(), answered, "{turn}: each request reached one place, once");
    }
}

#[tokio::test]
async fn no_request_is_lost_when_the_callers_own_sidecar_stops_under_load() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let seen = stage.origin("reviews-1").answers(|_| OK.into());
        let load = Load::begin(stage.outbound.address, 16);
        load.answers(500).await;
        stage.web.drain();
        stage.web.is_drained().await;
        let answered = load.ends().await;
        assert_eq!(seen.count(), answered, "{way:?}");
    }
}
