use std::sync::Arc;
use std::time::Duration;

use host::{Action, Ask, FromAgent, Order, Probe, Reading, Refusal, Unit};
use model::{ClusterId, Text};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::Agents;
use super::session::{Asked, Event, Session};
use crate::error::HostError;
use crate::way::{Acted, LOOK_DEADLINE, Piece, Pieces};

/// How long an agent that was lost while it carried out an order may take to come back. A reboot is part of that.
const COMES_BACK: Duration = Duration::from_secs(180);
/// Evidence must be complete within this; the agent gives each source its own deadline.
const EVIDENCE_DEADLINE: Duration = Duration::from_secs(30);
/// So many pieces of a file wait for whoever reads it.
const PIECES: usize = 8;
/// No text of a reading is longer. What was no UTF-8 has become three bytes for each.
const READING: usize = 3 * Reading::LIMIT;
/// Between two questions whether an order that runs has ended.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The way to one host by its agent, over whichever connection it has at the time.
#[derive(Clone, Debug)]
pub struct AgentLink {
    agents: Agents,
    cluster: ClusterId,
    node: Text,
}

impl AgentLink {
    pub(super) fn new(agents: Agents, cluster: ClusterId, node: Text) -> Self {
        Self {
            agents,
            cluster,
            node,
        }
    }

    fn host(&self) -> String {
        self.node.to_string()
    }

    fn lost(&self) -> HostError {
        HostError::Lost { host: self.host() }
    }

    fn session(&self) -> Result<Arc<Session>, HostError> {
        self.agents
            .session(&self.cluster, &self.node)
            .ok_or_else(|| HostError::NotConnected { node: self.host() })
    }

    fn ask(&self, what: Ask) -> Result<Asked, HostError> {
        self.session()?.ask(what).ok_or_else(|| self.lost())
    }

    fn silent(&self, after: Duration) -> HostError {
        HostError::Silent {
            host: self.host(),
            seconds: after.as_secs(),
        }
    }

    /// What cannot come for this ask.
    fn nonsense(&self, event: &Event) -> HostError {
        let what = match event {
            Event::Message(message) => format!("{message:?}"),
            Event::Data(_) => "data without a file".to_owned(),
        };
        HostError::Nonsense {
            host: self.host(),
            detail: what.chars().take(200).collect(),
        }
    }

    pub(crate) async fn look(&self, probes: &[Probe]) -> Result<Vec<Reading>, HostError> {
        let mut asked = self.ask(Ask::Look {
            probes: probes.to_vec(),
        })?;
        let mut readings = Vec::new();
        // Around the whole: who always has something ready would never be late for one thing.
        let read = timeout_at(
            Instant::now() + LOOK_DEADLINE,
            self.read(&mut asked, probes, &mut readings),
        );
        match read.await {
            Ok(Ok(())) => Ok(readings),
            Ok(Err(error)) => Err(error),
            // What is there is better than nothing.
            Err(_) if !readings.is_empty() => Ok(readings),
            Err(_) => Err(self.silent(LOOK_DEADLINE)),
        }
    }

    /// One reading of each probe that was asked: a host cannot make us keep more.
    async fn read(
        &self,
        asked: &mut Asked,
        probes: &[Probe],
        readings: &mut Vec<Reading>,
    ) -> Result<(), HostError> {
        loop {
            // The deadline is looked at even when something is ready each time.
            tokio::task::consume_budget().await;
            let event = asked.next().await.ok_or_else(|| self.lost())?;
            match event {
                Event::Message(FromAgent::Read { reading, .. }) => {
                    let asked_for = probes.contains(&reading.probe);
                    let again = readings.iter().any(|one| one.probe == reading.probe);
                    if !asked_for || again {
                        return Err(
                            self.too_much("a reading that was not asked for, or a second one")
                        );
                    }
                    if reading.text.len() > READING {
                        return Err(self.too_much("a reading longer than any may be"));
                    }
                    readings.push(reading);
                }
                Event::Message(FromAgent::Done { .. }) => return Ok(()),
                other => return Err(self.nonsense(&other)),
            }
        }
    }

    fn too_much(&self, what: &str) -> HostError {
        HostError::Nonsense {
            host: self.host(),
            detail: what.to_owned(),
        }
    }

