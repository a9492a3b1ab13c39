//! The agent as a process against a server in this test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process;

use std::collections::{BTreeMap, BTreeSet};

use host::{
    Action, Ask, BootId, Frame, FromAgent, HostFacts, Order, Probe, ProcessId, Refusal, ToAgent,
    Unit,
};
use rcgen::ExtendedKeyUsagePurpose;

use process::Agent;
use testkit::agent::server::{Authority, Peer, Server};

fn boot() -> BootId {
    agent::ledger::boot().unwrap()
}

#[test]
fn a_host_enrols_and_is_looked_at() {
    let authority = Authority::new().unwrap();
    let server = Server::new(&authority).unwrap();
    let agent = Agent::enrolled(&authority, &server);
    let mut peer = server.accept().unwrap();
    let hello = FromAgent::Hello {
        protocol: host::PROTOCOL,
        agent: agent::VERSION.to_owned(),
        boot: boot(),
        generation: 0,
    };
    assert_eq!(peer.message().unwrap(), Some(hello));
    peer.send(&ToAgent::Welcome {
        protocol: host::PROTOCOL,
    })
    .unwrap();
    peer.send(&ToAgent::Ping).unwrap();
    assert_eq!(peer.message().unwrap(), Some(FromAgent::Pong));
    let probes = [Probe::Files, Probe::Processes, Probe::Mounts, Probe::Bus];
    peer.ask(
        7,
        Ask::Look {
            probes: probes.to_vec(),
        },
    )
    .unwrap();
    let mut readings = Vec::new();
    loop {
        match peer.message().unwrap().unwrap() {
            FromAgent::Read { ask: 7, reading } => readings.push(reading),
            FromAgent::Done {
                ask: 7,
                error: None,
            } => break,
            other => panic!("{other:?}"),
        }
    }
    let read: BTreeSet<Probe> = readings.iter().map(|reading| reading.probe).collect();
    assert_eq!(read, probes.into());
    assert_eq!(HostFacts::from_readings(&readings).boot, Some(boot()));
    // The key has not left and nobody else can read it.
    let key = std::fs::read_to_string(agent.file("key.pem")).unwrap();
    assert!(key.contains("PRIVATE KEY"));
}

#[test]
fn an_impostor_learns_nothing() {
    let authority = Authority::new().unwrap();
    let stranger = Authority::new().unwrap();
    let (right_leaf, _) = authority.serving().unwrap();
    let (own_leaf, own_key) = stranger.serving().unwrap();
    let (node_leaf, node_key) = authority
        .leaf("n2", ExtendedKeyUsagePurpose::ClientAuth)
        .unwrap();
    let chains = [
        (
            "its own authority",
            vec![own_leaf.clone(), stranger.der()],
            &own_key,
        ),
        (
            "our authority beside its own",
            vec![own_leaf, authority.der()],
            &own_key,
        ),
        (
            "our certificate without its key",
            vec![right_leaf, authority.der()],
            &own_key,
        ),
        (
            "a node's certificate",
            vec![node_leaf, authority.der()],
            &node_key,
        ),
    ];
    for (what, chain, key) in chains {
        let server = Server::with(&stranger, chain, key).unwrap();
        let agent = Agent::new();
        let install = agent.install(server.address().unwrap(), &authority.token());
        // The handshake fails, so there is not one frame.
        assert_eq!(server.accept().unwrap().frame().unwrap(), None, "{what}");
        assert!(!install.join().unwrap().status.success(), "{what}");
        assert!(!agent.config().exists(), "{what}");
    }
}

#[test]
fn a_refusal_is_told_and_nothing_is_written() {
    let authority = Authority::new().unwrap();
    let server = Server::new(&authority).unwrap();
    let agent = Agent::new();
    let install = agent.install(server.address().unwrap(), &authority.token());
    let mut peer = server.accept().unwrap();
    peer.message().unwrap().unwrap();
    peer.send(&ToAgent::Goodbye {
        code: "token-used".to_owned(),
        message: "used before".to_owned(),
    })
    .unwrap();
    let output = install.join().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("token-used"));
    assert!(!agent.config().exists());
}

