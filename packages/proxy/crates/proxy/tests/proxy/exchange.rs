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
        let process = self.on(&mut caller, origin).await;
        (caller, process)
    }

    /// Plays it on a caller's connection that is open, and a new one to the origin.
    pub(crate) async fn on(&self, caller: &mut Peer, origin: &Origin) -> Peer {
        caller.sends(self.sent).await;
        let mut process = origin.accept().await;
        self.finish(caller, &mut process).await;
        process
    }

    /// Plays it on connections that are open.
    pub(crate) async fn repeat(&self, caller: &mut Peer, process: &mut Peer) {
        caller.sends(self.sent).await;
        self.finish(caller, process).await;
    }

    async fn finish(&self, caller: &mut Peer, process: &mut Peer) {
        assert_eq!(process.request().await.to_string(), self.arrives, "{}: the request", self.name);
        process.sends(self.answer).await;
        let method = self.sent.split(' ').next().unwrap_or_default();
        assert_eq!(caller.response_to(method).await.to_string(), self.returns, "{}: the response", self.name);
    }
}
