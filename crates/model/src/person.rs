//! Who asks, and about which node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Text, Uid};

/// Who asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// User name as the cluster knows it.
    pub user: Text,
    /// Groups as the cluster knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Text>,
}

/// A node by name and UID, so that a node of the same name made later is not touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct NodeRef {
    /// Name.
    pub name: Text,
    /// UID.
    pub uid: Uid,
}
