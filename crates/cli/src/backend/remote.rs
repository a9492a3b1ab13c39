//! A refloat server.

use api::{
    Acted, ClusterView, CommandBody, CordonBody, Doctor, DrainBody, ErrorBody, NodeFindings,
    NodeView, OperationView, PlanView, StreamLine,
};
use futures::StreamExt;
use model::{Labels, OperationId, Selector, Time};
use reqwest::{Client, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::Command;
use store::Filter;
use tokio::sync::mpsc;

use super::Started;
use super::follow::{Lines, Sink};
use crate::args::Global;
use crate::failure::Failure;

/// How often a broken stream is taken up again without a new line in between.
const RECONNECTS: u32 = 10;

#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    server: String,
    token: Option<String>,
    cluster: Option<String>,
    timeout: std::time::Duration,
}

impl Remote {
    pub(crate) fn new(server: &str, global: &Global) -> Result<Self, Failure> {
        let client = Client::builder()
            .connect_timeout(kubernetes::REQUEST_TIMEOUT)
            .build();
        let client = client.map_err(|error| Failure::internal(chain(&error)))?;
        let server = if server.contains("://") {
            server.trim_end_matches('/').to_owned()
        } else {
            format!("http://{}", server.trim_end_matches('/'))
        };
        Ok(Self {
            client,
            server,
            token: global.token.clone(),
            cluster: global.cluster.clone().or_else(|| global.context.clone()),
            timeout: global
                .request_timeout()
                .unwrap_or(std::time::Duration::from_secs(60)),
        })
    }

    /// The same server, for an answer that takes longer.
    pub(super) fn patient(&self, limit: std::time::Duration) -> Self {
        Self {
            timeout: self.timeout.max(limit),
            ..self.clone()
        }
    }

