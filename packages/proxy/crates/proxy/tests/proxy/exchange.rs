//! One request and its answer, as a row of a table.

use plait_testkit::{Origin, Peer, Stage};

/// A row: all as text, in the form of `plait_testkit::Message` where it is read.
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    /// What the caller sends.
    pub(crate) sent: &'static str,
    /// The request that the origin reads.
    pub(crate) arrives: &'static str,
    /// What the origin sends.
    pub(crate) answer: &'static str,
    /// The response that the caller reads.
    pub(crate) returns: &'static str,
}

impl Exchange {
    /// Plays it on new connections; gives both ends.
    pub(crate) async fn play(&self, stage: &Stage, origin: &Origin) -> (Peer, Peer) {
        let mut caller = stage.caller_connects().await;
        caller.sends(self.sent).await;
        let mut process = origin.accept().await;
        self.finish(&mut caller, &mut process, &format!("{} ({:?})", self.name, stage.way)).await;
        (caller, process)
    }

    /// Plays it on connections that are open.
    pub(crate) async fn repeat(&self, caller: &mut Peer, process: &mut Peer) {
        caller.sends(self.sent).await;
        self.finish(caller, process, self.name).await;
    }

    async fn finish(&self, caller: &mut Peer, process: &mut Peer, name: &str) {
        assert_eq!(process.request().await.to_string(), self.arrives, "{name}: the request");
        process.sends(self.answer).await;
        let method = self.sent.split(' ').next().unwrap_or_default();
        assert_eq!(caller.response_to(method).await.to_string(), self.returns, "{name}: the response");
    }
}
