//! A running `plait-proxy`, asked over its admin socket, killed when dropped.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use plait_testkit::{DEADLINE, until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

pub(crate) struct Sidecar {
    child: Child,
    admin: PathBuf,
    said: PathBuf,
}

/// What the admin socket answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// An answer that goes on.
#[derive(Debug)]
pub(crate) struct View(BufReader<UnixStream>);

impl View {
    /// The next line that starts so.
    pub(crate) async fn line(&mut self, start: &str) -> String {
        let reading = async {
            loop {
                let mut line = String::new();
                assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "it ends");
                if line.starts_with(start) {
                    return line;
                }
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("no line starts with {start:?}"))
    }
}

impl Sidecar {
    /// Starts it with these arguments; `folder` gets its socket and what it says.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let (admin, said) = (folder.join("admin.sock"), folder.join("said"));
        let out = std::fs::File::create(&said).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_plait-proxy"))
            .arg("run")
            .args(arguments)
            .arg("--admin")
            .arg(&admin)
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { child, admin, said }
    }

    /// GET, once the socket is there.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        let asking = async {
            let mut stream = self.sent(method, path).await;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let asked = tokio::time::timeout(DEADLINE, asking).await;
        let text = asked.unwrap_or_else(|_| panic!("{method} {path} is not answered; the proxy said {}", self.said()));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
    }

    /// GET of what goes on.
    pub(crate) async fn looks_at(&self, path: &str) -> View {
        View(BufReader::new(self.sent("GET", path).await))
    }

    async fn sent(&self, method: &str, path: &str) -> UnixStream {
        let mut stream = loop {
            match UnixStream::connect(&self.admin).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        };
        stream.write_all(format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        self.readiness("ready\n").await;
    }

    /// Waits until /ready says this, among other things.
    pub(crate) async fn readiness(&self, words: &str) -> Answer {
        self.says("/ready", words).await
    }

    /// Waits until an answer holds this.
    pub(crate) async fn says(&self, path: &str, words: &str) -> Answer {
        let mut last = None;
        let waiting = async {
            loop {
                let answer = self.get(path).await;
                if answer.body.contains(words) {
                    return answer;
                }
                last = Some(answer);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(answer) => answer,
            Err(_) => panic!("{path} never says {words:?}: {last:?}; the proxy said {}", self.said()),
        }
    }

    pub(crate) async fn config(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/config").await.body).unwrap()
    }

    /// What it told people so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        until("the proxy ends", || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
