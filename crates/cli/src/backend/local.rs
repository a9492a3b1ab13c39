//! The engine in this process, with the record in the user's folder.

use std::sync::{Arc, Mutex};

use api::{
    Acted, CordonBody, Doctor, DrainBody, NodeFindings, NodeView, OperationView, PlanView,
    StreamLine,
};
use futures::{StreamExt, TryStreamExt};
use hosts::Way;
use kubernetes::{Cluster, Mirror, MirrorOptions};
use model::Person;
use model::{OperationId, Selector, Snapshot, Time};
use operations::drain::Plan;
use operations::kernel::Kind;
use operations::kinds::Flaw;
use service::{
    Command, DrainRequest, Options, RECORD_FORMAT, Scheduling, Service, StepRequest, Ways,
};
use store::{Filter, Store};

use super::follow::{self, Lines};
use super::record::Records;
use super::{Need, Started};
use crate::args::{Global, SshArgs};
use crate::failure::Failure;

/// So many hosts are looked at at once.
const LOOKS: usize = 8;

pub(crate) struct Local {
    pub(crate) records: Records,
    connected: Option<Connected>,
    /// The engine of the one operation this process runs.
    running: Mutex<Option<Service>>,
}

/// A cluster with an engine that plans and writes no record.
struct Connected {
    cluster: Cluster,
    mirror: Mirror,
    engine: Service,
    options: Options,
}

impl Local {
    pub(crate) async fn connect(global: &Global, need: Need) -> Result<Self, Failure> {
        let records = Records::new(global.record.as_deref())?;
        let mirror = match need {
            Need::Record => None,
            Need::Nodes => Some(MirrorOptions::nodes_only()),
            Need::Everything => Some(MirrorOptions::default()),
        };
        let connected = match mirror {
            Some(mirror) => Some(Connected::new(global, &mirror).await?),
            None => None,
        };
        Ok(Self {
            records,
            connected,
            running: Mutex::default(),
        })
    }

    fn connected(&self) -> Result<&Connected, Failure> {
        self.connected
            .as_ref()
            .ok_or_else(|| Failure::internal("this command has no cluster"))
    }

    fn keep(&self, engine: &Service) {
        if let Ok(mut running) = self.running.lock() {
            *running = Some(engine.clone());
        }
    }

    /// Ends what this process runs; it can be taken up again.
    pub(crate) async fn stop(&self) {
        let engine = self
            .running
            .lock()
            .ok()
            .and_then(|mut running| running.take());
        if let Some(engine) = engine {
            engine.stop().await;
        }
    }

    /// The picture of the cluster.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, Failure> {
        let connected = self.connected()?;
        Ok(connected.engine.snapshot(&connected.cluster.id).await?)
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, Failure> {
        let connected = self.connected()?;
        let snapshot = connected.engine.snapshot(&connected.cluster.id).await?;
        Ok(NodeView::all(&snapshot, Time::now()))
    }

    /// What is wrong with these nodes.
    pub(crate) async fn doctor(&self, names: &[String], ssh: &SshArgs) -> Result<Doctor, Failure> {
        let connected = self.connected()?;
        let snapshot = connected.engine.snapshot(&connected.cluster.id).await?;
        let now = Time::now();
        let (mut nodes, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            match NodeFindings::of(&snapshot, name, now) {
                Some(findings) => nodes.push(findings),
                None => unknown.push(name.clone()),
            }
        }
        if unknown.is_empty() {
            if ssh.is_on() {
                let looks = names.iter().map(|name| self.examined(name, ssh));
                let looks = futures::stream::iter(looks).buffered(LOOKS);
                nodes = looks.try_collect().await?;
            } else {
                let asked = nodes
                    .into_iter()
                    .map(|findings| connected.measured(&snapshot, findings));
                let asked = futures::stream::iter(asked).buffered(LOOKS);
                nodes = asked.collect().await;
            }
            Ok(Doctor::named(nodes, now))
        } else {
            Err(service::ServiceError::UnknownNodes { nodes: unknown }.into())
        }
    }

    /// What is wrong with all nodes.
    pub(crate) async fn doctor_all(&self) -> Result<Doctor, Failure> {
        let connected = self.connected()?;
        let snapshot = connected.engine.snapshot(&connected.cluster.id).await?;
        Ok(Doctor::of(&snapshot, Time::now()))
    }