    pub(super) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        Err(match serde_json::from_str::<ErrorBody>(&body) {
            Ok(body) => body.into(),
            Err(_) => Failure::new("refloat_status")
                .with("server", self.server.as_str())
                .with("status", status.as_u16()),
        })
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::new("refloat_unreachable")
            .with("server", self.server.as_str())
            .with("reason", chain(error))
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.send(request.timeout(self.timeout)).await?;
        let text = response
            .text()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(|error| self.not_refloat(&error))
    }

    fn not_refloat(&self, error: &serde_json::Error) -> Failure {
        Failure::new("refloat_answer")
            .with("server", self.server.as_str())
            .with("reason", error.to_string())
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.request(reqwest::Method::GET, path)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.read(self.request(reqwest::Method::POST, path).json(body))
            .await
    }

    /// Path of the chosen cluster; of the only one where none was chosen.
    pub(super) async fn cluster(&self) -> Result<String, Failure> {
        let cluster = match &self.cluster {
            Some(cluster) => cluster.clone(),
            None => {
                let clusters: Vec<ClusterView> = self.get("/api/v1/clusters").await?;
                match clusters.as_slice() {
                    [only] if only.id.as_str().is_empty() => only.name.clone(),
                    [only] => only.id.to_string(),
                    [] => return Err(Failure::new("no_cluster")),
                    several => {
                        let known: Vec<_> =
                            several.iter().map(|cluster| cluster.name.clone()).collect();
                        return Err(Failure::new("choose_cluster").with("known", known));
                    }
                }
            }
        };
        Ok(format!("/api/v1/clusters/{}", segment(&cluster)))
    }

    pub(crate) fn place(&self) -> &str {
        &self.server
    }

    /// Names of the nodes with these labels.
    pub(crate) async fn select(&self, selector: &Selector) -> Result<Vec<String>, Failure> {
        let nodes = self.nodes().await?;
        let chosen = nodes.into_iter().filter(|node| {
            let labels = node
                .labels
                .iter()
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()));
            selector.matches(&Labels::from_pairs(labels))
        });
        Ok(chosen.map(|node| node.name).collect())
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, Failure> {
        self.get(&format!("{}/nodes", self.cluster().await?)).await
    }

    pub(crate) async fn doctor(&self, names: &[String]) -> Result<Doctor, Failure> {
        let cluster = self.cluster().await?;
        let (mut nodes, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            let path = format!("{cluster}/nodes/{}/findings", segment(name));
            match self.get::<NodeFindings>(&path).await {
                Ok(findings) => nodes.push(findings),
                // All names that do not exist are told at once.
                Err(failure) if failure.code == "unknown_nodes" => unknown.push(name.clone()),
                Err(failure) => return Err(failure),
            }
        }
        if unknown.is_empty() {
            Ok(Doctor::named(nodes, Time::now()))
        } else {
            Err(Failure::new("unknown_nodes").with("nodes", unknown))
        }
    }

    pub(crate) async fn doctor_all(&self) -> Result<Doctor, Failure> {
        self.get(&format!("{}/findings", self.cluster().await?))
            .await
    }

    pub(crate) async fn plan(&self, body: &DrainBody) -> Result<PlanView, Failure> {
        self.post(&format!("{}/plan", self.cluster().await?), body)
            .await
    }

    pub(crate) async fn set_schedulable(
        &self,
        cordon: bool,
        body: &CordonBody,
    ) -> Result<Vec<Acted>, Failure> {
        let verb = if cordon { "cordon" } else { "uncordon" };
        self.post(&format!("{}/{verb}", self.cluster().await?), body)
            .await
    }

    pub(crate) async fn drain(&self, body: &DrainBody) -> Result<Started, Failure> {
        let started: Result<OperationView, Failure> = self
            .post(&format!("{}/drain", self.cluster().await?), body)
            .await;
        let view = match started {
            Ok(view) => view,
            // The pods and flags are in the plan.
            Err(mut failure) if failure.code == "plan_refused" => {
                failure.plan = self.plan(body).await.ok().map(|view| Box::new(view.plan));
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        Ok(Started {
            operation: view.id,
            nodes: body.nodes.clone(),
            taken_up_at: None,
        })
    }

    pub(crate) async fn operations(&self, filter: &Filter) -> Result<Vec<OperationView>, Failure> {
        let mut path = "/api/v1/operations?limit=500".to_owned();
        if filter.ended == Some(false) {
            path.push_str("&active=true");
        }
        if let Some(node) = &filter.node {
            path.push_str(&format!("&node={}", segment(node)));
        }
        if let Some(cluster) = &self.cluster {
            path.push_str(&format!("&cluster={}", segment(cluster)));
        }
        self.get(&path).await
    }

    pub(crate) async fn operation(&self, id: &OperationId) -> Result<OperationView, Failure> {
        self.get(&format!("/api/v1/operations/{}", segment(id.as_str())))
            .await
    }

    pub(crate) async fn command(
        &self,
        id: &OperationId,
        command: Command,
        reason: &str,
    ) -> Result<Started, Failure> {
        let before = self.operation(id).await?;
        let verb = match command {
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Cancel => "cancel",
        };
        let body = CommandBody {
            reason: reason.to_owned(),
        };
        let path = format!("/api/v1/operations/{}/{verb}", segment(id.as_str()));
        let _: OperationView = self.post(&path, &body).await?;
        Ok(Started {
            operation: id.clone(),
            nodes: before
                .nodes
                .iter()
                .map(|node| node.name.to_string())
                .collect(),
            taken_up_at: None,
        })
    }

    pub(crate) async fn events(&self, id: &OperationId) -> Result<Vec<StreamLine>, Failure> {
        let path = format!("/api/v1/operations/{}/events", segment(id.as_str()));
        let response = self
            .send(
                self.request(reqwest::Method::GET, &path)
                    .timeout(self.timeout),
            )
            .await?;
        let text = response
            .text()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| serde_json::from_str(line).map_err(|error| self.not_refloat(&error)))
            .collect()
    }

    pub(crate) fn follow(&self, id: &OperationId) -> Lines {
        let (sink, lines) = mpsc::channel(64);
        let (remote, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(failure) = remote.pump(&id, &sink).await {
                let _ = sink.send(Err(failure)).await;
            }
        });
        lines
    }

    async fn pump(&self, id: &OperationId, sink: &Sink) -> Result<(), Failure> {
        let (mut seq, mut tries) = (0, 0);
        loop {
            let path = format!(
                "/api/v1/operations/{}/events?follow=true&after={seq}",
                segment(id.as_str())
            );
            let before = seq;
            match self.stream(&path, &mut seq, sink).await {
                Ok(true) => return Ok(()),
                // The server, or something between, has let go of the stream.
                Ok(false) => {}
                Err(failure)
                    if failure.code != "refloat_unreachable" || tries + 1 == RECONNECTS =>
                {
                    return Err(failure);
                }
                Err(_) => {}
            }
            tries = if seq > before { 0 } else { tries + 1 };
            if tries == RECONNECTS {
                return Err(Failure::new("stream_ended").with("operation", id.to_string()));
            }
            tokio::select! {
                () = sink.closed() => return Ok(()),
                () = tokio::time::sleep(std::time::Duration::from_millis(500)) => {}
            }
        }
    }

    /// Passes lines on; whether the result was among them.
    async fn stream(&self, path: &str, seq: &mut u64, sink: &Sink) -> Result<bool, Failure> {
        let response = self.send(self.request(reqwest::Method::GET, path)).await?;
        let mut bytes = response.bytes_stream();
        let mut buffer = Vec::new();
        while let Some(chunk) = bytes.next().await {
            buffer.extend_from_slice(&chunk.map_err(|error| self.unreachable(&error))?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let line: StreamLine =
                    serde_json::from_slice(&line).map_err(|error| self.not_refloat(&error))?;
                if let StreamLine::Event { seq: number, .. } = &line {
                    *seq = *number;
                }
                let last = matches!(line, StreamLine::Result { .. });
                if sink.send(Ok(line)).await.is_err() || last {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// An error with all its causes: reqwest's own words leave out the telling one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

/// For a path or a query.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
