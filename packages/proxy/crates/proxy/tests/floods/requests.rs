//! Requests that are taken back as soon as they are made, and frames that make us reset them ourselves.

use crate::{
    attacker::{ACK, Attacker, DATA, Door, END_STREAM, End, PING, RST_STREAM, WINDOW_UPDATE, frame},
    scene::{Attack, PROMPTLY, attack, endure},
};

/// Requests of one flood.
const MANY: u32 = 10_000;
const CANCEL: &[u8] = b"\0\0\0\x08";

/// Stream numbers of a client.
fn streams() -> impl Iterator<Item = u32> {
    (0..MANY).map(|number| 2 * number + 1)
}

/// Opens each stream with a request and sends `spoil` behind it.
async fn spoils(mut attacker: Attacker, flags: u8, spoil: fn(u32) -> Vec<u8>) -> End {
    let pieces: Vec<_> = streams().map(|stream| [attacker.request(stream, "POST", flags), spoil(stream)].concat()).collect();
    attacker.floods(pieces.chunks(50).map(<[_]>::concat), PROMPTLY).await
}

/// As above, but lets each request be taken up before it is taken back: what is only counted before that does not notice.
async fn takes_back_late(mut attacker: Attacker) -> End {
    for batch in streams().collect::<Vec<_>>().chunks(50) {
        let requests: Vec<u8> = batch.iter().flat_map(|stream| attacker.request(*stream, "POST", 0)).collect();
        let resets: Vec<u8> = batch.iter().flat_map(|stream| frame(RST_STREAM, 0, *stream, CANCEL)).collect();
        for bytes in [requests, resets] {
            let asked = [bytes, frame(PING, 0, 0, b"are they")].concat();
            if attacker.send(&asked).await.is_err() {
                return attacker.floods([], PROMPTLY).await;
            }
            loop {
                match attacker.frame_of(PING).await {
                    Some(answer) if answer.flags == ACK && answer.payload == b"are they" => break,
                    Some(_) => {}
                    None => return End::Closed,
                }
            }
        }
    }
    attacker.floods([], PROMPTLY).await
}

#[tokio::test]
async fn requests_made_to_be_reset_end_the_connection() {
    let floods: [(&str, Attack); 4] = [
        ("rapid reset", |attacker| Box::pin(spoils(attacker, 0, |stream| frame(RST_STREAM, 0, stream, CANCEL)))),
        ("empty WINDOW_UPDATE", |attacker| Box::pin(spoils(attacker, 0, |stream| frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\0")))),
        ("WINDOW_UPDATE beyond", |attacker| Box::pin(spoils(attacker, 0, |stream| frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff")))),
        ("DATA after the end", |attacker| Box::pin(spoils(attacker, END_STREAM, |stream| frame(DATA, 0, stream, b"x")))),
    ];
    for door in Door::ALL {
        for (name, flood) in floods {
            for end in attack(name, door, 3, flood).await {
                assert_ne!(end, End::Open, "{name} {door:?}");
            }
        }
    }
}

#[tokio::test]
async fn requests_taken_back_after_they_were_taken_up_end_the_connection() {
    let late: Attack = |attacker| Box::pin(takes_back_late(attacker));
    // Until it has to go, each costs as much as a request that is answered: how much its neighbours notice is not promised, only that none of
    // them fails. The inbound door has no such limit: other proxies carry the requests of many over one connection.
    let (ends, ..) = endure("paced", Door::Outbound, 3, late).await;
    for end in ends {
        assert_ne!(end, End::Open);
    }
}