    /// Names of the nodes with these labels.
    pub(crate) async fn select(&self, selector: &Selector) -> Result<Vec<String>, Failure> {
        let connected = self.connected()?;
        let snapshot = connected.engine.snapshot(&connected.cluster.id).await?;
        let chosen = snapshot
            .nodes
            .iter()
            .filter(|node| selector.matches(&node.labels));
        Ok(chosen.map(|node| node.name.to_string()).collect())
    }

    /// Returns when something about nodes has changed since the last call.
    pub(crate) async fn changed(&self, seen: &mut Option<Snapshots>) -> Result<(), Failure> {
        let connected = self.connected()?;
        let snapshots = seen.get_or_insert_with(|| connected.mirror.subscribe());
        let stopped = || Failure::new("mirror_stopped");
        snapshots.changed().await.map_err(|_| stopped())
    }

    pub(crate) async fn plan(&self, body: &DrainBody) -> Result<PlanView, Failure> {
        let connected = self.connected()?;
        let by = connected.person().await;
        let id = &connected.cluster.id;
        let (plan, flaws) = connected
            .engine
            .plan(id, &by, &request(body), body.verify)
            .await?;
        Ok(PlanView::of(id.clone(), plan, flaws))
    }

    pub(crate) async fn set_schedulable(
        &self,
        cordon: bool,
        body: &CordonBody,
    ) -> Result<Vec<Acted>, Failure> {
        let connected = self.connected()?;
        let scheduling = Scheduling {
            nodes: body.nodes.clone(),
            cordon,
            reason: body.reason.as_str().into(),
            ticket: body.ticket.as_deref().map(Into::into),
            force: body.force,
            dry_run: body.dry_run,
        };
        let engine = if body.dry_run {
            connected.engine.clone()
        } else {
            // Before the first node is touched, so that a folder that cannot be written stops it.
            connected.engine_over(self.records.scheduling().await?, connected.options.clone())
        };
        let by = connected.person().await;
        let answers = engine
            .set_schedulable(&connected.cluster.id, &by, &scheduling)
            .await?;
        let acted = answers.into_iter().map(|answer| Acted {
            node: answer.node.to_string(),
            changed: *answer.answer.as_ref().unwrap_or(&false),
            refusal: answer.answer.err(),
        });
        Ok(acted.collect())
    }

    /// Starts a drain, or takes up the unfinished one of exactly these nodes.
    pub(crate) async fn drain(&self, body: &DrainBody) -> Result<Started, Failure> {
        let connected = self.connected()?;
        match self.unfinished(connected, &body.nodes).await? {
            Some(found) if &*found.kind == operations::drain::Drain::NAME => {
                return self.take_up(&found).await;
            }
            Some(found) => return Err(busy(&found, &body.nodes)),
            None => {}
        }
        let by = connected.person().await;
        let (cluster, request) = (&connected.cluster.id, request(body));
        let (plan, flaws) = connected.engine.plan(cluster, &by, &request, false).await?;
        refuse(plan, &flaws)?;
        let id = connected.engine.new_id();
        let options = connected.options.clone();
        let engine = connected.engine_over(self.records.create(&id)?, options);
        let begun = engine.drain_as(id.clone(), cluster, &by, &request).await;
        self.begun(&engine, &id, begun.map(drop)).await?;
        self.keep(&engine);
        Ok(Started {
            operation: id,
            nodes: body.nodes.clone(),
            taken_up_at: None,
        })
    }

    /// Takes a step on a host by this way, or takes up the unfinished one that is the same, and waits for its end.
    pub(super) async fn step(
        &self,
        way: Way,
        request: StepRequest,
    ) -> Result<operations::step::State, Failure> {
        let connected = self.connected()?;
        let options = Options {
            ways: Ways::by(move |_, _| Some(way.clone())),
            ..connected.options.clone()
        };
        let nodes = std::slice::from_ref(&request.node);
        if let Some(found) = self.unfinished(connected, nodes).await? {
            if found.action.as_ref() != Some(&request.action) {
                return Err(busy(&found, nodes));
            }
            let engine = connected.engine_over(self.records.open(&found.id)?, options);
            let by = connected.person().await;
            engine.command(&found.id, &by, Command::Resume).await?;
            self.keep(&engine);
            return Ok(engine.step_end(&found.id).await?);
        }
        let by = connected.person().await;
        let id = connected.engine.new_id();
        // Before the host is touched, so that a folder that cannot be written stops it.
        let engine = connected.engine_over(self.records.create(&id)?, options);
        let begun = engine.begin_step(id.clone(), &connected.cluster.id, &by, request);
        self.begun(&engine, &id, begun.await.map(drop)).await?;
        self.keep(&engine);
        Ok(engine.step_end(&id).await?)
    }

