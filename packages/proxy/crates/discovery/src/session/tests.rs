//! The protocol as scripts: what the control plane says, what is dialled, what time it is, and what the proxy does then.

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use plait_model::{DestinationKey, Lookup};
use plait_wire as wire;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::destinations::{IDLE, LEAVING, MOST, UNKNOWN_SHOWN, UNUSED};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A session, its clock, and what it published last.
struct Script {
    session: Session,
    now: Instant,
    snapshot: Snapshot,
}

/// What a session did, short.
#[derive(Debug, PartialEq)]
enum Did {
    Publish,
    Current,
    Keep,
    Silent,
    Rejected(String),
    Refused,
    Ack(u64, usize),
    Nack(u64, u64),
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
}

use Did::*;

impl Script {
    fn new() -> Self {
        let now = Instant::now();
        let proxy = Proxy { name: "shop/web-1".into(), version: "0.1.0".into(), workloads: vec!["shop/web-1".into()], address: None };
        Self { session: Session::new(proxy, Resources::default(), now), now, snapshot: Snapshot::default() }
    }

    /// A session in the middle of a healthy stream, with a Service that it holds.
    fn live() -> Self {
        let mut script = Self::new();
        script.hello();
        script.demand("shop/reviews");
        script.changes(wire::ChangeSet { known: vec!["shop/reviews".into()], ..changes(1, vec![mesh(), service("reviews", 80)]) });
        script.pass(KEEP_AFTER);
        script
    }

    fn hello(&mut self) -> wire::Hello {
        match self.session.begin(self.now).message {
            Some(watch_request::Message::Hello(hello)) => hello,
            other => panic!("{other:?}"),
        }
    }

    fn changes(&mut self, changes: wire::ChangeSet) -> Vec<Did> {
        let actions = self.session.receive(WatchResponse { message: Some(watch_response::Message::ChangeSet(changes)) }, self.now);
        self.did(actions)
    }

    fn heartbeat(&mut self, generation: u64) -> Vec<Did> {
        let heartbeat = watch_response::Message::Heartbeat(wire::Heartbeat { generation });
        let actions = self.session.receive(WatchResponse { message: Some(heartbeat) }, self.now);
        self.did(actions)
    }

    fn demand(&mut self, key: &str) -> Vec<Did> {
        let actions = self.session.demand(&[DestinationKey::from_contract(key)], self.now);
        self.did(actions)
    }

    /// Time goes on without a word of the control plane, as far as its silence is allowed.
    fn pass(&mut self, time: Duration) -> Vec<Did> {
        self.now += time;
        let actions = self.session.tick(self.now);
        self.did(actions)
    }

    /// The same, with a heartbeat just before the end.
    fn pass_live(&mut self, time: Duration) -> Vec<Did> {
        self.now += time;
        self.heartbeat(0);
        let actions = self.session.tick(self.now);
        self.did(actions)
    }

    fn did(&mut self, actions: Vec<Action>) -> Vec<Did> {
        actions.into_iter().map(|action| self.short(action)).collect()
    }

    fn short(&mut self, action: Action) -> Did {
        match action {
            Action::Publish(snapshot) => {
                self.snapshot = snapshot;
                Publish
            }
            Action::Current => Current,
            Action::Keep(_) => Keep,
            Action::Silent => Silent,
            Action::Rejected(rejected) => Rejected(rejected.into_iter().map(|one| one.name).collect()),
            Action::Refused(_) => Refused,
            Action::Send(request) => match request.message.unwrap() {
                watch_request::Message::Ack(ack) => Ack(ack.nonce, ack.rejections.len()),
                watch_request::Message::Nack(nack) => Nack(nack.nonce, nack.generation),
                watch_request::Message::Subscribe(subscribe) => Subscribe(subscribe.destinations),
                watch_request::Message::Unsubscribe(unsubscribe) => Unsubscribe(unsubscribe.destinations),
                watch_request::Message::Plugins(plugins) => panic!("{plugins:?}"),
                watch_request::Message::Hello(hello) => panic!("{hello:?}"),
            },
        }
    }

    fn lookup(&self, key: &str) -> &'static str {
        match self.snapshot.lookup(&DestinationKey::from_contract(key)) {
            None => "not held",
            Some(Lookup::Known(_)) => "known",
            Some(Lookup::Unknown) => "unknown",
        }
    }
}

fn resource(kind: wire::ResourceKind, name: &str, body: &impl Message) -> wire::Resource {
    let body = body.encode_to_vec();
    wire::Resource { kind: kind.into(), name: name.into(), version: format!("{name}:{}", body.len()).into_bytes(), body: body.into() }
}