#[test]
fn after_nonsense_the_agent_comes_back() {
    let authority = Authority::new().unwrap();
    let server = Server::new(&authority).unwrap();
    let _agent = Agent::enrolled(&authority, &server);
    let data = Frame::Data {
        ask: 1,
        bytes: vec![1],
    };
    let json = |text: &str| Frame::Message(text.as_bytes().to_vec()).encode().unwrap();
    let nonsense: [Vec<u8>; 4] = [
        vec![0xff, 0xff, 0xff, 0xff, 0],
        data.encode().unwrap(),
        json(r#"{"type":"ask","ask":1,"what":{"kind":"exec","command":"id"}}"#),
        json(r#"{"type":"welcome","protocol":1}"#),
    ];
    for bytes in nonsense {
        let mut peer = server.agent().unwrap();
        peer.raw(&bytes);
        assert_eq!(peer.frame().unwrap(), None);
    }
    let mut peer = server.agent().unwrap();
    peer.send(&ToAgent::Ping).unwrap();
    assert_eq!(peer.message().unwrap(), Some(FromAgent::Pong));
}

/// Reads the files of an ask until it ends; which pieces came, and its error.
fn files(peer: &mut Peer, number: u64) -> (BTreeMap<String, Vec<u8>>, Option<String>) {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut open = String::new();
    loop {
        match peer.frame().unwrap().unwrap() {
            Frame::Data { ask, bytes } => {
                assert_eq!(ask, number);
                assert!(bytes.len() <= 64 << 10);
                files.get_mut(&open).unwrap().extend_from_slice(&bytes);
            }
            Frame::Message(json) => match serde_json::from_slice(&json).unwrap() {
                FromAgent::File { ask, name } if ask == number => {
                    files.entry(name.clone()).or_default();
                    open = name;
                }
                FromAgent::Done { ask, error } if ask == number => return (files, error),
                other => panic!("{other:?}"),
            },
        }
    }
}

#[test]
fn evidence_and_logs_come_as_files() {
    let authority = Authority::new().unwrap();
    let server = Server::new(&authority).unwrap();
    let _agent = Agent::enrolled(&authority, &server);
    let mut peer = server.agent().unwrap();
    peer.ask(1, Ask::Evidence { since_seconds: 60 }).unwrap();
    let (found, _) = files(&mut peer, 1);
    let text = |name: &str| String::from_utf8_lossy(&found[name]).into_owned();
    assert!(text("mounts.txt").contains(" / "));
    assert!(text("pressure.txt").contains("/proc/meminfo"));
    assert!(text("processes.txt").lines().count() > 3);
    assert!(text("blocked-tasks.txt").starts_with("tasks "));
    peer.ask(
        2,
        Ask::Log {
            unit: Unit::Kubelet,
            since_seconds: 60,
            follow: false,
        },
    )
    .unwrap();
    let (found, _) = files(&mut peer, 2);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["kubelet.log"]);
}

#[test]
fn orders_are_refused_that_must_not_be_carried_out() {
    let authority = Authority::new().unwrap();
    let server = Server::new(&authority).unwrap();
    let agent = Agent::enrolled(&authority, &server);
    let mut peer = server.agent().unwrap();
    let mut number = 0;
    let mut refusal = |action: Action, boot: BootId| {
        number += 1;
        let order = Order {
            operation: "o".to_owned(),
            generation: number,
            boot,
            action,
            consent: false,
        };
        peer.ask(number, Ask::Act { order }).unwrap();
        match peer.message().unwrap().unwrap() {
            FromAgent::Refused { ask, refusal } if ask == number => refusal,
            other => panic!("{other:?}"),
        }
    };
    let process = ProcessId {
        pid: agent.pid(),
        start: 1,
    };
    let other = BootId::new("0f0e0d0c-0b0a-0908-0706-050403020100").unwrap();
    assert_eq!(
        refusal(Action::Reboot, other),
        Refusal::OtherBoot { running: boot() }
    );
    assert_eq!(refusal(Action::Reboot, boot()), Refusal::NoConsent);
    let code = |refusal| match refusal {
        Refusal::Precondition { code, .. } => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        code(refusal(Action::Kill { process }, boot())),
        "process-other"
    );
    let kernel = Action::Restart { unit: Unit::Kernel };
    assert_eq!(code(refusal(kernel, boot())), "unit-not-loaded");
    // Nothing of this is in the ledger: nothing has begun.
    let ledger = std::fs::read_to_string(agent.state().join("ledger.jsonl")).unwrap();
    assert_eq!(ledger, "");
}
