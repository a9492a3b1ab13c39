use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shared immutable text. Repeated values (namespaces, node names, label keys) are interned by the mirror.
pub type Text = Arc<str>;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Text);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// UID of a Kubernetes object: never used again, unlike its name.
    Uid
}
text_id! {
    /// A cluster, identified by the UID of its kube-system namespace. Context names are labels for people.
    ClusterId
}
text_id! {
    /// An operation of refloat. Ids sort by the time they were made.
    OperationId
}

/// Namespace and name of an object; the namespace is empty for cluster-scoped kinds.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: Text,
    /// Name.
    pub name: Text,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<Text>, name: impl Into<Text>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Version of an object. Kubernetes promises decimal, comparable versions since 1.35 (KEP-5504); etcd has always given
/// them. 0 stands for "not known" and is never sent as a precondition.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    /// From the API's text; anything that is not a number counts as not known.
    pub fn parse(text: &str) -> Self {
        Self(text.parse().unwrap_or(0))
    }

    /// As the API wants it in a precondition; `None` when not known.
    pub fn precondition(self) -> Option<String> {
        (self.0 > 0).then(|| self.0.to_string())
    }
}
