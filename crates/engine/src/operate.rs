//! Planning, starting, steering and watching operations.

use std::sync::Arc;

use futures::StreamExt;
use kubernetes::Writer;
use model::{ClusterId, OperationId, ResourceVersion, Snapshot, Text, Time};
use operations::drain::{
    Disposition, Event, Flaw, Options, Person, Plan, Recorded, Request, State, lint, plan,
};
use store::{Filter, OperationRow};
use tokio::sync::{broadcast, mpsc, watch};

use crate::access;
use crate::engine::{Engine, Member};
use crate::error::EngineError;
use crate::runner::{Line, Runner, Status, new_event};

/// A drain to plan or to start.
#[derive(Clone, Debug, Default)]
pub struct DrainRequest {
    /// Names of the nodes, in order.
    pub nodes: Vec<String>,
    /// How.
    pub options: Options,
    /// Why.
    pub reason: Text,
    /// A ticket.
    pub ticket: Option<Text>,
}

/// What a person may tell a running operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Stop and undo what is ours.
    Cancel,
}

/// The task of an operation, from outside.
#[derive(Clone)]
pub(crate) struct Running {
    commands: mpsc::Sender<(Command, Person)>,
    status: watch::Receiver<Status>,
    lines: broadcast::Sender<Line>,
}

impl Running {
    pub(crate) fn has_ended(&self) -> bool {
        self.status.borrow().state.ended.is_some()
    }
}

impl Engine {
    /// Plans a drain and lints the plan. With `verify`, the server is asked about every pod that would be evicted
    /// (dry-run eviction), and its answers stand in the plan. Writes nothing.
    pub async fn plan(
        &self,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
        verify: bool,
    ) -> Result<(Plan, Vec<Flaw>), EngineError> {
        let member = self.member(cluster)?;
        access::check(
            &member.cluster,
            self.impersonated(by),
            vec![access::Need::read_nodes()],
        )
        .await?;
        let snapshot = self.snapshot(cluster).await?;
        let request = self.request(self.new_id(), cluster, by, request, &snapshot)?;
        let (mut plan, flaws) = planned(&request, &snapshot);
        if verify {
            verify_plan(&self.writer(&member, by)?, &mut plan, &snapshot).await;
        }
        Ok((plan, flaws))
    }

    /// Starts a drain: plans, lints, checks rights, records, and hands it to a task of its own.
    ///
    /// # Errors
    /// [`EngineError::PlanRefused`] when a flag is missing, [`EngineError::MissingRights`], `NodeBusy` of the store when
    /// another operation has one of the nodes. Nothing has been written to the cluster then.
    pub async fn drain(
        &self,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
    ) -> Result<OperationId, EngineError> {
        self.drain_as(self.new_id(), cluster, by, request).await
    }

    /// Like [`Engine::drain`], under an id that [`Engine::new_id`] made before: the command names the operation's record
    /// by it.
    pub async fn drain_as(
        &self,
        id: OperationId,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
    ) -> Result<OperationId, EngineError> {
        let member = self.member(cluster)?;
        let snapshot = self.snapshot(cluster).await?;
        let request = self.request(id, cluster, by, request, &snapshot)?;
        let (plan, flaws) = planned(&request, &snapshot);
        if !flaws.is_empty() {
            return Err(EngineError::PlanFlawed { flaws });
        }
        if plan.refused().next().is_some() {
            return Err(EngineError::PlanRefused {
                plan: Box::new(plan),
            });
        }
        access::check(
            &member.cluster,
            self.impersonated(by),
            access::of_plan(&plan),
        )
        .await?;
        let row = OperationRow {
            id: request.id.clone(),
            cluster: cluster.clone(),
            kind: "drain".into(),
            version: 1,
            parent: None,
            occupies: true,
            nodes: request.nodes.iter().map(|node| node.name.clone()).collect(),
            by: by.user.clone(),
            created: request.at,
        };
        let id = request.id.clone();
        let at = request.at;
        let turn = self.starting(&id);
        let _turn = turn.lock().await;
        let first = [Event::Requested { request }, Event::Planned { plan }];
        let first: Vec<_> = first.iter().map(|event| new_event(at, event)).collect();
        self.store().begin(row, first).await?;
        self.start(&member, &id, None).await?;
        Ok(id)
    }

