//! The connection between two sidecars goes at every point of a request, an upgrade and a tunnel that travel over it: both ends are told, nothing
//! is sent twice or taken for whole, and nothing is left of it.

use std::net::SocketAddr;

use plait_testkit::{End, Origin, Stage, Way, endpoints};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::{
    measure::descriptors,
    resets::{How, Kind, Point, Told, Wrongs, nobody_waits, plays},
    scene::{alone, nothing_is_left},
};

/// What lies between two sidecars.
struct Wire {
    address: SocketAddr,
    cuts: broadcast::Sender<How>,
}

impl Wire {
    async fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, (cuts, _)) = (listener.local_addr().unwrap(), broadcast::channel(1));
        let told = cuts.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, TcpStream::connect(far).await.unwrap(), told.subscribe()));
            }
        });
        Self { address, cuts }
    }
}

/// Passes bytes on until it is cut: both ends then see the other go, and neither the end that TLS has for it.
async fn carry(mut near: TcpStream, mut far: TcpStream, mut cut: broadcast::Receiver<How>) {
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        how = cut.recv() => {
            if how == Ok(How::Resets) {
                [&near, &far].into_iter().for_each(|end| end.set_zero_linger().unwrap());
            }
        }
    }
}

async fn the_wire_goes(
    stage: &Stage,
    wire: &Wire,
    origin: &Origin,
    (kind, point, how, http2): (Kind, Point, How, bool),
    wrongs: &mut Wrongs,
) {
    let case = format!("{kind:?} {point:?} the wire {how:?} http2 {http2}");
    let (caller, process) = plays(stage, origin, kind, point, http2).await;
    // What was not begun does not travel.
    let Some(mut process) = process else { return };
    wire.cuts.send(how).unwrap();
    let (told, expected) = (caller.hears(kind, point).await, if point < Point::AnswerHead { Told::Failed } else { Told::Broken });
    match told {
        _ if told == expected => {}
        Told::Ended => wrongs.truncated.push(case.clone()),
        Told::Failed | Told::Broken => wrongs.untold.push(format!("{case}: {told:?}")),
    }
    let (came, end) = process.rest().await;
    if !came.is_empty() || (kind.is_opaque() && point >= Point::AnswerHead && end == End::Closed) {
        wrongs.truncated.push(format!("{case}: the process read {:?} {end:?}", String::from_utf8_lossy(&came)));
    }
    if origin.is_asked() {
        wrongs.duplicated.push(case);
    }
}

#[tokio::test]
async fn the_connection_between_sidecars_may_go_at_every_point() {
    let _alone = alone().await;
    let stage = Stage::new(Way::Pair).await;
    let (reviews, ledger) = (stage.origin("reviews-1"), stage.origin("ledger-1"));
    let held = descriptors();
    let mut wires = Vec::new();
    for (name, port) in [("reviews", 80), ("ledger", 7000)] {
        let mut endpoint = stage.endpoint(&format!("{name}-1"));
        let wire = Wire::to(endpoint.address.parse().unwrap()).await;
        endpoint.address = wire.address.to_string();
        stage.apply(vec![plait_testkit::Sent::resource(&endpoints(name, port, vec![endpoint]))]).await;
        wires.push(wire);
    }
    let mut wrongs = Wrongs::default();
    for (kind, http2) in Kind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let (origin, wire) = if kind == Kind::Tunnel { (&ledger, &wires[1]) } else { (&reviews, &wires[0]) };
        for &point in kind.points() {
            for how in [How::Closes, How::Resets] {
                the_wire_goes(&stage, wire, origin, (kind, point, how, http2), &mut wrongs).await;
                nobody_waits(&stage).await;
            }
        }
    }
    assert_eq!(wrongs, Wrongs::default());
    // The two listeners of the wires.
    nothing_is_left(&stage, held + 2).await;
}
