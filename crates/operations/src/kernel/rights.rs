//! Rights that an operation needs.

/// A right in the cluster: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The verb.
    pub verb: &'static str,
    /// The resource's group; empty for the core group.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// A part of it; empty for the whole.
    pub subresource: String,
    /// In which namespace; empty for resources without one, or for all.
    pub namespace: String,
    /// Which object; empty for all.
    pub name: String,
}

impl Need {
    /// A right on a resource without namespace: on one object, or on all.
    pub fn on(verb: &'static str, resource: &'static str, name: &str) -> Self {
        Self {
            verb,
            group: "",
            resource,
            subresource: String::new(),
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    /// A right on all pods of a namespace, or on a part of them.
    pub fn pods(verb: &'static str, subresource: &str, namespace: &str) -> Self {
        Self {
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            ..Self::on(verb, "pods", "")
        }
    }

    /// To change a node.
    pub fn node(name: &str) -> Self {
        Self::on("patch", "nodes", name)
    }

    /// As people write it: `verb resource[/part] [name] [-n namespace]`.
    pub fn text(&self) -> String {
        let mut text = format!("{} {}", self.verb, self.resource);
        if !self.group.is_empty() {
            text = format!("{text}.{}", self.group);
        }
        if !self.subresource.is_empty() {
            text = format!("{text}/{}", self.subresource);
        }
        if !self.name.is_empty() {
            text = format!("{text} {}", self.name);
        }
        if !self.namespace.is_empty() {
            text = format!("{text} -n {}", self.namespace);
        }
        text
    }
}