    /// Takes up an operation of the record, unless its task runs already. A record that stops before its plan was
    /// written is planned now.
    pub async fn resume(&self, id: &OperationId) -> Result<(), EngineError> {
        self.take_up(id, None).await.map(drop)
    }

    /// Takes it up with a command that its task hears before it begins anything: what was paused or cancelled evicts no
    /// pod first. Whether the command was handed over; it was not when a task runs already.
    async fn take_up(
        &self,
        id: &OperationId,
        command: Option<(Command, Person)>,
    ) -> Result<bool, EngineError> {
        let turn = self.starting(id);
        let _turn = turn.lock().await;
        if self
            .running(id)
            .is_some_and(|running| running.status.borrow().fault.is_none())
        {
            return Ok(false);
        }
        let recorded = self.store().operation(id).await?;
        let recorded = recorded.ok_or_else(|| EngineError::UnknownOperation {
            operation: id.clone(),
        })?;
        if recorded.ended.is_some() {
            return Err(EngineError::OperationEnded {
                operation: id.clone(),
            });
        }
        let member = self.member(&recorded.operation.cluster)?;
        self.start(&member, id, command).await?;
        Ok(true)
    }

    async fn start(
        &self,
        member: &Member,
        id: &OperationId,
        command: Option<(Command, Person)>,
    ) -> Result<(), EngineError> {
        let snapshot = member.synced().await?;
        let (mut state, mut seq) = self.replay(id).await?;
        let now = Time::now();
        let mut first = Vec::new();
        if state.plan.is_none() {
            let (plan, _) = planned(&state.request, &snapshot);
            first.push(Event::Planned { plan });
        } else if seq > 2 {
            first.push(Event::Restarted);
        }
        for event in first {
            state
                .apply(now, &event)
                .map_err(|source| EngineError::Illegal {
                    operation: id.clone(),
                    source,
                })?;
            seq = self
                .store()
                .append(id, seq + 1, vec![new_event(now, &event)])
                .await?;
        }
        let (commands, receiver) = mpsc::channel(16);
        if let Some(command) = command {
            // The channel is empty: there is room.
            let _ = commands.try_send(command);
        }
        let (lines, _) = broadcast::channel(4096);
        let state = Arc::new(state);
        let status = Status {
            state: state.clone(),
            seq,
            waiting: Arc::default(),
            fault: None,
        };
        let (status, status_out) = watch::channel(status);
        let runner = Runner {
            store: self.store().clone(),
            writer: self.writer(member, &state.request.by)?,
            snapshots: member.mirror.subscribe(),
            commands: receiver,
            status,
            lines: lines.clone(),
            state,
            seq,
        };
        self.keep(
            id,
            Running {
                commands,
                status: status_out,
                lines,
            },
            runner.run(),
        );
        Ok(())
    }

    /// Tells an operation to pause, resume or cancel, and waits until that is in the record. The person needs the right
    /// to patch every node of it; to resume it, every right its plan needs, because then pods go at their word.
    pub async fn command(
        &self,
        id: &OperationId,
        by: &Person,
        command: Command,
    ) -> Result<Status, EngineError> {
        let mut state = self.state(id).await?.state;
        if state.ended.is_some() {
            return Err(EngineError::OperationEnded {
                operation: id.clone(),
            });
        }
        let member = self.member(&state.request.cluster)?;
        let needs = match (&state.plan, command) {
            (Some(plan), Command::Resume) => access::of_plan(plan),
            _ => {
                let nodes = state.request.nodes.iter();
                nodes.map(|node| access::Need::node(&node.name)).collect()
            }
        };
        access::check(&member.cluster, self.impersonated(by), needs).await?;
        let told = self.take_up(id, Some((command, by.clone()))).await?;
        let ended = || EngineError::OperationEnded {
            operation: id.clone(),
        };
        let running = self.running(id).ok_or_else(ended)?;
        let mut status = running.status.clone();
        if !told {
            let sent = running.commands.send((command, by.clone())).await;
            sent.map_err(|_| ended())?;
        }
        let obeyed = |state: &State| match command {
            Command::Pause => state.paused.is_some(),
            Command::Resume => state.paused.is_none(),
            Command::Cancel => state.cancelled.is_some(),
        };
        while !obeyed(&state) && state.ended.is_none() {
            status.changed().await.map_err(|_| ended())?;
            let now = status.borrow_and_update().clone();
            if let Some(fault) = now.fault {
                tracing::warn!(operation = %id, %fault, "a command was not recorded");
                break;
            }
            state = now.state;
        }
        let status = status.borrow().clone();
        Ok(status)
    }