fn mesh() -> wire::Resource {
    let body = wire::Mesh {
        trust_domain: "example".into(),
        mtls_mode: wire::MtlsMode::Strict.into(),
        default_policy: wire::DefaultPolicy::AllowAuthenticated.into(),
        egress: wire::Egress::Deny.into(),
        ..wire::Mesh::default()
    };
    resource(wire::ResourceKind::Mesh, "default", &body)
}

fn service(name: &str, port: u32) -> wire::Resource {
    let port = wire::ServicePort { name: "http".into(), port, protocol: wire::Protocol::Http.into() };
    let body = wire::Service { namespace: "shop".into(), name: name.into(), ports: vec![port], ..wire::Service::default() };
    resource(wire::ResourceKind::Service, &format!("shop/{name}"), &body)
}

fn changes(generation: u64, upserts: Vec<wire::Resource>) -> wire::ChangeSet {
    wire::ChangeSet { nonce: generation, generation, upserts, ..wire::ChangeSet::default() }
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn a_proxy_says_where_it_is_reached_each_time_it_comes() {
    let mut script = Script::new();
    assert_eq!(script.hello().address, "");
    script.session.proxy.address = Some([10, 0, 0, 7].into());
    assert_eq!(script.hello().address, "10.0.0.7");
    script.session.end();
    assert_eq!(script.hello().address, "10.0.0.7");
}

#[test]
fn a_change_set_is_in_force_before_it_is_acked_and_is_named_after_a_reconnect() {
    let mut script = Script::new();
    let hello = script.hello();
    assert_eq!((hello.protocol, hello.generation, hello.held.len(), hello.workloads), (1, 0, 0, keys(&["shop/web-1"])));
    assert_eq!(script.changes(changes(7, vec![mesh()])), [Publish, Ack(7, 0), Current]);
    script.session.end();
    let hello = script.hello();
    assert_eq!((hello.generation, hello.held.len()), (7, 1));
    assert_eq!((hello.held[0].name.as_str(), &hello.held[0].version), ("default", &mesh().version));
}

#[test]
fn a_refused_resource_is_reported_and_held_at_its_good_version() {
    let mut script = Script::live();
    let bad = service("reviews", 70_000);
    assert_eq!(script.changes(changes(2, vec![bad])), [Publish, Ack(2, 1), Current, Rejected("shop/reviews".into())]);
    assert_eq!(script.lookup("shop/reviews"), "known");
    let hello = script.hello();
    let held = hello.held.iter().find(|held| held.name == "shop/reviews").unwrap();
    assert_eq!(held.version, service("reviews", 80).version, "so that a control plane that was restarted sends it, and hears, again");
}

#[test]
fn a_lower_generation_is_refused_whole() {
    let mut script = Script::live();
    script.changes(changes(5, vec![]));
    let removal = wire::ResourceKey { kind: wire::ResourceKind::Service.into(), name: "shop/reviews".into() };
    assert_eq!(script.changes(wire::ChangeSet { removals: vec![removal], ..changes(4, vec![]) }), [Nack(4, 5), Refused]);
    assert_eq!((script.lookup("shop/reviews"), script.snapshot.generation), ("known", 5));
}

#[test]
fn a_heartbeat_moves_the_generation_and_is_no_configuration() {
    let mut script = Script::new();
    script.hello();
    assert_eq!(script.heartbeat(3), [], "nothing was ever applied");
    script.changes(changes(3, vec![mesh()]));
    assert_eq!(script.heartbeat(3), [Current]);
    assert_eq!(script.heartbeat(8), [Publish, Current]);
    assert_eq!(script.heartbeat(2), [Current]);
    assert_eq!((script.snapshot.generation, script.hello().generation), (8, 8));
}

#[test]
fn a_silent_stream_is_dead_and_any_word_shows_life() {
    let mut script = Script::live();
    script.heartbeat(1);
    assert_eq!(script.pass(SILENCE - MILLISECOND), []);
    assert_eq!(script.session.receive(WatchResponse { message: None }, script.now).len(), 0, "of a newer protocol");
    assert_eq!(script.pass(SILENCE - MILLISECOND), []);
    assert_eq!(script.session.wake(), script.now + MILLISECOND);
    assert_eq!(script.pass(MILLISECOND), [Silent]);
    script.session.end();
    assert_eq!(script.pass(SILENCE), [], "without a stream nobody is expected to speak");
}

#[test]
fn a_destination_is_asked_for_once_and_again_by_the_next_stream() {
    let mut script = Script::live();
    assert_eq!(script.demand("shop/a"), [Subscribe(keys(&["shop/a"]))]);
    assert_eq!(script.demand("shop/a"), []);
    assert_eq!(script.demand("shop/reviews"), [], "it is known");
    script.session.end();
    assert_eq!(script.demand("shop/b"), [], "nobody to ask");
    let asked: BTreeSet<_> = script.hello().destinations.into_iter().collect();
    assert_eq!(asked, keys(&["shop/a", "shop/b", "shop/reviews"]).into_iter().collect());
}

#[test]
fn unknown_is_forgotten_after_five_seconds_and_while_the_stream_lives_shown_again_without_asking() {
    let mut script = Script::live();
    script.demand("www.example.com");
    script.changes(wire::ChangeSet { unknown: keys(&["www.example.com"]), ..changes(2, vec![]) });
    assert_eq!(script.lookup("www.example.com"), "unknown");
    assert_eq!(script.session.wake(), script.now + KEEP_AFTER);
    assert_eq!(script.pass(UNKNOWN_SHOWN - MILLISECOND), [Keep]);
    assert_eq!(script.pass(MILLISECOND), [Publish]);
    assert_eq!(script.lookup("www.example.com"), "not held");
    // The control plane would have said so if the mesh had it now.
    assert_eq!(script.demand("www.example.com"), [Publish]);
    assert_eq!(script.lookup("www.example.com"), "unknown");
    // Without it nobody knows: the request must fail.
    script.session.end();
    script.pass(UNKNOWN_SHOWN);
    assert_eq!((script.demand("www.example.com"), script.lookup("www.example.com")), (vec![], "not held"));
    script.hello();
    script.changes(wire::ChangeSet { known: keys(&["www.example.com"]), ..changes(3, vec![]) });
    assert_eq!(script.pass(UNKNOWN_SHOWN), [Keep], "an answer of known does not lapse");
}

#[test]
fn a_question_that_is_idle_is_taken_back_and_asked_again_only_when_that_was_noted() {
    let mut script = Script::live();
    script.demand("a.example");
    script.changes(wire::ChangeSet { unknown: keys(&["a.example"]), ..changes(2, vec![]) });
    assert_eq!(script.pass_live(IDLE), [Publish, Unsubscribe(keys(&["a.example"])), Keep]);
    assert_eq!(script.demand("a.example"), [], "the control plane may not have noted yet that we had left, and would not answer");
    script.changes(wire::ChangeSet { unknown: keys(&["a.example"]), ..changes(3, vec![]) });
    assert_eq!(script.lookup("a.example"), "not held", "a late answer to what was taken back");
    assert_eq!(script.pass_live(LEAVING), [Subscribe(keys(&["a.example"])), Keep]);
    assert_eq!(script.pass_live(IDLE), [Publish, Unsubscribe(keys(&["a.example"]))], "never answered");
    assert_eq!(script.pass_live(LEAVING), []);
    assert_eq!(script.demand("a.example"), [Subscribe(keys(&["a.example"]))]);
}

#[test]
fn a_service_that_nobody_calls_is_given_up_after_an_hour_of_a_healthy_stream() {
    let mut script = Script::live();
    let called = |script: &Script| match script.snapshot.lookup(&DestinationKey::from_contract("shop/reviews")) {
        Some(Lookup::Known(destination)) => destination.last_used.store(12_345, Relaxed),
        other => panic!("{other:?}"),
    };
    assert_eq!(script.pass_live(UNUSED - KEEP_AFTER - MILLISECOND), []);
    called(&script);
    assert_eq!(script.pass_live(MILLISECOND), [], "it was called");
    script.session.end();
    script.pass(2 * UNUSED);
    assert_eq!(script.lookup("shop/reviews"), "known", "without the control plane nobody could bring it back");
    script.hello();
    assert_eq!(script.pass_live(MILLISECOND), [Publish, Unsubscribe(keys(&["shop/reviews"]))]);
    assert_eq!(script.lookup("shop/reviews"), "not held");
}

#[test]
fn what_an_application_dials_is_bounded_and_never_costs_the_stream() {
    let mut script = Script::live();
    assert_eq!(script.demand(&"a".repeat(513)), []);
    assert_eq!(script.demand(""), []);
    for number in 0..MOST - 1 {
        script.demand(&format!("{number}.example"));
        script.now += Duration::from_nanos(1);
    }
    assert_eq!(script.demand("one-more.example"), [Publish, Unsubscribe(keys(&["0.example"])), Subscribe(keys(&["one-more.example"]))]);
    assert_eq!(script.hello().destinations.len(), MOST);
    assert_eq!(script.lookup("shop/reviews"), "known");
}

#[test]
fn changes_in_quick_succession_are_kept_once() {
    let mut script = Script::live();
    for generation in 2..6 {
        script.changes(changes(generation, vec![]));
        assert_eq!(script.pass(KEEP_AFTER / 5), []);
    }
    assert_eq!(script.pass(KEEP_AFTER / 5), [Keep]);
    assert_eq!(script.pass(KEEP_AFTER), []);
}

#[test]
fn what_is_kept_is_everything_but_short_lived_answers() {
    let mut script = Script::live();
    script.demand("www.example.com");
    script.changes(wire::ChangeSet { unknown: keys(&["www.example.com"]), ..changes(2, vec![]) });
    let kept = script.session.resources.to_change_set();
    let mut again = Resources::default();
    let applied = again.apply(kept.clone()).unwrap();
    assert!(applied.rejected.is_empty() && applied.snapshot.unknown.is_empty());
    assert_eq!((applied.snapshot.generation, kept.known), (2, keys(&["shop/reviews"])));
    let mut restarted = Session::new(script.session.proxy.clone(), again, script.now);
    let Some(watch_request::Message::Hello(hello)) = restarted.begin(script.now).message else { panic!() };
    assert_eq!((hello.destinations, hello.held.len(), hello.generation), (keys(&["shop/reviews"]), 2, 2));
}

/// A step of a random script.
#[derive(Debug, Clone)]
enum Step {
    Demand(u8),
    Known(u8),
    Unknown(u8),
    Pass(u16),
    Reconnect,
    Away,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..4).prop_map(Step::Demand),
        (0_u8..4).prop_map(Step::Known),
        (0_u8..4).prop_map(Step::Unknown),
        (0_u16..12_000).prop_map(Step::Pass),
        Just(Step::Reconnect),
        Just(Step::Away),
    ]
}

