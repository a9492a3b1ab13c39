//! Where each kind lives in the API.

use model::Kind;

use crate::connect::ServerVersion;

/// All kinds, in the order they are started.
pub const ALL_KINDS: [Kind; 14] = [
    Kind::Nodes,
    Kind::Pods,
    Kind::Budgets,
    Kind::ReplicaSets,
    Kind::Deployments,
    Kind::StatefulSets,
    Kind::DaemonSets,
    Kind::Jobs,
    Kind::Services,
    Kind::EndpointSlices,
    Kind::Claims,
    Kind::Volumes,
    Kind::Attachments,
    Kind::Leases,
];

/// Kinds without which there is no picture of a cluster.
pub(crate) fn is_required(kind: Kind) -> bool {
    matches!(kind, Kind::Nodes | Kind::Pods)
}

/// One list and watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// Only this namespace.
    pub(crate) namespace: Option<String>,
    pub(crate) path: String,
    /// Heartbeats: they need not reach subscribers at once.
    pub(crate) lazy: bool,
}

/// The namespace of the heartbeat Leases that kubelets renew.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";

/// The sources of the wanted kinds for a server of this version: `policy/v1` and `discovery.k8s.io/v1` came with 1.21.
pub(crate) fn sources(
    kinds: &[Kind],
    claim_namespace: &str,
    version: &ServerVersion,
) -> Vec<Source> {
    let beta = version.is_older_than(1, 21);
    let mut sources = Vec::new();
    for kind in ALL_KINDS
        .into_iter()
        .filter(|kind| kinds.contains(kind) || is_required(*kind))
    {
        let path = match kind {
            Kind::Nodes => "/api/v1/nodes",
            Kind::Pods => "/api/v1/pods",
            Kind::Budgets if beta => "/apis/policy/v1beta1/poddisruptionbudgets",
            Kind::Budgets => "/apis/policy/v1/poddisruptionbudgets",
            Kind::ReplicaSets => "/apis/apps/v1/replicasets",
            Kind::Deployments => "/apis/apps/v1/deployments",
            Kind::StatefulSets => "/apis/apps/v1/statefulsets",
            Kind::DaemonSets => "/apis/apps/v1/daemonsets",
            Kind::Jobs => "/apis/batch/v1/jobs",
            Kind::Services => "/api/v1/services",
            Kind::EndpointSlices if beta => "/apis/discovery.k8s.io/v1beta1/endpointslices",
            Kind::EndpointSlices => "/apis/discovery.k8s.io/v1/endpointslices",
            Kind::Claims => "/api/v1/persistentvolumeclaims",
            Kind::Volumes => "/api/v1/persistentvolumes",
            Kind::Attachments => "/apis/storage.k8s.io/v1/volumeattachments",
            Kind::Leases => {
                for (namespace, lazy) in [(NODE_LEASES, true), (claim_namespace, false)] {
                    sources.push(Source {
                        kind,
                        namespace: Some(namespace.to_owned()),
                        path: format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
                        lazy,
                    });
                }
                continue;
            }
        };
        sources.push(Source {
            kind,
            namespace: None,
            path: path.to_owned(),
            lazy: false,
        });
    }
    sources
}
