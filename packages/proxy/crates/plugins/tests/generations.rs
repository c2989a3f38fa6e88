//! Loading, reloading and losing whole generations, with real processes.

mod support;

use plait_plugins::*;
use support::*;

fn answering(answer: &str) -> PluginSpec {
    let mut plugin = scripted("a/one");
    plugin.config = serde_json::json!({ "answer": answer });
    plugin
}

#[test]
fn a_new_generation_takes_over_without_a_lost_call_and_the_old_one_ends() {
    on_a_thread(async || {
        let rig = Rig::new(vec![answering("first")]);
        let first = rig.ask("/", "").await;
        assert_eq!(header(&first, "x-seen"), Some("first"));
        rig.apply(vec![answering("second")]);
        let mut seen = Vec::new();
        while seen.last().is_none_or(|answer| answer == "first") {
            let verdict = rig.ask("/", "").await;
            seen.push(header(&verdict, "x-seen").unwrap_or_else(|| panic!("{verdict:?}")).to_owned());
        }
        assert_eq!(seen.pop().as_deref(), Some("second"));
        gone(header(&first, "x-pid").unwrap()).await;
        let state = rig.until("second generation", |state| state.live == 2 && state.loading.is_none()).await;
        assert_eq!((&*state.plugins[0].name, state.failures.len()), ("a/one", 0));
        rig.host.stop().await;
    });
}

#[test]
fn a_generation_that_fails_changes_nothing_and_says_why() {
    on_a_thread(async || {
        let rig = Rig::new(vec![answering("good")]);
        assert_eq!(header(&rig.ask("/", "").await, "x-seen"), Some("good"));
        let mut wrong = scripted("a/one");
        wrong.config = serde_json::json!({ "answer": 5 });
        let cases = [
            (plugin("a/one", "unimportable:Nothing"), Stage::Import, "a library is missing"),
            (plugin("a/one", "scripted:Absent"), Stage::Import, "Absent"),
            (plugin("a/one", "scripted:Untestable"), Stage::Selftest, "not today"),
            (wrong, Stage::Config, "answer"),
        ];
        for (plugin, stage_reached, said) in cases {
            rig.apply(vec![plugin]);
            let state = rig
                .until(said, |state| state.loading.is_none() && state.failures.iter().any(|failure| failure.message.contains(said)))
                .await;
            assert_eq!((state.failures[0].stage, state.live), (stage_reached, 1), "{said}");
            assert_eq!(state.failures[0].plugin.as_deref(), Some("a/one"));
            assert_eq!(header(&rig.ask("/", "").await, "x-seen"), Some("good"), "{said}");
        }
        rig.host.stop().await;
    });
}

#[test]
fn what_never_loaded_is_answered_as_its_object_says() {
    on_a_thread(async || {
        for (policy, closed) in [(OnFailure::Closed, true), (OnFailure::Open, false)] {
            let mut broken = plugin("a/broken", "unimportable:Nothing");
            broken.on_load_failure = policy;
            let rig = Rig::new(vec![broken]);
            let verdict = rig.ask("/", "").await;
            let expected = closed.then_some((Some("a/broken"), Cause::NotLoaded));
            assert_eq!(refused(&verdict), expected);
            assert_eq!(verdict.failures()[0].cause, Cause::NotLoaded);
            let state = rig.until("failed", |state| !state.failures.is_empty() && state.loading.is_none()).await;
            assert!(state.failures[0].traceback.contains("unimportable.py"), "{state:?}");
            rig.host.stop().await;
        }
    });
}

#[test]
fn an_interpreter_that_is_not_there_is_a_failure_to_start() {
    on_a_thread(async || {
        let scratch = tempfile::tempdir().unwrap();
        let host = Host::new(HostSettings::new("/nowhere/python".into(), scratch.path().to_owned()));
        let (group, channel) = (std::sync::Arc::<str>::from("a/b"), host.channel());
        let id = host.chain_id(&group, Direction::Outbound, &["a/one".into()]);
        let chains = vec![ChainSpec { id, direction: Direction::Outbound, plugins: vec!["a/one".into()] }];
        let spec =
            GroupSpec { name: group, plugins: vec![scripted("a/one")], chains, sandbox: SandboxSpec::default(), memory_bytes: 1 << 28 };
        host.apply(vec![spec]);
        assert_eq!(refused(&channel.wait("a/b", id).await.unwrap_err()), Some((Some("a/one"), Cause::NotLoaded)));
        let states = host.states().borrow().clone();
        assert_eq!(states[0].failures[0].stage, Stage::Start);
        assert!(states[0].failures[0].message.contains("/nowhere/python"), "{states:?}");
        host.stop().await;
    });
}

