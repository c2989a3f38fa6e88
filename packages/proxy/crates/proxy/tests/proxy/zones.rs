//! `loadBalancer.zoneAware`: calls stay in the caller's zone as far as it carries them. Whole proxies, origins that are counted.

use plait_testkit::{Sent, Stage, Way, service};
use plait_wire as wire;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const ALGORITHMS: [wire::Algorithm; 6] = [
    wire::Algorithm::PeakEwma,
    wire::Algorithm::LeastRequest,
    wire::Algorithm::RoundRobin,
    wire::Algorithm::Random,
    wire::Algorithm::RingHash,
    wire::Algorithm::Maglev,
];

/// A stage whose caller stands in zone "a", with a place of reviews in each of these zones.
async fn stage(way: Way, zones: &[&str], algorithm: wire::Algorithm) -> Stage {
    let mut stage = Stage::new(way).await;
    for number in 2..=zones.len() {
        stage.add_place("reviews", number).await;
    }
    let hash_on = matches!(algorithm, wire::Algorithm::RingHash | wire::Algorithm::Maglev)
        .then(|| wire::HashOn { on: Some(wire::hash_on::On::Header("x-key".into())) });
    let zone_aware = Some(wire::ZoneAware { min_endpoints: 1 });
    let balancer = wire::LoadBalancer { algorithm: algorithm.into(), hash_on, zone_aware, ..wire::LoadBalancer::default() };
    let backend = wire::BackendTraffic { load_balancer: Some(balancer), ..wire::BackendTraffic::default() };
    let mut resources: Vec<_> = (2..=zones.len()).map(|number| stage.workload(&format!("reviews-{number}"), &[]).resource()).collect();
    resources.push(wire::Workload { zone: "a".into(), ..stage.caller() }.resource());
    resources.push(wire::Service { backend: Some(backend), ..service("reviews", 80, wire::Protocol::Http) }.resource());
    resources.push(endpoints(&stage, zones).resource());
    stage.apply(resources).await;
    stage
}

/// Place by place the zone that it stands in; "" = it is not there.
fn endpoints(stage: &Stage, zones: &[&str]) -> wire::Endpoints {
    let names: Vec<_> = (1..=zones.len()).map(|number| format!("reviews-{number}")).collect();
    let there =
        |(name, zone): (&String, &&str)| (!zone.is_empty()).then(|| wire::Endpoint { zone: (*zone).into(), ..stage.endpoint(name) });
    let all: Vec<_> = names.iter().zip(zones).filter_map(there).collect();
    wire::Endpoints { ports: vec![wire::PortEndpoints { port: 80, endpoints: all }], ..stage.endpoints(&["reviews-1"]) }
}

/// So many requests of different keys; all are answered.
async fn calls(stage: &Stage, requests: usize) {
    let mut caller = stage.caller_connects().await;
    for key in 0..requests {
        caller.sends(&format!("GET / HTTP/1.1\r\nhost: reviews\r\nx-key: {key}\r\n\r\n")).await;
        assert_eq!(caller.response().await.status(), 200);
    }
}

#[tokio::test]
async fn calls_stay_in_the_callers_zone_with_every_algorithm_and_leave_it_when_it_is_empty() {
    for algorithm in ALGORITHMS {
        let zones = ["a", "a", "b", "b"];
        let stage = stage(Way::Hop, &zones, algorithm).await;
        let origins = [1, 2, 3, 4].map(|number| stage.origin(&format!("reviews-{number}")).answers(|_| OK.into()));
        let counts = || [0, 1, 2, 3].map(|at| origins[at].count());
        calls(&stage, 60).await;
        let [one, two, three, four] = counts();
        assert_eq!((one + two, three + four), (60, 0), "{algorithm:?}: {:?}", counts());
        stage.apply(vec![endpoints(&stage, &["", "", "b", "b"]).resource()]).await;
        calls(&stage, 60).await;
        assert_eq!((counts()[0], counts()[1]), (one, two), "{algorithm:?}");
        assert_eq!(counts()[2] + counts()[3], 60, "{algorithm:?}: {:?}", counts());
    }
}

#[tokio::test]
async fn what_the_callers_zone_cannot_carry_spills_over() {
    for way in Way::ALL {
        let stage = stage(way, &["a", "b", "b", "b"], wire::Algorithm::RoundRobin).await;
        let origins = [1, 2, 3, 4].map(|number| stage.origin(&format!("reviews-{number}")).answers(|_| OK.into()));
        calls(&stage, 400).await;
        // One of four in two zones: it carries a half of what its zone asks. 200 expected, deviation 10.
        let local = origins[0].count();
        assert!((140..=260).contains(&local), "{way:?}: {local}");
    }
}

#[tokio::test]
async fn endpoints_that_die_in_the_callers_zone_lose_no_request() {
    for algorithm in ALGORITHMS {
        let stage = stage(Way::Hop, &["a", "a", "b"], algorithm).await;
        let mut dying = [1, 2].map(|number| stage.origin(&format!("reviews-{number}")).serves(|_| OK.into()));
        let other = stage.origin("reviews-3").answers(|_| OK.into());
        calls(&stage, 10).await;
        assert_eq!(other.count(), 0);
        // Waited for: until its listener is gone a process takes requests with it.
        for one in &mut dying {
            one.shutdown().await;
        }
        calls(&stage, 30).await;
        assert!(other.count() >= 25, "{algorithm:?}: {}", other.count());
    }
}