    /// Where an operation is: live when its task runs here, else from the record.
    pub async fn state(&self, id: &OperationId) -> Result<Status, EngineError> {
        if let Some(running) = self.running(id) {
            return Ok(running.status.borrow().clone());
        }
        let (state, seq) = self.replay(id).await?;
        Ok(Status {
            state: Arc::new(state),
            seq,
            waiting: Arc::default(),
            fault: None,
        })
    }

    /// Operations of the record, newest first.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Status>, EngineError> {
        let mut statuses = Vec::new();
        for recorded in self.store().list(filter).await? {
            statuses.push(self.state(&recorded.operation.id).await?);
        }
        Ok(statuses)
    }

    /// Events recorded after `after`, in order.
    pub async fn events(&self, id: &OperationId, after: u64) -> Result<Vec<Line>, EngineError> {
        if self.store().operation(id).await?.is_none() {
            return Err(EngineError::UnknownOperation {
                operation: id.clone(),
            });
        }
        let events = self.store().events(id, after).await?;
        let lines = events.into_iter().map(|stored| {
            let event = serde_json::from_str(&stored.payload).map_err(|source| {
                EngineError::Unreadable {
                    operation: id.clone(),
                    seq: stored.seq,
                    source,
                }
            })?;
            Ok(Line {
                seq: stored.seq,
                recorded: Recorded {
                    at: stored.at,
                    event,
                },
            })
        });
        lines.collect()
    }

    /// A live view of an operation whose task runs here: its status, and a bell that rings for each event. Events
    /// themselves are read with [`Engine::events`], so that none is missed.
    pub fn follow(
        &self,
        id: &OperationId,
    ) -> Option<(watch::Receiver<Status>, broadcast::Receiver<Line>)> {
        self.running(id)
            .map(|running| (running.status.clone(), running.lines.subscribe()))
    }

    async fn replay(&self, id: &OperationId) -> Result<(State, u64), EngineError> {
        let lines = self.events(id, 0).await?;
        let seq = lines.last().map_or(0, |line| line.seq);
        let state = State::replay(
            lines
                .iter()
                .map(|line| (line.recorded.at, &line.recorded.event)),
        );
        let state = state.map_err(|source| EngineError::Illegal {
            operation: id.clone(),
            source,
        })?;
        Ok((state, seq))
    }

    fn request(
        &self,
        id: OperationId,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
        snapshot: &Snapshot,
    ) -> Result<Request, EngineError> {
        Ok(Request {
            id,
            cluster: cluster.clone(),
            nodes: self.resolve(snapshot, &request.nodes)?,
            options: request.options.clone(),
            by: by.clone(),
            reason: request.reason.clone(),
            ticket: request.ticket.clone(),
            at: Time::now(),
        })
    }
}

fn planned(request: &Request, snapshot: &Snapshot) -> (Plan, Vec<Flaw>) {
    let plan = plan(request, snapshot, Time::now());
    let flaws = lint(&plan, &request.options, snapshot);
    (plan, flaws)
}

/// Asks the server about every pod that would go through the eviction API.
async fn verify_plan(writer: &Writer, plan: &mut Plan, snapshot: &Snapshot) {
    let asks = |pod: &Disposition| {
        matches!(
            pod,
            Disposition::Evict | Disposition::Handover | Disposition::Blocked
        )
    };
    let pods = plan
        .nodes
        .iter_mut()
        .flat_map(|node| node.pods.iter_mut())
        .filter(|pod| asks(&pod.disposition));
    futures::stream::iter(pods)
        .for_each_concurrent(16, |pod| async move {
            if snapshot
                .pod(&pod.pod)
                .is_some_and(|seen| seen.uid == pod.uid)
            {
                let unknown = ResourceVersion::default();
                pod.server = Some(writer.evict(&pod.pod, &pod.uid, unknown, None, true).await);
            }
        })
        .await;
}
