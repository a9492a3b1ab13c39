//! A node and its host together: what is wrong, and the evidence of it.

use std::time::Duration;

use diagnosis::{HostReach, Picture, Report, diagnose};
use host::Probe;
use model::{Node, Snapshot, Time};

use crate::bundle::Bundle;
use crate::error::HostError;
use crate::way::{Look, Way};

/// What a look at a host brought, and what that and the API say together.
#[derive(Debug)]
pub struct Examined {
    /// The look, or why there is none.
    pub look: Result<Look, HostError>,
    /// The findings.
    pub report: Report,
}

/// What the end of a look says of the host.
pub fn reach_of(look: &Result<Look, HostError>) -> HostReach {
    match look {
        Ok(_) => HostReach::Answers,
        Err(error) => error.reach(),
    }
}

impl Examined {
    /// Judges a look that has ended.
    pub fn of(look: Result<Look, HostError>, snapshot: &Snapshot, node: &Node) -> Self {
        let picture = Picture {
            api: Some((snapshot, &node.name)),
            host: look.as_ref().ok().map(|look| &look.facts),
            reach: Some(reach_of(&look)),
            boot_before: Some(&*node.boot_id).filter(|boot| !boot.is_empty()),
        };
        let report = diagnose(&picture, Time::now());
        Self { look, report }
    }
}

/// Looks at a node's host with all probes, and judges.
pub async fn examine(way: &Way, snapshot: &Snapshot, node: &Node) -> Examined {
    Examined::of(way.look(Probe::ALL).await, snapshot, node)
}

/// Everything about a node and its host that an engineer asks for: the host's files, what the API says of the node and
/// its pods (without their environment), the facts and the findings.
pub async fn evidence(way: &Way, snapshot: &Snapshot, node: &Node, since: Duration) -> Bundle {
    let mut bundle = Bundle::default();
    // Side by side: a host in trouble may not answer for long. The files are taken as they come, because on an agent's
    // connection the answers of the look come behind them.
    let files = async {
        match way.evidence(since).await {
            Ok(pieces) => bundle.take(pieces).await,
            Err(error) => bundle.miss(&error.to_string()),
        }
    };
    let (examined, ()) = tokio::join!(examine(way, snapshot, node), files);
    let pods: Vec<_> = snapshot.pods_on(&node.name).collect();
    let mut add = |name: &str, value: serde_json::Result<Vec<u8>>| match value {
        Ok(bytes) => bundle.add(name, &bytes),
        Err(error) => bundle.miss(&format!("{name}: {error}")),
    };
    add("node.json", serde_json::to_vec_pretty(node));
    add("pods.json", serde_json::to_vec_pretty(&pods));
    add("findings.json", serde_json::to_vec_pretty(&examined.report));
    match examined.look {
        Ok(look) => add("facts.json", serde_json::to_vec_pretty(&look.facts)),
        Err(error) => bundle.miss(&error.to_string()),
    }
    bundle
}