proptest! {
    /// What the control plane believes we want is what we believe, whatever happens: it is never told twice, and nothing is left behind.
    /// And what was due is done: nobody is woken for nothing.
    #[test]
    fn both_ends_agree_on_what_is_asked_for(steps in prop::collection::vec(step(), 1..60)) {
        let mut script = Script::new();
        let mut subscribed: Option<BTreeSet<String>> = None;
        for (number, step) in steps.into_iter().enumerate() {
            let name = |key: u8| format!("shop/{key}");
            let generation = number as u64 + 1;
            let did = match step {
                Step::Demand(key) => script.demand(&name(key)),
                Step::Known(key) if subscribed.is_some() => {
                    let service = service(&key.to_string(), 80);
                    script.changes(wire::ChangeSet { known: vec![name(key)], ..changes(generation, vec![service]) })
                }
                Step::Unknown(key) if subscribed.is_some() => {
                    script.changes(wire::ChangeSet { unknown: vec![name(key)], ..changes(generation, vec![]) })
                }
                Step::Known(_) | Step::Unknown(_) => vec![],
                Step::Pass(seconds) => {
                    let time = Duration::from_secs(seconds.into());
                    let did = if subscribed.is_some() { script.pass_live(time) } else { script.pass(time) };
                    prop_assert!(script.session.wake() > script.now);
                    did
                }
                Step::Reconnect => {
                    subscribed = Some(script.hello().destinations.into_iter().collect());
                    vec![]
                }
                Step::Away => {
                    script.session.end();
                    subscribed = None;
                    vec![]
                }
            };
            for did in did {
                match (did, &mut subscribed) {
                    (Subscribe(new), Some(all)) => prop_assert!(new.into_iter().all(|key| all.insert(key))),
                    (Unsubscribe(old), Some(all)) => {
                        for key in old {
                            prop_assert!(all.remove(&key));
                            prop_assert_eq!(script.lookup(&key), "not held");
                        }
                    }
                    (Subscribe(_) | Unsubscribe(_), None) => prop_assert!(false, "said to nobody"),
                    _ => {}
                }
            }
            if let Some(all) = &subscribed {
                for key in (0..4).map(name) {
                    prop_assert!(script.lookup(&key) == "not held" || all.contains(&key), "{} is shown and not followed", key);
                }
            }
        }
    }
}
