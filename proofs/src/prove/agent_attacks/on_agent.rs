//! The other direction: an agent under attack by whoever says they are its server. Its hands only count, so that what
//! gets through shows and does no harm.

use std::path::Path;

use agent::{Config, Link};
use anyhow::{Context, Result, ensure};
use host::{Action, Ask, BootId, Frame, FromAgent, MAX_FRAME, Order, Refusal, ToAgent, Unit};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use testkit::agent::BOOT;
use testkit::agent::server::{Authority, Peer, Server};

use super::super::Size;
use super::super::at_most_once::{carried_out, start_agent};
use super::super::random::Random;
use super::Row;

/// All attacks. Blocks; an agent's process ends with it.
pub(super) fn attacks(size: Size, seed: u64) -> Result<Vec<Row>> {
    let authority = Authority::new()?;
    let server = Server::new(&authority)?;
    let folder = tempfile::tempdir()?;
    let config = enrolled(&authority, &server)?;
    config.write(folder.path())?;
    let mut rows = impostors(&authority, &config)?;
    let _agent = start_agent(folder.path(), &boot()?, None, false)?;
    rows.extend(frames(&server)?);
    rows.extend(tricks(&server, folder.path())?);
    rows.extend(orders(&server, folder.path())?);
    rows.push(fuzz(&server, size.pick(60, 1000), seed)?);
    Ok(rows)
}

fn boot() -> Result<BootId> {
    Ok(BootId::new(BOOT)?)
}

fn enrol(server: &Server, authority: &Authority) -> Result<Option<agent::Identity>> {
    let token = authority.token().parse()?;
    // What went wrong is of no interest here: an agent that is not enrolled is what an impostor must get.
    Ok(agent::enrol(&[server.address()?], &token, "n").ok())
}

fn enrolled(authority: &Authority, server: &Server) -> Result<Config> {
    let identity = std::thread::scope(|scope| {
        let agent = scope.spawn(|| enrol(server, authority));
        server.enrol(authority)?;
        agent
            .join()
            .map_err(|_| anyhow::anyhow!("the agent broke"))?
    })?;
    let identity = identity.context("not enrolled")?;
    Ok(Config {
        server: server.address()?.to_string(),
        addresses: vec![server.address()?],
        certificate: identity.certificate,
        key: identity.key,
        authority: identity.authority,
    })
}

/// Servers that are not the agent's: neither the token nor a hello may reach them.
fn impostors(authority: &Authority, config: &Config) -> Result<Vec<Row>> {
    let stranger = Authority::new()?;
    let (right, _) = authority.serving()?;
    let (own, own_key) = stranger.serving()?;
    let (node, node_key) = authority.leaf("n2", ExtendedKeyUsagePurpose::ClientAuth)?;
    let beside = vec![own.clone(), authority.der()];
    let mut rows = Vec::new();
    for (attack, chain, key) in [
        (
            "a server of another authority",
            vec![own, stranger.der()],
            &own_key,
        ),
        ("a server that shows ours beside its own", beside, &own_key),
        (
            "a server with our certificate and not its key",
            vec![right, authority.der()],
            &own_key,
        ),
        (
            "a server with a node's certificate",
            vec![node, authority.der()],
            &node_key,
        ),
    ] {
        let server = Server::with(&stranger, chain, key)?;
        let mut dials = config.clone();
        dials.server = server.address()?.to_string();
        let told = std::thread::scope(|scope| -> Result<_> {
            let enrols = scope.spawn(|| enrol(&server, authority));
            let token = server.accept()?.frame()?;
            let enrolled = enrols.join().map_err(|_| anyhow::anyhow!("it broke"))??;
            let links =
                scope.spawn(|| -> Result<bool> { Ok(Link::connect(&dials, &boot()?, 0).is_ok()) });
            let hello = server.accept()?.frame()?;
            let linked = links.join().map_err(|_| anyhow::anyhow!("it broke"))??;
            Ok(token.is_some() || hello.is_some() || enrolled.is_some() || linked)
        })?;
        rows.push(Row {
            attack,
            result: if told {
                "is talked to"
            } else {
                "learns nothing"
            }
            .to_owned(),
            holds: !told,
        });
    }
    Ok(rows)
}

