//! Who may speak for a host, tried by those who may not: a server's port for agents under attack, and an agent under
//! attack by whoever says they are its server, over real TLS.

mod on_agent;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use host::{Frame, FromAgent, MAX_FRAME, Probe, ToAgent};
use hosts::{Agents, Authority, Listener, Way};
use model::{ClusterId, Text};
use store::Store;
use testkit::agent::{Answer, Identity, Wire, enrol, hello};
use testkit::wait_until;
use tokio_util::sync::CancellationToken;

use super::random::Random;
use super::rig::{PATIENCE, record};
use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "agent-attacks",
    what: "nobody but an enrolled agent speaks for its host, nobody but its server to an agent, and neither takes more than the protocol has",
    time: ["10 s", "1 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// A server's side: its port, its agents, and a second one that is somebody else.
struct World {
    address: SocketAddr,
    agents: Agents,
    store: Store,
    cluster: ClusterId,
    _folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl World {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = record()?;
        let agents = Agents::new(Authority::open(folder.path())?, store.clone());
        let listener =
            Listener::bind(agents.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.address();
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(stop.clone()));
        Ok(Self {
            address,
            agents,
            store,
            cluster: ClusterId::from("c"),
            _folder: folder,
            stop,
        })
    }

    async fn token(&self, node: &str, lives: Duration) -> Result<String> {
        let (node, by): (Text, Text) = (node.into(), "prover".into());
        let token = self.agents.new_token(&self.cluster, &node, &by, lives);
        Ok(token.await?.text)
    }

    /// An agent of this node as it should be.
    async fn enrolled(&self, node: &str) -> Result<Identity> {
        let token = self.token(node, Duration::from_secs(60)).await?;
        match enrol(self.address, &token, node).await? {
            Ok(identity) => Ok(identity),
            Err(answer) => anyhow::bail!("not enrolled: {answer:?}"),
        }
    }

    /// Whether the server still does its work: an agent enrols, and answers a look.
    async fn works(&self) -> Result<()> {
        let identity = self.enrolled("healthy").await?;
        let mut wire = Wire::welcome(self.address, &identity).await?;
        let way = self.way("healthy").await?;
        let look = tokio::spawn(async move { way.look(&[Probe::Files]).await.map(|_| ()) });
        let Answer::Message(ToAgent::Ask { ask, .. }) = wire.answer().await? else {
            anyhow::bail!("no ask");
        };
        wire.say(&FromAgent::Done { ask, error: None }).await?;
        look.await??;
        Ok(())
    }

    async fn way(&self, node: &str) -> Result<Way> {
        let node: Text = node.into();
        wait_until(PATIENCE, "the agent is connected", async || {
            Ok(self
                .agents
                .link(&self.cluster, &node)
                .map(Way::Agent)
                .ok_or("not yet"))
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What an attack came to, and what it had to.
struct Row {
    attack: &'static str,
    result: String,
    holds: bool,
}

/// The server said this and nothing else.
fn said(attack: &'static str, answer: &Answer, code: &str) -> Row {
    let result = match answer {
        Answer::Message(ToAgent::Goodbye { code, .. }) => code.clone(),
        Answer::Message(other) => format!("{other:?}"),
        Answer::Ended => "ended".to_owned(),
    };
    Row {
        attack,
        holds: result == code,
        result,
    }
}

/// The certificate was not taken: by the handshake, or right after.
async fn shut_out(attack: &'static str, address: SocketAddr, identity: &Identity) -> Result<Row> {
    let answer = match Wire::connect(address, Some(identity)).await {
        Err(_) => Answer::Ended,
        Ok(mut wire) => {
            wire.say(&hello()?).await?;
            wire.answer().await?
        }
    };
    Ok(said(attack, &answer, "ended"))
}

async fn run(args: Args) -> Result<Verdict> {
    let world = World::start().await?;
    let mut rows = tokens(&world).await?;
    rows.extend(certificates(&world).await?);
    rows.extend(frames(&world).await?);
    rows.push(fuzz(&world, &args).await?);
    let (size, seed) = (args.size, args.seed);
    rows.extend(tokio::task::spawn_blocking(move || on_agent::attacks(size, seed)).await??);
    let working = world.works().await;
    rows.push(Row {
        attack: "after all that the server works",
        result: working
            .as_ref()
            .map_or_else(|e| format!("{e:#}"), |()| "yes".to_owned()),
        holds: working.is_ok(),
    });
    let table: Vec<_> = rows
        .iter()
        .map(|row| {
            let verdict = if row.holds { "ok" } else { "SHORT" };
            vec![
                row.attack.to_owned(),
                row.result.clone(),
                verdict.to_owned(),
            ]
        })
        .collect();
    output::line(output::table(&["ATTACK", "RESULT", ""], &table).trim_end());
    let failed = rows.iter().filter(|row| !row.holds).count();
    let figure = format!("{} of {} attacks fail", rows.len() - failed, rows.len());
    Ok(Verdict::new(failed == 0, figure))
}

async fn tokens(world: &World) -> Result<Vec<Row>> {
    let minute = Duration::from_secs(60);
    let try_token = async |token: &str| match enrol(world.address, token, "n").await? {
        Ok(_) => Ok(Answer::Ended),
        Err(answer) => anyhow::Ok(answer),
    };
    let mut rows = Vec::new();
    for (attack, token) in [
        ("no token", ""),
        ("an invented token", "0000000000.00000000.00000000"),
        ("a token with the words of SQL", "' OR 1=1 --.x.y"),
    ] {
        rows.push(said(attack, &try_token(token).await?, "token_unknown"));
    }
    let token = world.token("n", minute).await?;
    let (id, rest) = token.split_once('.').context("a token")?;
    let (_, fingerprint) = rest.split_once('.').context("a token")?;
    let other = format!("{id}.{}.{fingerprint}", "0".repeat(64));
    rows.push(said(
        "a known token with another secret",
        &try_token(&other).await?,
        "token_unknown",
    ));
    let expired = world.token("n", Duration::ZERO).await?;
    rows.push(said(
        "a token whose time is over",
        &try_token(&expired).await?,
        "token_expired",
    ));
    // The real one, by two at once: one of them is too late.
    let both = tokio::join!(
        enrol(world.address, &token, "n"),
        enrol(world.address, &token, "n")
    );
    let (enrolled, refused): (Vec<_>, Vec<_>) =
        [both.0?, both.1?].into_iter().partition(Result::is_ok);
    ensure!(enrolled.len() + refused.len() == 2, "two answers");
    rows.push(Row {
        attack: "one token by two at once",
        result: format!("{} enrolled", enrolled.len()),
        holds: enrolled.len() == 1,
    });
    rows.push(said(
        "a used token",
        &try_token(&token).await?,
        "token_used",
    ));
    Ok(rows)
}

async fn certificates(world: &World) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    // An agent that enrols under another host's name gets a certificate that speaks for its own.
    let token = world.token("mine", Duration::from_secs(60)).await?;
    let Ok(identity) = enrol(world.address, &token, "victim").await? else {
        anyhow::bail!("not enrolled");
    };
    let _wire = Wire::welcome(world.address, &identity).await?;
    world.way("mine").await?;
    let victim = world.agents.link(&world.cluster, &"victim".into());
    rows.push(Row {
        attack: "another host's name in the request",
        result: format!("speaks for mine, victim: {}", victim.is_some()),
        holds: victim.is_none(),
    });

    let stolen = world.enrolled("robbed").await?;
    let mut wire = Wire::welcome(world.address, &stolen).await?;
    world.way("robbed").await?;
    let by: Text = "prover".into();
    world
        .agents
        .revoke(&world.cluster, &"robbed".into(), &by)
        .await?;
    rows.push(said(
        "a connection while its certificate is revoked",
        &wire.answer().await?,
        "ended",
    ));
    let mut again = Wire::connect(world.address, Some(&stolen)).await?;
    again.say(&hello()?).await?;
    rows.push(said(
        "a revoked certificate",
        &again.answer().await?,
        "certificate_revoked",
    ));

    let old = world.enrolled("moved").await?;
    world.enrolled("moved").await?;
    let mut wire = Wire::connect(world.address, Some(&old)).await?;
    wire.say(&hello()?).await?;
    rows.push(said(
        "the certificate before the newest",
        &wire.answer().await?,
        "certificate_revoked",
    ));

    let elsewhere = World::start().await?;
    let foreign = elsewhere.enrolled("healthy").await?;
    rows.push(
        shut_out(
            "a certificate of another authority",
            world.address,
            &foreign,
        )
        .await?,
    );
    let own = rcgen::generate_simple_self_signed(["healthy".to_owned()])?;
    let own = Identity {
        certificate: own.cert.pem(),
        key: own.signing_key.serialize_pem(),
    };
    rows.push(shut_out("a certificate signed by itself", world.address, &own).await?);
    let mixed = Identity {
        certificate: world.enrolled("mixed").await?.certificate,
        key: own.key,
    };
    rows.push(shut_out("a certificate without its key", world.address, &mixed).await?);

    let mut wire = Wire::connect(world.address, None).await?;
    wire.say(&hello()?).await?;
    rows.push(said(
        "a hello without a certificate",
        &wire.answer().await?,
        "certificate_missing",
    ));
    Ok(rows)
}

async fn frames(world: &World) -> Result<Vec<Row>> {
    let identity = world.enrolled("talker").await?;
    let reading = |ask| FromAgent::Done { ask, error: None };
    let long = u32::try_from(MAX_FRAME + 1)?.to_be_bytes();
    let garbage = Frame::Message(b"{\"type\":\"look\"".to_vec()).encode()?;
    let unknown = Frame::Message(b"{\"type\":\"sudo\"}".to_vec()).encode()?;
    let not_utf8 = Frame::Message(vec![0xff, 0xfe]).encode()?;
    let data = Frame::Data {
        ask: 77,
        bytes: vec![0; 1000],
    };
    let second = Frame::Message(serde_json::to_vec(&hello()?)?).encode()?;
    let cases: [(&'static str, Vec<u8>); 6] = [
        ("a frame that claims too much", [&long[..], &[0]].concat()),
        ("a frame of unknown kind", vec![0, 0, 0, 1, 7, 0]),
        ("half a message", garbage),
        ("a message that is not in the protocol", unknown),
        ("bytes that are no text", not_utf8),
        ("a second hello", second),
    ];
    let mut rows = Vec::new();
    for (attack, bytes) in cases {
        let mut wire = Wire::welcome(world.address, &identity).await?;
        wire.raw(&bytes).await;
        rows.push(said(attack, &wire.answer().await?, "ended"));
        let mut stranger = Wire::connect(world.address, None).await?;
        stranger.raw(&bytes).await;
        let answer = stranger.answer().await?;
        let holds = matches!(
            answer,
            Answer::Ended | Answer::Message(ToAgent::Goodbye { .. })
        );
        if !holds {
            rows.push(said(attack, &answer, "ended"));
        }
    }
    // Answers to what nobody asked are dropped, and the connection goes on.
    let mut wire = Wire::welcome(world.address, &identity).await?;
    wire.raw(&data.encode()?).await;
    wire.say(&reading(4711)).await?;
    let way = world.way("talker").await?;
    let look = tokio::spawn(async move { way.look(&[Probe::Files]).await });
    let Answer::Message(ToAgent::Ask { ask, .. }) = wire.answer().await? else {
        anyhow::bail!("no ask");
    };
    // Another ask's answer is no answer.
    wire.say(&reading(ask + 1)).await?;
    wire.say(&reading(ask)).await?;
    let answered = look.await?.is_ok();
    rows.push(Row {
        attack: "answers to what nobody asked",
        result: if answered { "dropped" } else { "taken" }.to_owned(),
        holds: answered,
    });
    Ok(rows)
}

/// Seeded garbage, before and after the welcome.
async fn fuzz(world: &World, args: &Args) -> Result<Row> {
    let rounds = args.size.pick(60, 1000);
    let mut random = Random::new(args.seed);
    let mut next = move || random.next();
    let identity = world.enrolled("fuzzer").await?;
    let good = Frame::Message(serde_json::to_vec(&FromAgent::Pong)?).encode()?;
    for round in 0..rounds {
        let mut wire = match round % 2 {
            0 => Wire::welcome(world.address, &identity).await?,
            _ => Wire::connect(world.address, None).await?,
        };
        let mut bytes = good.clone();
        for _ in 0..next() % 8 {
            let at = usize::try_from(next())? % bytes.len();
            bytes[at] = u8::try_from(next() % 256)?;
        }
        bytes.extend((0..next() % 64).map(|_| (next() % 256) as u8));
        wire.raw(&bytes).await;
        // It waits for the rest of a frame, or has ended: either is fine, as long as it goes on for others.
    }
    Ok(Row {
        attack: "seeded garbage",
        result: format!("{rounds} connections"),
        holds: world.store.agents(&world.cluster).await.is_ok(),
    })
}