#[test]
fn a_killed_zygote_comes_back_with_its_workers() {
    on_a_thread(async || {
        let rig = Rig::new(vec![answering("seen")]);
        let before = rig.ask("/", "").await;
        let worker = header(&before, "x-pid").unwrap().to_owned();
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
        let zygote: i32 = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(zygote).unwrap(), rustix::process::Signal::KILL).unwrap();
        gone(&worker).await;
        rig.until("another generation", |state| state.live > 1).await;
        let after = rig.ask("/", "").await;
        assert_eq!(header(&after, "x-seen"), Some("seen"));
        assert_ne!(header(&after, "x-pid"), Some(worker.as_str()));
        rig.host.stop().await;
        gone(header(&after, "x-pid").unwrap()).await;
    });
}

#[test]
fn a_thread_that_comes_later_gets_a_worker_of_its_own() {
    on_a_thread(async || {
        let rig = Rig::new(vec![answering("seen")]);
        let first = rig.ask("/", "").await;
        let other = rig.host.channel();
        let chain = other.wait("test/group", rig.chain).await.unwrap();
        let second = call(&chain, "/", "").verdict().await;
        assert_eq!(header(&second, "x-seen"), Some("seen"));
        assert_ne!(header(&first, "x-pid"), header(&second, "x-pid"));
        rig.host.stop().await;
        gone(header(&first, "x-pid").unwrap()).await;
        gone(header(&second, "x-pid").unwrap()).await;
        assert!(rig.host.states().borrow().is_empty());
    });
}

#[test]
fn code_that_changed_where_it_lies_is_loaded_anew_when_asked() {
    on_a_thread(async || {
        let folder = tempfile::tempdir().unwrap();
        let write = |answer: &str| {
            let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/scripted.py")).unwrap();
            std::fs::write(folder.path().join("edited.py"), text.replace("answer: str = \"seen\"", &format!("answer: str = \"{answer}\"")))
                .unwrap();
        };
        write("before");
        let mut edited = plugin("a/one", "edited:Scripted");
        edited.path = vec![folder.path().to_owned()];
        let rig = Rig::new(vec![edited]);
        assert_eq!(header(&rig.ask("/", "").await, "x-seen"), Some("before"));
        write("after");
        rig.host.reload(&"test/group".into());
        let state = rig.until("second generation", |state| state.live == 2).await;
        assert_eq!(state.failures, []);
        let since = std::time::Instant::now();
        while header(&rig.ask("/", "").await, "x-seen") != Some("after") {
            assert!(since.elapsed() < PATIENCE);
        }
        rig.host.stop().await;
    });
}

#[test]
fn a_group_that_goes_and_comes_back_at_once_is_served_again() {
    on_a_thread(async || {
        let rig = Rig::new(vec![answering("first")]);
        let before = rig.ask("/", "").await;
        for answer in ["second", "third"] {
            rig.host.apply(Vec::new());
            rig.apply(vec![answering(answer)]);
        }
        gone(header(&before, "x-pid").unwrap()).await;
        rig.until("live again", |state| state.live == 1 && state.loading.is_none()).await;
        assert_eq!(header(&rig.ask("/", "").await, "x-seen"), Some("third"));
        rig.host.apply(Vec::new());
        let mut states = rig.host.states();
        tokio::time::timeout(PATIENCE, states.wait_for(|states| states.is_empty())).await.unwrap().unwrap();
        // This thread may hear of it a little later; a worker that ends meanwhile is a crash to who asks it.
        let since = std::time::Instant::now();
        while refused(&rig.ask("/", "").await) != Some((None, Cause::NotLoaded)) {
            assert!(since.elapsed() < PATIENCE);
        }
        rig.host.stop().await;
    });
}
