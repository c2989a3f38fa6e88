//! The client against a control plane that misbehaves. Time is held still: what waits for seconds waits for none.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod fake;

use std::{sync::Arc, time::Duration};

use fake::{Fake, Watch};
use plait_discovery::{Client, Event, Proxy, Resources};
use plait_model::{DestinationKey, Lookup, PluginReport, PluginStage, World};
use plait_wire::{self as wire, watch_request::Message as Said, watch_response::Message as Says};
use prost::Message;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(3);

/// A running client, what it published and what it told people.
struct Running {
    world: Arc<World>,
    events: mpsc::UnboundedReceiver<Event>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn start(connect: plait_discovery::Connect) -> Self {
        let (world, demands) = World::new();
        let (tell, events) = mpsc::unbounded_channel();
        let proxy = Proxy { name: "shop/web-1".into(), version: "0.1.0".into(), workloads: vec!["shop/web-1".into()], address: None };
        let client = Client::new(proxy, Resources::default(), (world.clone(), demands), connect, move |event| drop(tell.send(event)));
        Self { world, events, task: tokio::spawn(client.run()) }
    }

    /// Why there is no stream, when it says so next.
    async fn away(&mut self) -> String {
        loop {
            if let Event::Away(why) = self.events.recv().await.unwrap() {
                return why;
            }
        }
    }

    async fn generation(&self, wanted: u64) {
        let mut changes = self.world.changes();
        while self.world.load().generation != wanted {
            changes.changed().await.unwrap();
        }
    }
}

fn resource(kind: wire::ResourceKind, name: &str, body: &impl Message) -> wire::Resource {
    wire::Resource { kind: kind.into(), name: name.into(), version: b"1".to_vec(), body: body.encode_to_vec().into() }
}

fn mesh() -> wire::Resource {
    let body = wire::Mesh { trust_domain: "example".into(), mtls_mode: 1, default_policy: 1, egress: 1, ..wire::Mesh::default() };
    resource(wire::ResourceKind::Mesh, "default", &body)
}

fn service(name: &str) -> wire::Resource {
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let body = wire::Service { namespace: "shop".into(), name: name.into(), ports: vec![port], ..wire::Service::default() };
    resource(wire::ResourceKind::Service, &format!("shop/{name}"), &body)
}

fn changes(generation: u64, upserts: Vec<wire::Resource>) -> wire::ChangeSet {
    wire::ChangeSet { nonce: generation, generation, upserts, ..wire::ChangeSet::default() }
}

