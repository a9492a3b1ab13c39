//! People who may do everything a drain needs but for one thing.

use serde_json::{Value, json};
use testkit::apply;

use super::{Case, Place, Says};
use anyhow::Result;

/// A right that is missing, and what is said about it.
pub(super) struct Denied {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    exit: i32,
    says: fn() -> Says,
    names: &'static [&'static str],
    command: &'static str,
}

const fn denied(
    right: (&'static str, &'static str, &'static [&'static str]),
    says: fn() -> Says,
    names: &'static [&'static str],
) -> Denied {
    let (group, resource, verbs) = right;
    Denied {
        group,
        resource,
        verbs,
        exit: 1,
        says,
        names,
        command: "drain worker-1",
    }
}

pub(super) const DENIED: &[Denied] = &[
    denied(
        ("", "nodes", &["list"]),
        || Says::Error("missing_rights"),
        &["list nodes"],
    ),
    denied(
        ("", "nodes", &["watch"]),
        || Says::Error("mirror_forbidden"),
        &["nodes"],
    ),
    // What may be watched may be listed by that: one of the two will do.
    denied(
        ("", "pods", &["list", "watch"]),
        || Says::Error("mirror_forbidden"),
        &["pods"],
    ),
    // A node that cannot be cordoned is not drained.
    denied(
        ("", "nodes", &["patch"]),
        || Says::Error("missing_rights"),
        &["patch nodes worker-1"],
    ),
    denied(
        ("", "pods/eviction", &["create"]),
        || Says::Error("missing_rights"),
        &["create pods/eviction -n shop"],
    ),
    Denied {
        exit: 0,
        command: "plan worker-1",
        ..denied(
            ("policy", "poddisruptionbudgets", &["list", "watch"]),
            || Says::Warning("budgets_unknown"),
            &["web-"],
        )
    },
    // The claim is then made by annotation alone.
    Denied {
        exit: 0,
        command: "drain worker-2",
        ..denied(
            ("coordination.k8s.io", "leases", &["create"]),
            || Says::Nothing("claimed by annotation"),
            &["worker-2"],
        )
    },
];

/// What a drain reads and writes.
const NEEDED: &[(&str, &[&str], &[&str])] = &[
    (
        "",
        &[
            "nodes",
            "pods",
            "services",
            "persistentvolumeclaims",
            "persistentvolumes",
            "namespaces",
        ],
        &["get", "list", "watch"],
    ),
    (
        "apps",
        &["replicasets", "deployments", "statefulsets", "daemonsets"],
        &["get", "list", "watch"],
    ),
    ("batch", &["jobs"], &["get", "list", "watch"]),
    (
        "policy",
        &["poddisruptionbudgets"],
        &["get", "list", "watch"],
    ),
    (
        "discovery.k8s.io",
        &["endpointslices"],
        &["get", "list", "watch"],
    ),
    (
        "storage.k8s.io",
        &["volumeattachments"],
        &["get", "list", "watch"],
    ),
    ("", &["nodes", "nodes/status", "pods"], &["patch"]),
    ("", &["pods"], &["delete"]),
    ("", &["pods/eviction"], &["create"]),
    (
        "coordination.k8s.io",
        &["leases"],
        &[
            "get", "list", "watch", "create", "update", "patch", "delete",
        ],
    ),
];

impl Denied {
    pub(super) fn user(&self) -> String {
        format!(
            "no-{}-{}",
            self.verbs.join("-"),
            self.resource.replace('/', "-")
        )
    }

    fn rules(&self) -> Vec<Value> {
        let mut rules = Vec::new();
        for (group, resources, verbs) in NEEDED {
            for resource in *resources {
                let is_it = *group == self.group && *resource == self.resource;
                let verbs: Vec<_> = verbs
                    .iter()
                    .filter(|verb| !(is_it && self.verbs.contains(verb)))
                    .collect();
                if !verbs.is_empty() {
                    rules.push(
                        json!({"apiGroups": [group], "resources": [resource], "verbs": verbs}),
                    );
                }
            }
        }
        rules
    }

    fn objects(&self) -> [Value; 2] {
        let user = self.user();
        let api = "rbac.authorization.k8s.io";
        let role = json!({
            "apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": {"name": user}, "rules": self.rules(),
        });
        let binding = json!({
            "apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": user},
            "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": user},
        });
        [role, binding]
    }
}

pub(super) async fn cases(place: &Place<'_>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for denied in DENIED {
        apply(&place.rig.client, &denied.objects()).await?;
        let user = denied.user();
        let kubeconfig = place
            .rig
            .plane
            .kubeconfig_for_token(&format!("{user}-token"))?;
        let group = if denied.group.is_empty() {
            String::new()
        } else {
            format!(" ({})", denied.group)
        };
        let name = format!(
            "may not {} {}{group}",
            denied.verbs.join(" and "),
            denied.resource
        );
        let mut case = Case::new(name, denied.command, denied.exit, "").naming(denied.names);
        case.says = (denied.says)();
        case.untouched = !matches!(case.says, Says::Nothing(_));
        cases.push(case.kubeconfig(&kubeconfig));
    }
    Ok(cases)
}