    /// Unless the first event is in it, the record of an operation that was not begun holds nothing that anybody misses.
    async fn begun(
        &self,
        engine: &Service,
        id: &OperationId,
        begun: Result<(), service::ServiceError>,
    ) -> Result<(), Failure> {
        let Err(error) = begun else { return Ok(()) };
        if matches!(engine.store().operation(id).await, Ok(None)) {
            self.records.discard(id);
        }
        Err(Failure::from(error).at(&self.records.path(id)))
    }

    /// The unfinished operation of these nodes.
    async fn unfinished(
        &self,
        connected: &Connected,
        nodes: &[String],
    ) -> Result<Option<OperationView>, Failure> {
        let filter = Filter {
            ended: Some(false),
            cluster: Some(connected.cluster.id.clone()),
            ..Filter::default()
        };
        let (active, _) = self.records.list(&filter).await?;
        for view in active {
            let mut theirs: Vec<_> = view
                .nodes
                .iter()
                .map(|node| node.name.to_string())
                .collect();
            if theirs.is_empty() {
                // Its plan was not written any more: what it was asked for counts.
                theirs = self.asked(&view.id).await?;
            }
            let shared = theirs.iter().find(|name| nodes.contains(name)).cloned();
            let Some(shared) = shared else { continue };
            if theirs.len() == nodes.len() && theirs.iter().all(|name| nodes.contains(name)) {
                return Ok(Some(view));
            }
            return Err(busy(&view, &[shared]));
        }
        Ok(None)
    }

    async fn asked(&self, id: &OperationId) -> Result<Vec<String>, Failure> {
        let state = self.records.reader(id)?.state(id).await?.state;
        Ok(state
            .head()
            .nodes
            .iter()
            .map(|node| node.name.to_string())
            .collect())
    }

    async fn take_up(&self, found: &OperationView) -> Result<Started, Failure> {
        let id = &found.id;
        let nodes: Vec<_> = self.asked(id).await?;
        let store = self
            .records
            .open(id)
            .map_err(|failure| match failure.code.as_str() {
                "operation_held" => Failure {
                    code: "operation_running".to_owned(),
                    ..failure
                }
                .with("nodes", nodes.clone()),
                _ => failure,
            })?;
        self.resume(store, id, nodes).await
    }

    async fn resume(
        &self,
        store: Store,
        id: &OperationId,
        nodes: Vec<String>,
    ) -> Result<Started, Failure> {
        let connected = self.connected()?;
        let engine = connected.engine_over(store, connected.options.clone());
        let before = engine.state(id).await?;
        let cluster = before.state.head().cluster;
        if *cluster != connected.cluster.id {
            let failure = Failure::new("record_here").with("operation", id.to_string());
            return Err(failure.with("cluster", cluster.to_string()));
        }
        let by = connected.person().await;
        engine.command(id, &by, Command::Resume).await?;
        self.keep(&engine);
        Ok(Started {
            operation: id.clone(),
            nodes,
            taken_up_at: Some(before.seq),
        })
    }

    /// Gives a command to an operation no process runs: from then on this one does.
    pub(crate) async fn command(
        &self,
        id: &OperationId,
        command: Command,
    ) -> Result<Started, Failure> {
        let nodes = self.asked(id).await?;
        let store = self.records.open(id)?;
        if command == Command::Resume {
            return self.resume(store, id, nodes).await;
        }
        let connected = self.connected()?;
        let engine = connected.engine_over(store, connected.options.clone());
        let before = engine.state(id).await?;
        let by = connected.person().await;
        let status = engine.command(id, &by, command).await?;
        if let Some(fault) = &status.fault {
            return Err(fault_of(fault).at(&self.records.path(id)));
        }
        self.keep(&engine);
        Ok(Started {
            operation: id.clone(),
            nodes,
            taken_up_at: Some(before.seq),
        })
    }

    pub(crate) async fn operation(&self, id: &OperationId) -> Result<OperationView, Failure> {
        let status = self.records.reader(id)?.state(id).await;
        let status = status.map_err(|error| Failure::from(error).at(&self.records.path(id)))?;
        Ok(status.view())
    }

