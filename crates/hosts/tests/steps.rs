//! Whatever becomes of an order stands in the audit log.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::net::SocketAddr;
use std::time::Duration;

use host::{Action, BootId, Order};
use hosts::{Agents, Asked, Authority, GiveError, HostError, Listener, Way, give, settle};
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

fn asked() -> Asked {
    Asked {
        object: "c/n".into(),
        by: "bob".into(),
        reason: "test".into(),
        forced: false,
    }
}

fn order() -> Order {
    Order {
        operation: "o".to_owned(),
        generation: 1,
        boot: BootId::new(BOOT).unwrap(),
        action: Action::ReexecSystemd,
        consent: false,
    }
}

#[tokio::test]
async fn an_order_stands_in_the_log_before_and_after() {
    let world = World::start().await;
    let (wire, way) = world.agent().await;
    let answering = tokio::spawn(agent::answer(wire));
    let acted = give(&way, &world.store, &asked(), &order()).await.unwrap();
    assert!(acted.ok);
    let told = world.told().await;
    let verb = "bob host.reexec-systemd";
    assert_eq!(told, [format!("{verb} began"), format!("{verb} done")]);
    answering.abort();
}

#[tokio::test]
async fn the_end_of_an_order_is_told_whatever_it_is() {
    let world = World::start().await;
    let (mut wire, way) = world.agent().await;
    let store = world.store.clone();
    let giving = tokio::spawn(async move { give(&way, &store, &asked(), &order()).await });
    // The host has the order, and does not say what becomes of it.
    let Answer::Message(message) = wire.answer().await.unwrap() else {
        panic!("no order")
    };
    let host::ToAgent::Ask { ask, .. } = message else {
        panic!("{message:?}")
    };
    let interrupted = host::FromAgent::Interrupted { ask };
    wire.say(&interrupted).await.unwrap();
    let error = giving.await.unwrap().unwrap_err();
    let interrupted = HostError::Interrupted { host: "n".into() };
    assert!(matches!(&error, GiveError::Host(error) if error.code() == interrupted.code()));
    assert_eq!(
        HostError::code_named(interrupted.code()),
        Some(interrupted.code())
    );
    let told = world.told().await;
    let verb = "bob host.reexec-systemd";
    let expected = [format!("{verb} began"), format!("{verb} host_interrupted")];
    assert_eq!(told, expected);
    assert_eq!(settle(&world.store).await.unwrap(), []);
}
