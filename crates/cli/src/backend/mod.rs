//! Who does the work: the engine in this process, or a refloat server. Both answer with the types of the API, so that
//! commands behave alike.

mod follow;
mod hosts;
mod local;
mod record;
mod remote;

use std::time::Duration;

use api::{Acted, CordonBody, Doctor, DrainBody, NodeView, OperationView, PlanView, StreamLine};
use kubernetes::Connect;
use model::{OperationId, Selector};
use service::Command;
use store::Filter;

pub(crate) use self::follow::Lines;
use self::local::Local;
pub(crate) use self::local::Snapshots;
pub(crate) use self::record::Records;
use self::remote::Remote;
use crate::args::{Global, SshArgs, Which};
use crate::failure::Failure;

/// What of a cluster a command has to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: the record will do.
    Record,
    /// Nodes and what runs on them.
    Nodes,
    /// Everything a plan reads.
    Everything,
}

/// An operation that goes on now.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) operation: OperationId,
    pub(crate) nodes: Vec<String>,
    /// Number of the newest event when it was taken up; `None` for a new operation.
    pub(crate) taken_up_at: Option<u64>,
}

pub(crate) enum Backend {
    Local(Box<Local>),
    Remote(Remote),
}

impl Backend {
    pub(crate) async fn connect(global: &Global, need: Need) -> Result<Self, Failure> {
        match &global.refloat_server {
            Some(server) => Ok(Self::Remote(Remote::new(server, global)?)),
            None => Ok(Self::Local(Box::new(Local::connect(global, need).await?))),
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Where operations are recorded, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Local(local) => local.records.folder().display().to_string(),
            Self::Remote(remote) => remote.place().to_owned(),
        }
    }

    /// Nodes, by name.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, Failure> {
        let mut nodes = match self {
            Self::Local(local) => local.nodes().await?,
            Self::Remote(remote) => remote.nodes().await?,
        };
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// What is wrong with these nodes, in this order; with a look at their hosts where there is a way.
    pub(crate) async fn doctor(&self, names: &[String], ssh: &SshArgs) -> Result<Doctor, Failure> {
        let doctor = match self {
            Self::Local(local) => local.doctor(names, ssh).await,
            Self::Remote(remote) => remote.doctor(names).await,
        };
        self.explained(doctor).await
    }

    /// What is wrong with which nodes of the cluster.
    pub(crate) async fn doctor_all(&self) -> Result<Doctor, Failure> {
        match self {
            Self::Local(local) => local.doctor_all().await,
            Self::Remote(remote) => remote.doctor_all().await,
        }
    }

