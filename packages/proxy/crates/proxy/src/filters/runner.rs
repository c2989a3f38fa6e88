//! How one worker reaches those who run plugins. Made with the first call that passes one; no process and no thread before.

use std::{cell::RefCell, sync::Arc};

use plait_model::{Map, Run};
use plait_plugins::{Chain, ChainId, Channel, Direction, Host, Verdict};

use crate::worker::Worker;

/// Runs of chains whose number is remembered; of those that are gone it is forgotten when there are more.
const REMEMBERED: usize = 1024;

/// The number by which a run of plugins is asked, and told to the host.
pub fn chain_id(host: &Host, run: &Run) -> ChainId {
    let names: Vec<_> = run.plugins.iter().map(|plugin| plugin.name.clone()).collect();
    host.chain_id(&run.group, if run.inbound { Direction::Inbound } else { Direction::Outbound }, &names)
}

/// Of one worker.
#[derive(Debug)]
pub(crate) struct Runner {
    host: Host,
    channel: Channel,
    /// By the place of the run, which stays as long as it is held here.
    numbers: RefCell<Map<*const Run, (Arc<Run>, ChainId)>>,
}

impl Runner {
    /// `None` = this proxy runs no plugins.
    pub(crate) fn of(worker: &Worker) -> Option<&Self> {
        let made = || worker.shared.plugins().map(|host| Self { channel: host.channel(), host: host.clone(), numbers: RefCell::default() });
        worker.runner.get_or_init(made).as_ref()
    }

    /// Those who run it, once they are loaded; else what their onLoadFailure says.
    pub(crate) async fn chain(&self, run: &Arc<Run>) -> Result<Chain, Verdict> {
        self.channel.wait(&run.group, self.number(run)).await
    }

    fn number(&self, run: &Arc<Run>) -> ChainId {
        let mut numbers = self.numbers.borrow_mut();
        if numbers.len() >= REMEMBERED {
            numbers.retain(|_, (run, _)| Arc::strong_count(run) > 1);
        }
        numbers.entry(Arc::as_ptr(run)).or_insert_with(|| (run.clone(), chain_id(&self.host, run))).1
    }
}
