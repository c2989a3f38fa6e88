//! Messages pass whole and unchanged but for what belongs to a connection, through one sidecar and through two.

use plait_testkit::{Stage, Way};

use crate::exchange::Exchange;

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const GOT: &str = "GET / HTTP/1.1\nhost: reviews";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const FINE: &str = "HTTP/1.1 200 OK\ncontent-length: 2\n\nok";

/// Rows after which both connections can be used again.
const KEPT: &[Exchange] = &[
    Exchange { name: "a GET", sent: GET, arrives: GOT, answer: OK, returns: FINE },
    Exchange {
        name: "fields that belong to a connection",
        sent: "GET / HTTP/1.1\r\nHost: reviews\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX-A: 1\r\n\r\n",
        arrives: "GET / HTTP/1.1\nhost: reviews\nte: trailers\nx-a: 1",
        answer: "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-B: 2\r\nContent-Length: 2\r\n\r\nok",
        returns: "HTTP/1.1 200 OK\ncontent-length: 2\nx-b: 2\n\nok",
    },
    Exchange {
        name: "a body with its length, both ways",
        sent: "POST /a?b=c HTTP/1.1\r\nhost: reviews\r\ncontent-length: 5\r\n\r\nhello",
        arrives: "POST /a?b=c HTTP/1.1\ncontent-length: 5\nhost: reviews\n\nhello",
        answer: "HTTP/1.1 201 Created\r\ncontent-length: 3\r\n\r\nyes",
        returns: "HTTP/1.1 201 Created\ncontent-length: 3\n\nyes",
    },
    Exchange {
        name: "an empty body with its length",
        sent: "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 0\r\n\r\n",
        arrives: "POST / HTTP/1.1\ncontent-length: 0\nhost: reviews",
        answer: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        returns: "HTTP/1.1 200 OK\ncontent-length: 0",
    },
    Exchange {
        name: "a GET with a body",
        sent: "GET / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 3\r\n\r\nabc",
        arrives: "GET / HTTP/1.1\ncontent-length: 3\nhost: reviews\n\nabc",
        answer: OK,
        returns: FINE,
    },
    Exchange {
        name: "chunks both ways",
        sent: "POST / HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n",
        arrives: "POST / HTTP/1.1\nhost: reviews\ntransfer-encoding: chunked\n\nabcde",
        answer: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n1\r\ny\r\n0\r\n\r\n",
        returns: "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nxy",
    },
    Exchange {
        name: "trailers both ways, but those that only a head may have",
        sent: "POST / HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nContent-Length: 1\r\nPlait-Port: 1\r\n\r\n",
        arrives: "POST / HTTP/1.1\nhost: reviews\ntransfer-encoding: chunked\n\na\n+x-sum: 7",
        answer: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX-Sum: 8\r\nSet-Cookie: a\r\nPlait-Reject: x\r\n\r\n",
        returns: "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nb\n+x-sum: 8",
    },
    Exchange {
        name: "HEAD",
        sent: "HEAD / HTTP/1.1\r\nhost: reviews\r\n\r\n",
        arrives: "HEAD / HTTP/1.1\nhost: reviews",
        answer: "HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n",
        returns: "HTTP/1.1 200 OK\ncontent-length: 12345",
    },
    Exchange {
        name: "204",
        sent: GET,
        arrives: GOT,
        answer: "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
        returns: "HTTP/1.1 204 No Content\nx-a: 1",
    },
    Exchange {
        name: "304 tells the length of what it does not bring",
        sent: "GET / HTTP/1.1\r\nhost: reviews\r\nif-none-match: \"x\"\r\n\r\n",
        arrives: "GET / HTTP/1.1\nhost: reviews\nif-none-match: \"x\"",
        answer: "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 99\r\n\r\n",
        returns: "HTTP/1.1 304 Not Modified\ncontent-length: 99\netag: \"x\"",
    },
    Exchange {
        name: "a status that nobody knows",
        sent: GET,
        arrives: GOT,
        answer: "HTTP/1.1 299 Whatever\r\ncontent-length: 0\r\n\r\n",
        returns: "HTTP/1.1 299 \ncontent-length: 0",
    },
    Exchange {
        name: "fields that come twice, and an empty one",
        sent: "GET / HTTP/1.1\r\nhost: reviews\r\nx-a: 1\r\nx-a: 2\r\nx-b:\r\ncookie: a=b; c=d\r\n\r\n",
        arrives: "GET / HTTP/1.1\ncookie: a=b; c=d\nhost: reviews\nx-a: 1\nx-a: 2\nx-b: ",
        answer: "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n",
        returns: "HTTP/1.1 200 OK\ncontent-length: 0\nset-cookie: a=1\nset-cookie: b=2",
    },
    Exchange {
        name: "OPTIONS of the whole server",
        sent: "OPTIONS * HTTP/1.1\r\nhost: reviews\r\n\r\n",
        arrives: "OPTIONS * HTTP/1.1\nhost: reviews",
        answer: OK,
        returns: FINE,
    },
    Exchange {
        name: "a method of one's own",
        sent: "BREW / HTTP/1.1\r\nhost: reviews\r\n\r\n",
        arrives: "BREW / HTTP/1.1\nhost: reviews",
        answer: OK,
        returns: FINE,
    },
];

#[tokio::test]
async fn messages_pass_on_connections_that_are_kept() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = KEPT[0].play(&stage, &origin).await;
        for exchange in KEPT.iter().chain(KEPT) {
            exchange.repeat(&mut caller, &mut process).await;
        }
        origin.is_untouched();
    }
}
