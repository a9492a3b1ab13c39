use std::sync::Arc;

use model::{Condition, Kind, Node, Taint, Time};

use super::{Fact, Mirrored, effect, some, status, version};
use crate::mirror::intern::Interner;
use crate::mirror::wire;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// The hosts a node selector and a required node affinity admit, when **every** way to satisfy them names hosts.
/// Rule: component-helpers `nodeaffinity` (v1.36): terms are alternatives, requirements within one must all hold, an
/// empty term matches no node.
pub(super) fn hostnames(
    selector: &wire::Map,
    required: Option<&wire::NodeSelector>,
) -> Option<Vec<String>> {
    let mut hosts: Option<Vec<String>> = selector.get(HOSTNAME).map(|name| vec![name.clone()]);
    let terms = required
        .into_iter()
        .flat_map(|required| &required.node_selector_terms);
    let terms: Vec<_> = terms
        .filter(|term| !(term.match_expressions.is_empty() && term.match_fields.is_empty()))
        .collect();
    if terms.is_empty() {
        return hosts;
    }
    let named: Option<Vec<Vec<String>>> = terms.iter().map(|term| term_hostnames(term)).collect();
    if let Some(named) = named {
        let mut union = named.concat();
        union.sort();
        union.dedup();
        hosts = Some(match hosts {
            Some(hosts) => hosts
                .into_iter()
                .filter(|host| union.contains(host))
                .collect(),
            None => union,
        });
    }
    hosts
}

fn term_hostnames(term: &wire::NodeSelectorTerm) -> Option<Vec<String>> {
    let by_label = term
        .match_expressions
        .iter()
        .filter(|expression| expression.key == HOSTNAME);
    let by_name = term
        .match_fields
        .iter()
        .filter(|expression| expression.key == "metadata.name");
    by_label
        .chain(by_name)
        .filter(|expression| expression.operator == "In")
        .map(|expression| expression.values.clone())
        .reduce(|left, right| {
            left.into_iter()
                .filter(|host| right.contains(host))
                .collect()
        })
}

impl Mirrored for wire::Node {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let taints = self.spec.taints.iter().filter_map(|taint| {
            Some(Taint {
                key: interner.text(&taint.key),
                value: interner.text(&taint.value),
                effect: effect(&taint.effect)?,
            })
        });
        let taints = taints.collect();
        let conditions = self.status.conditions.iter().map(|condition| Condition {
            kind: interner.text(&condition.r#type),
            status: status(&condition.status),
            reason: interner.text(&condition.reason),
            message: interner.text(&condition.message),
            since: condition.last_transition_time,
        });
        let conditions = conditions.collect();
        Fact::Node(Arc::new(Node {
            name: interner.text(&self.metadata.name),
            uid: self.metadata.uid.as_str().into(),
            version: version(&self.metadata),
            created: self.metadata.creation_timestamp.unwrap_or(Time::UNIX_EPOCH),
            terminating: self.metadata.deletion_timestamp.is_some(),
            labels: interner.labels(&self.metadata.labels),
            annotations: interner.labels(&self.metadata.annotations.0),
            unschedulable: self.spec.unschedulable,
            taints,
            conditions,
            boot_id: self.status.node_info.boot_id.as_str().into(),
            kubelet_version: interner.text(&self.status.node_info.kubelet_version),
            address: self
                .status
                .addresses
                .iter()
                .find(|address| address.r#type == "InternalIP")
                .map(|address| interner.text(&address.address)),
            provider_id: some(&self.spec.provider_id, interner),
            volumes_in_use: self
                .status
                .volumes_in_use
                .iter()
                .map(|volume| interner.text(volume))
                .collect(),
        }))
    }
}