async fn hello(watch: &mut Watch) -> wire::Hello {
    match watch.hears().await {
        Said::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

async fn ack(watch: &mut Watch) -> wire::Ack {
    match watch.hears().await {
        Said::Ack(ack) => ack,
        other => panic!("{other:?}"),
    }
}

/// A client whose first change set is in force.
async fn followed() -> (Fake, Running, Watch) {
    let (mut fake, connect) = Fake::start();
    let running = Running::start(connect);
    let mut watch = fake.accept().await;
    hello(&mut watch).await;
    watch.change(changes(5, vec![mesh(), service("reviews")]));
    ack(&mut watch).await;
    (fake, running, watch)
}

#[tokio::test(start_paused = true)]
async fn a_dialled_destination_is_asked_for_while_its_request_waits() {
    let (_fake, running, mut watch) = followed().await;
    let key = DestinationKey::from_contract("shop/reviews");
    let answering = async {
        assert!(matches!(watch.hears().await, Said::Subscribe(asked) if asked.destinations == ["shop/reviews"]));
        watch.change(wire::ChangeSet { known: vec!["shop/reviews".into()], ..changes(5, vec![]) });
    };
    let (found, ()) = tokio::join!(running.world.destination(&key, PATIENCE), answering);
    assert!(matches!(found, Ok(Lookup::Known(_))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up_and_the_next_begins_where_it_ended() {
    let (mut fake, mut running, _silent) = followed().await;
    let began = tokio::time::Instant::now();
    assert_eq!(running.away().await, "it said nothing for 15 s");
    assert_eq!(began.elapsed().as_secs(), 15);
    let mut watch = fake.accept().await;
    let hello = hello(&mut watch).await;
    assert_eq!((hello.generation, hello.held.len()), (5, 2));
    assert_eq!(running.world.load().generation, 5);
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_takes_the_call_and_never_answers_is_given_up_too() {
    let (mut fake, connect) = Fake::start();
    let mut running = Running::start(connect);
    let _watch = fake.accept().await;
    assert_eq!(running.away().await, "it said nothing for 15 s");
    assert_eq!(running.world.load().generation, 0);
}

#[tokio::test(start_paused = true)]
async fn garbage_in_one_resource_costs_that_resource_alone() {
    let (_fake, mut running, mut watch) = followed().await;
    let garbage = wire::Resource { body: vec![0xff; 40].into(), ..service("reviews") };
    watch.change(changes(6, vec![garbage, service("catalog")]));
    let ack = ack(&mut watch).await;
    assert_eq!((ack.nonce, ack.rejections.len()), (6, 1));
    assert_eq!(ack.rejections[0].resource.as_ref().unwrap().name, "shop/reviews");
    let backends: Vec<_> = running.world.load().backends.keys().map(ToString::to_string).collect();
    assert!(backends.contains(&"shop/reviews:80".to_owned()) && backends.contains(&"shop/catalog:80".to_owned()), "{backends:?}");
    while !matches!(running.events.recv().await.unwrap(), Event::Rejected(rejected) if rejected[0].name == "shop/reviews") {}
}

#[tokio::test(start_paused = true)]
async fn a_lower_generation_is_answered_with_a_nack_and_changes_nothing() {
    let (_fake, mut running, mut watch) = followed().await;
    watch.change(changes(4, vec![service("catalog")]));
    match watch.hears().await {
        Said::Nack(nack) => assert_eq!((nack.nonce, nack.generation), (4, 5)),
        other => panic!("{other:?}"),
    }
    assert_eq!((running.world.load().generation, running.world.load().backends.len()), (5, 1));
    while !matches!(running.events.recv().await.unwrap(), Event::Refused(why) if why.contains("older than 5")) {}
}

#[tokio::test(start_paused = true)]
async fn a_change_set_that_breaks_off_in_the_middle_is_not_applied() {
    let (mut fake, connect) = Fake::start();
    fake.allow(2_000);
    let mut running = Running::start(connect);
    let mut watch = fake.accept().await;
    hello(&mut watch).await;
    let all: Vec<_> = (0..100).map(|number| service(&format!("s{number}"))).chain([mesh()]).collect();
    watch.change(changes(5, all.clone()));
    running.away().await;
    assert_eq!(running.world.load().generation, 0);
    fake.allow(usize::MAX);
    let mut watch = fake.accept().await;
    assert_eq!(hello(&mut watch).await.held.len(), 0);
    watch.change(changes(5, all));
    running.generation(5).await;
    assert_eq!(running.world.load().backends.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn while_the_control_plane_is_away_it_is_tried_again_and_not_beaten() {
    let (mut fake, mut running, watch) = followed().await;
    fake.allow(0);
    drop(watch);
    running.away().await;
    assert_eq!(running.away().await, "nobody listens");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!((12..40).contains(&fake.dials()), "{} dials in a minute", fake.dials());
    assert_eq!(running.world.load().generation, 5, "what was in force stays");
    // A request that comes now waits, and has its answer when the control plane is back in time.
    fake.allow(usize::MAX);
    let key = DestinationKey::from_contract("shop/reviews");
    let answering = async {
        let mut watch = fake.accept().await;
        assert_eq!(hello(&mut watch).await.destinations, ["shop/reviews"]);
        watch.change(wire::ChangeSet { known: vec!["shop/reviews".into()], ..changes(6, vec![]) });
        watch
    };
    let (found, _watch) = tokio::join!(running.world.destination(&key, 2 * PATIENCE), answering);
    assert!(matches!(found, Ok(Lookup::Known(_))));
}

#[tokio::test(start_paused = true)]
async fn why_a_stream_was_ended_is_told_in_the_words_of_the_control_plane() {
    let (_fake, mut running, watch) = followed().await;
    watch.ends(tonic::Status::permission_denied("shop/web-1 is somebody else"));
    assert_eq!(running.away().await, "shop/web-1 is somebody else");
}

#[tokio::test(start_paused = true)]
async fn a_stream_lives_as_long_as_heartbeats_come() {
    let (_fake, running, watch) = followed().await;
    for generation in 6..16 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        watch.says(Says::Heartbeat(wire::Heartbeat { generation }));
        running.generation(generation).await;
    }
    assert_eq!(running.world.load().backends.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_became_of_plugins_is_told_and_told_again_to_a_control_plane_that_came_back() {
    let (mut fake, running, mut watch) = followed().await;
    let stage = PluginStage::Failed("ImportError: no".into());
    running.world.report(vec![PluginReport { name: "shop/a".into(), revision: (*b"1").into(), stage, earlier_serves: true }]);
    let expected = wire::PluginReport {
        name: "shop/a".into(),
        version: b"1".to_vec(),
        state: wire::PluginState::Failed.into(),
        reason: "ImportError: no".into(),
        earlier_serves: true,
    };
    assert_eq!(watch.hears().await, Said::Plugins(wire::PluginReports { plugins: vec![expected.clone()] }));
    watch.ends(tonic::Status::unavailable("away"));
    let mut watch = fake.accept().await;
    hello(&mut watch).await;
    assert_eq!(watch.hears().await, Said::Plugins(wire::PluginReports { plugins: vec![expected] }));
    running.world.report(Vec::new());
    assert_eq!(watch.hears().await, Said::Plugins(wire::PluginReports::default()));
}
