//! A step is refused before anything is ordered when something speaks against it, and whatever becomes of an order
//! stands in the audit log.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::net::SocketAddr;
use std::time::Duration;

use host::{Action, BootId, HostFacts, MountPath, RuntimeFacts, RuntimeName, Unit};
use hosts::{Agents, Authority, HostError, Listener, StepAsked, StepError, Way, settle, take};
use model::{ClusterId, Text};
use store::Store;
use testkit::agent::{self, Answer, BOOT, Wire};
use testkit::wait_until;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    store: Store,
    agents: Agents,
    address: SocketAddr,
    _folder: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::in_memory(store::Options::new(1)).unwrap();
        let agents = Agents::new(Authority::open(folder.path()).unwrap(), store.clone());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(agents.clone(), any).await.unwrap();
        let address = listener.address();
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(stop.clone()));
        Self {
            store,
            agents,
            address,
            _folder: folder,
            _stop: stop.drop_guard(),
        }
    }

    /// An agent's connection, and the way by it.
    async fn agent(&self) -> (Wire, Way) {
        let (cluster, node, by): (_, Text, Text) =
            (ClusterId::from("c"), "n".into(), "alice".into());
        let lives = Duration::from_secs(60);
        let token = self.agents.new_token(&cluster, &node, &by, lives);
        let token = token.await.unwrap().text;
        let Ok(identity) = agent::enrol(self.address, &token, "n").await.unwrap() else {
            panic!("not enrolled")
        };
        let wire = Wire::welcome(self.address, &identity).await.unwrap();
        let way = wait_until(PATIENCE, "the agent is connected", async || {
            let link = self.agents.link(&cluster, &node);
            Ok(link.map(Way::Agent).ok_or("not yet"))
        });
        (wire, way.await.unwrap())
    }

    /// What the audit log says of steps, the oldest first.
    async fn told(&self) -> Vec<String> {
        let entries = self.store.audit_log(100, None).await.unwrap();
        let rows = entries.into_iter().rev().map(|entry| entry.row);
        rows.filter(|row| row.verb.starts_with("host."))
            .map(|row| format!("{} {} {}", row.who, row.verb, row.outcome))
            .collect()
    }
}

fn asked(action: Action) -> StepAsked {
    StepAsked {
        action,
        object: "c/n".into(),
        by: "bob".into(),
        reason: "test".to_owned(),
        consent: false,
        force: false,
        pods_left: 0,
    }
}

fn facts() -> HostFacts {
    HostFacts {
        boot: Some(BootId::new(BOOT).unwrap()),
        ..HostFacts::default()
    }
}

/// Docker, which would take its containers along.
fn without_live_restore() -> HostFacts {
    let docker = RuntimeFacts {
        name: RuntimeName::Docker,
        socket: Some(true),
        answers: Some(true),
        millis: Some(1),
        version: None,
        live_restore: Some(false),
        lists: None,
        containers: Vec::new(),
    };
    HostFacts {
        runtimes: vec![docker],
        ..facts()
    }
}

fn restart_docker() -> Action {
    Action::Restart { unit: Unit::Docker }
}

#[tokio::test]
async fn what_is_refused_is_never_ordered() {
    let world = World::start().await;
    let (_wire, way) = world.agent().await;
    let mount = MountPath::new("/var/lib/kubelet/pods/a/volumes/b").unwrap();
    let unmount = Action::Unmount { mount };
    let undrained = StepAsked {
        consent: true,
        pods_left: 3,
        ..asked(Action::Reboot)
    };
    for (asked, facts, code) in [
        (
            asked(restart_docker()),
            without_live_restore(),
            "step_objected",
        ),
        (asked(unmount), facts(), "consent_missing"),
        (asked(Action::Reboot), facts(), "consent_missing"),
        (undrained, facts(), "not_drained"),
        (
            asked(Action::ReexecSystemd),
            HostFacts::default(),
            "boot_unknown",
        ),
    ] {
        let refused = take(&way, &world.store, &asked, &facts).await.unwrap_err();
        assert_eq!(refused.code(), code, "{asked:?}");
    }
    assert_eq!(world.told().await, Vec::<String>::new());
}

#[tokio::test]
async fn force_overrides_objections_and_says_so() {
    let world = World::start().await;
    let (wire, way) = world.agent().await;
    let answering = tokio::spawn(agent::answer(wire));
    let forced = StepAsked {
        force: true,
        ..asked(restart_docker())
    };
    let before = without_live_restore();
    let step = take(&way, &world.store, &forced, &before).await.unwrap();
    assert!(step.acted.ok);
    assert!(!step.objections.is_empty());
    let told = world.told().await;
    assert_eq!(told, ["bob host.restart began", "bob host.restart done"]);
    answering.abort();
}

#[tokio::test]
async fn the_end_of_an_order_is_told_whatever_it_is() {
    let world = World::start().await;
    let (mut wire, way) = world.agent().await;
    let store = world.store.clone();
    let step = asked(Action::ReexecSystemd);
    let taking = tokio::spawn(async move { take(&way, &store, &step, &facts()).await });
    // The host has the order, and does not say what becomes of it.
    let Answer::Message(message) = wire.answer().await.unwrap() else {
        panic!("no order")
    };
    let host::ToAgent::Ask { ask, .. } = message else {
        panic!("{message:?}")
    };
    let interrupted = host::FromAgent::Interrupted { ask };
    wire.say(&interrupted).await.unwrap();
    let error = taking.await.unwrap().unwrap_err();
    let interrupted = HostError::Interrupted { host: "n".into() };
    assert!(matches!(&error, StepError::Host(error) if error.code() == interrupted.code()));
    let told = world.told().await;
    let verb = "bob host.reexec-systemd";
    let expected = [format!("{verb} began"), format!("{verb} host_interrupted")];
    assert_eq!(told, expected);
    assert_eq!(settle(&world.store).await.unwrap(), []);
}
