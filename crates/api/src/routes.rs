use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    Acted, AgentView, ClusterView, CommandBody, CordonBody, Doctor, DrainBody, HostBody, HostView,
    NodeFindings, NodeView, OperationView, PlanView, RevokeBody, Revoked, StepView, StreamLine,
    TokenBody, TokenView,
};

/// HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks or changes.
    Post,
}

/// One route of the API.
pub struct Route {
    /// Stable id.
    pub id: &'static str,
    /// Method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Query parameters with what they mean.
    pub query: &'static [(&'static str, &'static str)],
    /// What it does.
    pub summary: &'static str,
    /// Whether it changes anything: such calls need the caller's own rights in the cluster.
    pub changes: bool,
    /// Status of success.
    pub status: u16,
    /// Media type of success.
    pub media: &'static str,
    /// Schema of the request body.
    pub request: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// Schema of the response body.
    pub response: fn(&mut SchemaGenerator) -> Schema,
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

const fn get(
    id: &'static str,
    path: &'static str,
    summary: &'static str,
    response: fn(&mut SchemaGenerator) -> Schema,
) -> Route {
    Route {
        id,
        method: Method::Get,
        path,
        query: &[],
        summary,
        changes: false,
        status: 200,
        media: JSON,
        request: None,
        response,
    }
}

const fn post(
    id: &'static str,
    path: &'static str,
    summary: &'static str,
    request: fn(&mut SchemaGenerator) -> Schema,
    response: fn(&mut SchemaGenerator) -> Schema,
) -> Route {
    Route {
        method: Method::Post,
        changes: true,
        request: Some(request),
        ..get(id, path, summary, response)
    }
}

/// Every route below `/api`. The OpenAPI document is made from it, and the server is tested against it.
pub const ROUTES: &[Route] = &[
    get(
        "clusters",
        "/api/v1/clusters",
        "Clusters refloat watches",
        schema::<Vec<ClusterView>>,
    ),
    get(
        "nodes",
        "/api/v1/clusters/{cluster}/nodes",
        "Nodes with state, reason and since when",
        schema::<Vec<NodeView>>,
    ),
    get(
        "findings",
        "/api/v1/clusters/{cluster}/findings",
        "What is wrong with which nodes, the worst first, and what to do about it",
        schema::<Doctor>,
    ),
    get(
        "node_findings",
        "/api/v1/clusters/{cluster}/nodes/{node}/findings",
        "What is wrong with one node, and what to do about it; with a look at its host, when there is a way to it",
        schema::<NodeFindings>,
    ),
    get(
        "host",
        "/api/v1/clusters/{cluster}/nodes/{node}/host",
        "A look at a node's host",
        schema::<HostView>,
    ),
    post(
        "host_step",
        "/api/v1/clusters/{cluster}/nodes/{node}/host/step",
        "One step on a node's host: checked first, and looked at afterwards",
        schema::<HostBody>,
        schema::<StepView>,
    ),
    Route {
        query: &[
            ("unit", "`kubelet`, `docker`, `containerd` or `kernel`"),
            ("since", "From so many seconds ago, 7200 unless told"),
            ("follow", "`true`: go on as lines come"),
        ],
        media: "text/plain",
        ..get(
            "host_log",
            "/api/v1/clusters/{cluster}/nodes/{node}/log",
            "A unit's journal on a node's host",
            schema::<String>,
        )
    },
    Route {
        query: &[(
            "since",
            "Journals from so many seconds ago, 7200 unless told",
        )],
        media: "application/gzip",
        ..get(
            "evidence",
            "/api/v1/clusters/{cluster}/nodes/{node}/evidence",
            "Everything about a node and its host that an engineer asks for, as a gzipped tar without secrets",
            schema::<String>,
        )
    },
    get(
        "agents",
        "/api/v1/clusters/{cluster}/agents",
        "Agents that may speak for hosts, and which of them are connected",
        schema::<Vec<AgentView>>,
    ),
    post(
        "agent_token",
        "/api/v1/clusters/{cluster}/agents/token",
        "A token to enrol one agent with, once",
        schema::<TokenBody>,
        schema::<TokenView>,
    ),
    post(
        "agent_revoke",
        "/api/v1/clusters/{cluster}/agents/revoke",
        "A node's agent may no longer speak for it",
        schema::<RevokeBody>,
        schema::<Revoked>,
    ),
    Route {
        changes: false,
        ..post(
            "plan",
            "/api/v1/clusters/{cluster}/plan",
            "What a drain would do with every pod, and why; writes nothing",
            schema::<DrainBody>,
            schema::<PlanView>,
        )
    },
    Route {
        status: 202,
        ..post(
            "drain",
            "/api/v1/clusters/{cluster}/drain",
            "Start a drain",
            schema::<DrainBody>,
            schema::<OperationView>,
        )
    },
    post(
        "cordon",
        "/api/v1/clusters/{cluster}/cordon",
        "Make nodes unschedulable",
        schema::<CordonBody>,
        schema::<Vec<Acted>>,
    ),
    post(
        "uncordon",
        "/api/v1/clusters/{cluster}/uncordon",
        "Make nodes schedulable",
        schema::<CordonBody>,
        schema::<Vec<Acted>>,
    ),
    Route {
        query: &[
            ("cluster", "Only operations of this cluster"),
            ("node", "Only operations on this node"),
            ("active", "`true`: only operations that have not ended"),
            (
                "before",
                "Only operations begun before this one: the last of the page before",
            ),
            ("limit", "At most so many, 50 unless told, 500 at most"),
        ],
        ..get(
            "operations",
            "/api/v1/operations",
            "Operations, newest first",
            schema::<Vec<OperationView>>,
        )
    },
    get(
        "operation",
        "/api/v1/operations/{operation}",
        "One operation",
        schema::<OperationView>,
    ),
    Route {
        query: &[
            ("after", "Only events with a greater number"),
            ("follow", "`true`: go on until the operation ends"),
        ],
        media: NDJSON,
        ..get(
            "events",
            "/api/v1/operations/{operation}/events",
            "Its record, as a live stream",
            schema::<StreamLine>,
        )
    },
    post(
        "pause",
        "/api/v1/operations/{operation}/pause",
        "Begin nothing new until it is resumed",
        schema::<CommandBody>,
        schema::<OperationView>,
    ),
    post(
        "resume",
        "/api/v1/operations/{operation}/resume",
        "Go on; deadlines count anew",
        schema::<CommandBody>,
        schema::<OperationView>,
    ),
    post(
        "cancel",
        "/api/v1/operations/{operation}/cancel",
        "Stop and undo what is ours",
        schema::<CommandBody>,
        schema::<OperationView>,
    ),
];
