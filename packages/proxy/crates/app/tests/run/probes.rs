//! `--metrics-port`: open from the start, and the application's probes beside `/ready`.

use std::{fs, net::Ipv4Addr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::sidecar::Sidecar;

/// An application that answers each connection with this.
async fn application(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = vec![0; 4096];
            let length = stream.read(&mut text).await.unwrap_or_default();
            heard.send(String::from_utf8_lossy(&text[..length]).into_owned()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, asked)
}

async fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

/// GET over TCP, as kubelet, once the port is open.
async fn get(port: u16, path: &str) -> (u16, String) {
    let asking = async {
        let mut stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = tokio::time::timeout(plait_testkit::DEADLINE, asking).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn exactly_the_probes_that_are_written_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (port, nobody) = (free_port().await, free_port().await);
    let (well, mut asked) = application("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (moved, _asked) = application("HTTP/1.0 301 Moved\r\nlocation: /\r\n\r\n").await;
    let (ill, _ill) = application("HTTP/1.1 500 secret words\r\n\r\nsecret words").await;
    let (other, _other) = application("220 smtp\r\n").await;
    let http = |port: u16| format!(r#"{{"http":{{"port":{port},"path":"/ready?a=1","headers":[["X-Probe","yes"]]}},"timeoutSeconds":30}}"#);
    let table = [
        ("/probe/app/readinessProbe", http(well)),
        ("/probe/app/moved", http(moved)),
        ("/probe/app/livenessProbe", http(ill)),
        ("/probe/app/other", http(other)),
        ("/probe/app/nobody", http(nobody)),
        ("/probe/app/tcp", format!(r#"{{"tcp":{{"port":{well}}},"timeoutSeconds":30}}"#)),
        ("/probe/app/notcp", format!(r#"{{"tcp":{{"port":{nobody}}},"timeoutSeconds":30}}"#)),
        ("/probe/app/nogrpc", format!(r#"{{"grpc":{{"port":{nobody},"service":""}},"timeoutSeconds":30}}"#)),
    ];
    let table: Vec<_> = table.iter().map(|(path, probe)| format!("\"{path}\":{probe}")).collect();
    let token = folder.path().join("token");
    fs::write(&token, token_of_nobody()).unwrap();
    let metrics_port = port.to_string();
    let probes = format!("{{{}}}", table.join(","));
    let state = folder.path().join("state");
    let sidecar = Sidecar::start(
        folder.path(),
        &[
            "--join",
            &format!("127.0.0.1:{nobody}"),
            "--token-file",
            token.to_str().unwrap(),
            "--state",
            state.to_str().unwrap(),
            "--metrics-port",
            &metrics_port,
            "--probes",
            &probes,
        ],
    );

    assert_eq!(get(port, "/ready").await.0, 503, "open before there is a configuration; {}", sidecar.said());
    assert_eq!(get(port, "/probe/app/readinessProbe").await, (200, "well\n".to_owned()));
    let question = asked.recv().await.unwrap();
    assert!(question.starts_with("GET /ready?a=1 HTTP/1.1\r\n") && question.contains("\r\nX-Probe: yes\r\n"), "{question}");
    assert!(question.contains(&format!("\r\nhost: 127.0.0.1:{well}\r\n")), "{question}");
    for (path, status, words) in [
        ("/probe/app/moved", 200, "well"),
        ("/probe/app/livenessProbe", 503, "it answers 500"),
        ("/probe/app/other", 503, "it does not answer with HTTP"),
        ("/probe/app/nobody", 503, "refused"),
        ("/probe/app/tcp", 200, "well"),
        ("/probe/app/notcp", 503, "refused"),
        ("/probe/app/nogrpc", 503, ""),
        ("/probe/app/none", 404, ""),
        ("/probe/app/readinessProbe/x", 404, ""),
        ("/config", 404, ""),
        ("/explain", 404, ""),
    ] {
        let (found, said) = get(port, path).await;
        assert!(found == status && said.contains(words) && !said.contains("secret"), "{path}: {found} {said}");
    }
}

/// A join token for a mesh that never answers.
fn token_of_nobody() -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let roots = "0f".repeat(32);
    let claims = format!(
        r#"{{"workload":"shop/web-1","serviceAccount":"web","trustDomain":"shop.example","exp":4000000000,"roots":["{roots}"],"identity":"127.0.0.1:1"}}"#
    );
    format!("plait1.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
}