    /// Waits for a change of the picture; a server is asked again after a while.
    pub(crate) async fn changed(&self, seen: &mut Option<Snapshots>) -> Result<(), Failure> {
        match self {
            Self::Local(local) => local.changed(seen).await,
            Self::Remote(_) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(())
            }
        }
    }

    /// Names of the nodes that are meant. Names are not checked here.
    pub(crate) async fn which(&self, which: &Which) -> Result<Vec<String>, Failure> {
        which.check()?;
        let Some(selector) = which.labels() else {
            let mut names: Vec<String> = Vec::new();
            for name in &which.nodes {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            return Ok(names);
        };
        let names = self.select(selector).await?;
        if names.is_empty() {
            let text = crate::args::selector::text(selector);
            return Err(Failure::new("nothing_selected").with("selector", text));
        }
        Ok(names)
    }

    /// Names of the nodes with these labels, sorted.
    pub(crate) async fn select(&self, selector: &Selector) -> Result<Vec<String>, Failure> {
        let mut names = match self {
            Self::Local(local) => local.select(selector).await?,
            Self::Remote(remote) => remote.select(selector).await?,
        };
        names.sort();
        Ok(names)
    }

    pub(crate) async fn plan(&self, body: &DrainBody) -> Result<PlanView, Failure> {
        let plan = match self {
            Self::Local(local) => local.plan(body).await,
            Self::Remote(remote) => remote.plan(body).await,
        };
        self.explained(plan).await
    }

    pub(crate) async fn drain(&self, body: &DrainBody) -> Result<Started, Failure> {
        let started = match self {
            Self::Local(local) => local.drain(body).await,
            Self::Remote(remote) => remote.drain(body).await,
        };
        self.explained(started).await
    }

    pub(crate) async fn set_schedulable(
        &self,
        cordon: bool,
        body: &CordonBody,
    ) -> Result<Vec<Acted>, Failure> {
        let acted = match self {
            Self::Local(local) => local.set_schedulable(cordon, body).await,
            Self::Remote(remote) => remote.set_schedulable(cordon, body).await,
        };
        self.explained(acted).await
    }

    /// Operations, newest first, and what of the record could not be read.
    pub(crate) async fn operations(
        &self,
        filter: &Filter,
    ) -> Result<(Vec<OperationView>, Vec<Failure>), Failure> {
        match self {
            Self::Local(local) => local.records.list(filter).await,
            Self::Remote(remote) => Ok((remote.operations(filter).await?, Vec::new())),
        }
    }

    pub(crate) async fn operation(&self, id: &OperationId) -> Result<OperationView, Failure> {
        match self {
            Self::Local(local) => local.operation(id).await,
            Self::Remote(remote) => remote.operation(id).await,
        }
    }

    /// Tells an operation to pause, resume or cancel.
    pub(crate) async fn command(
        &self,
        id: &OperationId,
        command: Command,
        reason: &str,
    ) -> Result<Started, Failure> {
        match self {
            Self::Local(local) => local.command(id, command).await,
            Self::Remote(remote) => remote.command(id, command, reason).await,
        }
    }

    /// The events of an operation so far.
    pub(crate) async fn events(&self, id: &OperationId) -> Result<Vec<StreamLine>, Failure> {
        match self {
            Self::Local(local) => local.events(id).await,
            Self::Remote(remote) => remote.events(id).await,
        }
    }

    /// All lines of an operation, from its first event on until it ends.
    pub(crate) fn follow(&self, id: &OperationId) -> Result<Lines, Failure> {
        match self {
            Self::Local(local) => local.follow(id),
            Self::Remote(remote) => Ok(remote.follow(id)),
        }
    }

    /// Ends what this process runs; it can be taken up again. A server's operations go on.
    pub(crate) async fn stop(&self) {
        if let Self::Local(local) = self {
            local.stop().await;
        }
    }

    /// The error for names that do not exist.
    pub(crate) async fn unknown(&self, names: Vec<String>) -> Failure {
        let failure = Failure::new("unknown_nodes").with("nodes", names);
        let known = self.nodes().await.unwrap_or_default();
        with_close_names(failure, &known)
    }

    /// Adds names that are close to those that do not exist.
    async fn explained<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        match result {
            Err(failure) if failure.code == "unknown_nodes" => {
                let known = self.nodes().await.unwrap_or_default();
                Err(with_close_names(failure, &known))
            }
            other => other,
        }
    }
}

fn with_close_names(failure: Failure, known: &[NodeView]) -> Failure {
    let asked: Vec<String> = failure
        .params
        .get("nodes")
        .and_then(|nodes| serde_json::from_value(nodes.clone()).ok())
        .unwrap_or_default();
    let mut close: Vec<(f64, &str)> = Vec::new();
    for node in known {
        let likeness = asked
            .iter()
            .map(|name| strsim::jaro_winkler(name, &node.name))
            .fold(0.0, f64::max);
        if likeness > 0.8 {
            close.push((likeness, &node.name));
        }
    }
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let names: Vec<&str> = close.into_iter().take(3).map(|(_, name)| name).collect();
    failure.with("close", names)
}

/// The connection the flags ask for.
pub(crate) fn connect(global: &Global) -> Connect {
    Connect {
        kubeconfig: global.kubeconfig.clone(),
        context: global.context.clone(),
        cluster: global.cluster.clone(),
        user: global.user.clone(),
        server: None,
        token: global.token.clone(),
        impersonate_user: global.impersonate.clone(),
        impersonate_groups: global.impersonate_group.clone(),
        request_timeout: global
            .request_timeout()
            .unwrap_or(kubernetes::REQUEST_TIMEOUT),
    }
}