/// What an agent must end a connection for.
fn frames(server: &Server) -> Result<Vec<Row>> {
    let long = u32::try_from(MAX_FRAME + 1)?.to_be_bytes();
    let bytes = vec![0; 1000];
    let data = Frame::Data { ask: 1, bytes }.encode()?;
    let text = |text: &str| Frame::Message(text.as_bytes().to_vec()).encode();
    let cases = [
        (
            "a frame to the agent that claims too much",
            [&long[..], &[0]].concat(),
        ),
        (
            "a frame to the agent of unknown kind",
            vec![0, 0, 0, 1, 7, 0],
        ),
        ("data to the agent", data),
        ("half a message to the agent", text("{\"type\":\"ask\"")?),
        (
            "a second welcome",
            text(r#"{"type":"welcome","protocol":1}"#)?,
        ),
        (
            "an ask that is not in the protocol",
            text(r#"{"type":"ask","ask":1,"what":{"kind":"exec","command":"id"}}"#)?,
        ),
    ];
    let ends = |(attack, bytes): (&'static str, Vec<u8>)| {
        let mut peer = server.agent()?;
        peer.raw(&bytes);
        Ok(ended(attack, &peer.frame()?))
    };
    cases.into_iter().map(ends).collect()
}

fn ended(attack: &'static str, frame: &Option<Frame>) -> Row {
    let result = match frame {
        None => "ended".to_owned(),
        Some(Frame::Data { .. }) => "data".to_owned(),
        Some(Frame::Message(json)) => String::from_utf8_lossy(json).into_owned(),
    };
    Row {
        attack,
        holds: frame.is_none(),
        result,
    }
}

/// Names that lead elsewhere.
fn tricks(server: &Server, folder: &Path) -> Result<Vec<Row>> {
    let act = |action: serde_json::Value| {
        json!({"kind": "act", "order": {
            "operation": "o", "generation": 1, "boot": BOOT, "action": action, "consent": true,
        }})
    };
    let log =
        |unit: &str| json!({"kind": "log", "unit": unit, "since_seconds": 1, "follow": false});
    let below = "/var/lib/kubelet/pods/a/../../../../etc";
    let cgroup = "/sys/fs/cgroup/kubepods/../system.slice";
    let cases = [
        (
            "an action that is not listed",
            act(json!({"kind": "exec", "command": "id"})),
        ),
        (
            "a unit that is not listed",
            act(json!({"kind": "restart", "unit": "sshd"})),
        ),
        (
            "a unit with a command in it",
            act(json!({"kind": "restart", "unit": "kubelet; reboot"})),
        ),
        (
            "a unit that is a path",
            act(json!({"kind": "restart", "unit": "../../tmp/evil"})),
        ),
        ("a log that is a path", log("../../../etc/shadow")),
        ("a log that is a flag", log("--file=/etc/shadow")),
        (
            "a mount above the pods",
            act(json!({"kind": "unmount", "mount": below})),
        ),
        (
            "a cgroup above the pods",
            act(json!({"kind": "thaw", "cgroup": cgroup})),
        ),
        (
            "a container's log that is a path",
            act(json!({"kind": "truncate-log", "container": "../".repeat(22)})),
        ),
        (
            "an action with more than it says",
            act(json!({"kind": "restart", "unit": "kubelet", "then": "reboot"})),
        ),
    ];
    let mut rows = Vec::new();
    for (attack, what) in cases {
        let mut peer = server.agent()?;
        let message = json!({"type": "ask", "ask": 1, "what": what});
        peer.raw(&Frame::Message(serde_json::to_vec(&message)?).encode()?);
        rows.push(ended(attack, &peer.frame()?));
    }
    let done = carried_out(folder)?;
    rows.push(Row {
        attack: "after all that",
        result: format!("{} orders carried out", done.len()),
        holds: done.is_empty(),
    });
    // The same that is as it should be gets through, so none of these was refused for its form.
    let mut peer = server.agent()?;
    let what = act(json!({"kind": "restart", "unit": "kubelet"}));
    let what: Ask = serde_json::from_value(what)?;
    let answer = asked(&mut peer, what)?;
    let good = matches!(answer, FromAgent::Acted { ok: true, .. });
    ensure!(good, "an order as it should be: {answer:?}");
    Ok(rows)
}

fn asked(peer: &mut Peer, what: Ask) -> Result<FromAgent> {
    peer.ask(7, what)?;
    peer.message()?.context("no answer")
}

/// Orders as they should be, at the wrong time.
fn orders(server: &Server, folder: &Path) -> Result<Vec<Row>> {
    let mut peer = server.agent()?;
    let mut give = |generation, action: Action, boot: &str, consent| -> Result<FromAgent> {
        let order = Order {
            operation: "o".to_owned(),
            generation,
            boot: BootId::new(boot)?,
            action,
            consent,
        };
        asked(&mut peer, Ask::Act { order })
    };
    let restart = || Action::Restart {
        unit: Unit::Kubelet,
    };
    let other = "00000000-0b0a-0908-0706-050403020100";
    let first = give(10, restart(), BOOT, false)?;
    let worked = matches!(
        first,
        FromAgent::Acted {
            repeated: false,
            ..
        }
    );
    ensure!(worked, "a good order: {first:?}");
    let answers = [
        ("an order again", give(10, restart(), BOOT, false)?),
        (
            "an order's number again",
            give(10, Action::ReexecSystemd, BOOT, false)?,
        ),
        ("an older order", give(9, restart(), BOOT, false)?),
        (
            "an order for another boot",
            give(11, restart(), other, false)?,
        ),
        (
            "a reboot without consent",
            give(12, Action::Reboot, BOOT, false)?,
        ),
    ];
    let mut rows = Vec::new();
    for (attack, answer) in answers {
        let result = match &answer {
            FromAgent::Acted { repeated: true, .. } => "told how it ended".to_owned(),
            FromAgent::Refused { refusal, .. } => match refusal {
                Refusal::OtherBoot { .. } => "refused: other boot".to_owned(),
                Refusal::Older { .. } => "refused: older".to_owned(),
                Refusal::Conflict { .. } => "refused: conflict".to_owned(),
                Refusal::NoConsent => "refused: no consent".to_owned(),
                other => format!("refused: {other:?}"),
            },
            other => format!("{other:?}"),
        };
        let refused = result.starts_with("refused: ") && !result.contains('{');
        rows.push(Row {
            attack,
            holds: refused || result == "told how it ended",
            result,
        });
    }
    let done = carried_out(folder)?;
    let once = done.len() == 2 && done.values().all(|times| *times == 1);
    rows.push(Row {
        attack: "after these",
        result: format!("{} orders carried out, each once: {once}", done.len()),
        holds: once,
    });
    Ok(rows)
}

/// A good ask with wrong bytes in it, again and again.
fn fuzz(server: &Server, rounds: usize, seed: u64) -> Result<Row> {
    let mut random = Random::new(seed);
    let ask = ToAgent::Ask {
        ask: 1,
        what: Ask::Look { probes: Vec::new() },
    };
    let good = Frame::Message(serde_json::to_vec(&ask)?).encode()?;
    for _ in 0..rounds {
        let mut peer = server.agent()?;
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(8) {
            let at = usize::try_from(random.below(bytes.len() as u64))?;
            bytes[at] = u8::try_from(random.below(256))?;
        }
        peer.raw(&bytes);
    }
    let mut peer = server.agent()?;
    peer.send(&ToAgent::Ping)?;
    let works = peer.message()? == Some(FromAgent::Pong);
    Ok(Row {
        attack: "seeded garbage to the agent",
        result: format!("{rounds} connections; it answers: {works}"),
        holds: works,
    })
}