    pub(crate) async fn events(&self, id: &OperationId) -> Result<Vec<StreamLine>, Failure> {
        let lines = self.records.reader(id)?.events(id, 0).await;
        let lines = lines.map_err(|error| Failure::from(error).at(&self.records.path(id)))?;
        let event = |line: service::Line| StreamLine::Event {
            seq: line.seq,
            recorded: line.recorded,
        };
        Ok(lines.into_iter().map(event).collect())
    }

    /// The lines of an operation from its first event on: live when this process runs it, else from its record.
    pub(crate) fn follow(&self, id: &OperationId) -> Result<Lines, Failure> {
        let running = self.running.lock().ok().and_then(|running| running.clone());
        match running {
            Some(engine) => Ok(follow::live(engine, id.clone(), self.records.path(id))),
            None => Ok(follow::recorded(
                self.records.clone(),
                self.records.reader(id)?,
                id.clone(),
            )),
        }
    }
}

impl Connected {
    /// The findings of a node with what its node_exporter tells, when it has one.
    async fn measured(&self, snapshot: &Snapshot, findings: NodeFindings) -> NodeFindings {
        let node = snapshot.node(&findings.node);
        let pod = diagnosis::exporter(snapshot, &findings.node);
        let Some((node, pod)) = node.zip(pod) else {
            return findings;
        };
        let (asked, port) = (Time::now(), diagnosis::EXPORTER_PORT);
        let answer = self.cluster.pod_metrics(&pod.key, port).await;
        NodeFindings::measured(snapshot, node, pod, answer, asked, Time::now())
    }

    async fn new(global: &Global, mirror: &MirrorOptions) -> Result<Self, Failure> {
        let cluster = Cluster::connect(&super::connect(global)).await?;
        let mut options = Options::default();
        if let Some(timeout) = global.request_timeout() {
            options.request_timeout = timeout;
        }
        let mirror = Mirror::with_options(&cluster, mirror);
        let store = Store::in_memory(store::Options::new(RECORD_FORMAT)).map_err(Failure::store)?;
        let engine = Service::new(store, options.clone());
        engine.add(cluster.clone(), mirror.clone());
        Ok(Self {
            cluster,
            mirror,
            engine,
            options,
        })
    }

    fn engine_over(&self, store: Store, options: Options) -> Service {
        let engine = Service::new(store, options);
        engine.add(self.cluster.clone(), self.mirror.clone());
        engine
    }

    /// Who we are to the cluster; the name in the kubeconfig where it does not say.
    async fn person(&self) -> Person {
        match self.cluster.whoami().await {
            Ok(identity) if !identity.user.is_empty() => Person {
                user: identity.user.into(),
                groups: identity.groups.into_iter().map(Into::into).collect(),
            },
            _ => Person {
                user: self.cluster.user.clone(),
                groups: Vec::new(),
            },
        }
    }
}

/// Changes of the picture of a cluster.
pub(crate) type Snapshots = tokio::sync::watch::Receiver<Option<std::sync::Arc<model::Snapshot>>>;

/// A fault of a task as our error.
pub(crate) fn fault_of(fault: &service::Fault) -> Failure {
    let mut failure = Failure::new(service::code_of(fault));
    failure.params = service::params_of(fault);
    failure
}

fn request(body: &DrainBody) -> DrainRequest {
    DrainRequest {
        nodes: body.nodes.clone(),
        options: body.options.clone(),
        reason: body.reason.as_str().into(),
        ticket: body.ticket.as_deref().map(Into::into),
    }
}

/// What the engine would refuse, before there is a record.
fn refuse(plan: Plan, flaws: &[operations::drain::Flaw]) -> Result<(), Failure> {
    if !flaws.is_empty() {
        return Err(service::ServiceError::PlanFlawed {
            flaws: flaws.iter().cloned().map(Flaw::Drain).collect(),
        }
        .into());
    }
    if plan.refused().next().is_some() {
        return Err(service::ServiceError::PlanRefused {
            plan: Box::new(plan),
        }
        .into());
    }
    Ok(())
}

/// An unfinished operation has these nodes, and is another than the one that is asked for.
fn busy(found: &OperationView, nodes: &[String]) -> Failure {
    Failure::new("node_busy")
        .with("node", nodes.first().cloned())
        .with("operation", found.id.to_string())
}
