//! The codec's table of hostile requests, through the proxy: what two readers could read differently is refused, the connection closed, and
//! nothing of it reaches the origin.

use plait_testkit::{Stage, Way};

struct Case {
    name: String,
    bytes: Vec<u8>,
    refused: u16,
}

/// Rows that are refused only when the caller leaves in the middle; `broken` shows what becomes of those.
const CUT: [&str; 4] = ["no last chunk", "a body that ends early", "a chunk that ends early", "a head that ends early"];

/// The row that the codec refuses and the proxy reads otherwise: the beginning of another protocol, which it speaks too.
const PREFACE: &str = "an HTTP/2 preface";

/// The rows that are refused as they stand, and fit into the sockets at once.
fn refused() -> Vec<Case> {
    let table: Vec<serde_json::Value> = serde_json::from_str(include_str!("../../../http1/tests/framing.json")).unwrap();
    let rows = table.iter().filter(|row| {
        let name = row["name"].as_str().unwrap();
        row["repeat"].is_null() && name != PREFACE && !CUT.contains(&name)
    });
    rows.filter_map(|row| {
        let bytes = row["request"].as_str().unwrap().chars().map(|c| u8::try_from(c as u32).unwrap()).collect();
        Some(Case { name: row["name"].as_str().unwrap().to_owned(), bytes, refused: row["expect"].as_u64()? as u16 })
    })
    .collect()
}

#[tokio::test]
async fn what_is_ambiguous_is_refused_and_the_connection_closed() {
    let stage = Stage::new(Way::Hop).await;
    let seen = stage.origin("reviews-1").answers(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into());
    let cases = refused();
    assert!(cases.len() > 100);
    for case in &cases {
        // The bind leads to reviews whatever Host says: what passes is seen there.
        let mut caller = plait_testkit::Peer::connect(stage.binds["reviews"].address).await;
        let before = seen.count();
        // It may be refused before all of it was sent.
        let _ = caller.try_send(&case.bytes).await;
        let _ = caller.try_send(b"GET /smuggled HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        // Some rows are a whole request with a bad one behind it.
        let mut last = caller.response().await;
        while last.status() == 200 {
            last = caller.response().await;
        }
        let status = if case.refused == 431 { 431 } else { 400 };
        assert_eq!((last.status(), last.field("connection")), (status, Some("close")), "{}", case.name);
        caller.is_over().await;
        let paths: Vec<_> = seen.all()[before..].iter().map(|request| request.start.clone()).collect();
        assert!(!paths.iter().any(|start| start.contains("smuggled")), "{}: {paths:?}", case.name);
    }
}