    /// Sends the order until its end is known: the agent's ledger sees to it that it is carried out once, however often
    /// it is sent.
    pub(crate) async fn act(&self, order: &Order) -> Result<Acted, HostError> {
        let limit = Duration::from_secs(order.action.deadline()) + COMES_BACK;
        let deadline = Instant::now() + limit;
        // The first try needs a connection now; only a lost one is waited for.
        let mut session = self.session()?;
        loop {
            if session.boot != order.boot && matches!(order.action, Action::Reboot) {
                return Ok(Acted {
                    ok: true,
                    output: session.boot.to_string(),
                    repeated: false,
                });
            }
            match self.try_act(&session, order, deadline).await {
                Err(HostError::Lost { .. }) => {
                    session = self.another(&session, deadline).await?;
                }
                // It is still being carried out, since a connection before this one.
                Err(HostError::Refused {
                    refusal: Refusal::Busy { generation },
                    ..
                }) if generation == order.generation && Instant::now() < deadline => {
                    sleep(ASK_AGAIN).await;
                }
                end => return end,
            }
        }
    }

    async fn try_act(
        &self,
        session: &Arc<Session>,
        order: &Order,
        deadline: Instant,
    ) -> Result<Acted, HostError> {
        let ask = Ask::Act {
            order: order.clone(),
        };
        let mut asked = session.ask(ask).ok_or_else(|| self.lost())?;
        match timeout_at(deadline, asked.next()).await {
            Err(_) => Err(self.silent(Duration::from_secs(order.action.deadline()))),
            Ok(None) => Err(self.lost()),
            Ok(Some(Event::Message(FromAgent::Acted {
                ok,
                output,
                repeated,
                ..
            }))) => Ok(Acted {
                ok,
                output,
                repeated,
            }),
            Ok(Some(Event::Message(FromAgent::Interrupted { .. }))) => {
                Err(HostError::Interrupted { host: self.host() })
            }
            Ok(Some(Event::Message(FromAgent::Refused { refusal, .. }))) => {
                Err(HostError::Refused {
                    host: self.host(),
                    refusal,
                })
            }
            Ok(Some(other)) => Err(self.nonsense(&other)),
        }
    }

    /// The connection after this one.
    async fn another(
        &self,
        before: &Arc<Session>,
        deadline: Instant,
    ) -> Result<Arc<Session>, HostError> {
        let mut changed = self.agents.0.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(session) = self.agents.session(&self.cluster, &self.node)
                && !Arc::ptr_eq(&session, before)
            {
                return Ok(session);
            }
            match timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(self.lost()),
            }
        }
    }

    pub(crate) async fn log(
        &self,
        unit: Unit,
        since: Duration,
        follow: bool,
    ) -> Result<Pieces, HostError> {
        let asked = self.ask(Ask::Log {
            unit,
            since_seconds: since.as_secs(),
            follow,
        })?;
        Ok(self.pieces(asked, None))
    }

    pub(crate) async fn evidence(&self, since: Duration) -> Result<Pieces, HostError> {
        let asked = self.ask(Ask::Evidence {
            since_seconds: since.as_secs(),
        })?;
        Ok(self.pieces(asked, Some(EVIDENCE_DEADLINE)))
    }

    fn pieces(&self, mut asked: Asked, limit: Option<Duration>) -> Pieces {
        let (sender, pieces) = mpsc::channel(PIECES);
        let link = self.clone();
        let deadline = limit.map(|limit| (limit, Instant::now() + limit));
        tokio::spawn(async move {
            let mut file = None;
            loop {
                let event = tokio::select! {
                    event = asked.next() => event,
                    // Nobody reads any more; dropping the ask stops the agent.
                    () = sender.closed() => return,
                    () = async { match deadline {
                        Some((_, deadline)) => tokio::time::sleep_until(deadline).await,
                        None => std::future::pending().await,
                    } } => {
                        let limit = deadline.map_or(Duration::ZERO, |(limit, _)| limit);
                        let _ = sender.send(Err(link.silent(limit))).await;
                        return;
                    }
                };
                let piece = match (event, &file) {
                    (Some(Event::Message(FromAgent::File { name, .. })), _) => {
                        file = Some(name);
                        continue;
                    }
                    (Some(Event::Data(bytes)), Some(file)) => {
                        Piece::new(&link.host(), file.clone(), bytes)
                    }
                    (Some(Event::Message(FromAgent::Done { error: None, .. })), _) => return,
                    (
                        Some(Event::Message(FromAgent::Done {
                            error: Some(detail),
                            ..
                        })),
                        _,
                    ) => Err(HostError::Failed {
                        host: link.host(),
                        detail,
                    }),
                    (Some(other), _) => Err(link.nonsense(&other)),
                    (None, _) => Err(link.lost()),
                };
                let ends = piece.is_err();
                if sender.send(piece).await.is_err() || ends {
                    return;
                }
            }
        });
        pieces
    }
}
