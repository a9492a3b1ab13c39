//! What a person would need to be allowed before an operation starts, so that it does not fail half-way.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use kubernetes::{Access, Cluster, Identity};
use operations::drain::{Disposition, Person, Plan};

use crate::error::EngineError;

/// Asks the cluster's authoriser; `person` is `None` for our own credentials.
pub(crate) async fn check(
    cluster: &Cluster,
    person: Option<&Person>,
    needed: Vec<Need>,
) -> Result<(), EngineError> {
    let who = person.map(identity);
    let missing: Vec<_> = futures::stream::iter(needed)
        .map(|need| {
            let who = who.as_ref();
            async move {
                let may = cluster.may(who, &need.access()).await?;
                Ok::<_, EngineError>((!may).then(|| need.text()))
            }
        })
        .buffered(8)
        .try_collect()
        .await?;
    let missing: Vec<_> = missing.into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let user = person.map_or_else(
        || cluster.user.to_string(),
        |person| person.user.to_string(),
    );
    Err(EngineError::MissingRights { user, missing })
}

/// A right an operation needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    verb: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespace: String,
    name: String,
}

impl Need {
    /// To patch a node.
    pub(crate) fn node(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            verb: "patch",
            resource: "nodes",
            subresource: "",
            namespace: String::new(),
            name,
        }
    }

    /// To list nodes.
    pub(crate) fn read_nodes() -> Self {
        Self {
            verb: "list",
            resource: "nodes",
            subresource: "",
            namespace: String::new(),
            name: String::new(),
        }
    }

    fn pods(verb: &'static str, subresource: &'static str, namespace: &str) -> Self {
        Self {
            verb,
            resource: "pods",
            subresource,
            namespace: namespace.to_owned(),
            name: String::new(),
        }
    }

    fn access(&self) -> Access<'_> {
        Access {
            verb: self.verb,
            group: "",
            resource: self.resource,
            subresource: self.subresource,
            namespace: &self.namespace,
            name: &self.name,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}", self.verb, self.resource);
        if !self.subresource.is_empty() {
            text.push('/');
            text.push_str(self.subresource);
        }
        if !self.name.is_empty() {
            text.push(' ');
            text.push_str(&self.name);
        }
        if !self.namespace.is_empty() {
            text.push_str(" -n ");
            text.push_str(&self.namespace);
        }
        text
    }
}

/// What a plan needs: each node, and in each namespace what happens to its pods.
pub(crate) fn of_plan(plan: &Plan) -> Vec<Need> {
    let mut needs: BTreeSet<_> = plan
        .nodes
        .iter()
        .map(|node| Need::node(&node.node.name))
        .collect();
    for (_, pod) in plan.pods() {
        let namespace = &pod.pod.namespace;
        match pod.disposition {
            // What is blocked now is evicted as soon as it no longer is.
            Disposition::Evict | Disposition::Blocked => {
                needs.insert(Need::pods("create", "eviction", namespace));
            }
            Disposition::Handover => {
                needs.insert(Need::pods("create", "eviction", namespace));
                needs.insert(Need::pods("patch", "", namespace));
            }
            Disposition::Delete => {
                needs.insert(Need::pods("delete", "", namespace));
            }
            Disposition::Skip => {}
        }
    }
    needs.into_iter().collect()
}

/// A person as the authoriser knows them.
pub(crate) fn identity(person: &Person) -> Identity {
    Identity {
        user: person.user.to_string(),
        groups: person.groups.iter().map(ToString::to_string).collect(),
        ..Identity::default()
    }
}
