use model::{ClusterId, Refusal};
use operations::OperationView;
use operations::drain::{Flaw, Options, Plan, Totals};
use operations::kinds::{Recorded, Waiting};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for a plan or a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainBody {
    /// Names of the nodes, in the order in which they are to be drained.
    pub nodes: Vec<String>,
    /// How.
    #[serde(default)]
    pub options: Options,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// A ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// For plans: ask the server with a dry-run eviction of every pod.
    #[serde(default)]
    pub verify: bool,
}

/// Asks to make nodes (un)schedulable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CordonBody {
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// A ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// For uncordon: also lift a cordon somebody else made, or that of a node an operation owns.
    #[serde(default)]
    pub force: bool,
    /// Ask the server to check everything and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Pauses, resumes or cancels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandBody {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What became of one node in a cordon or uncordon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acted {
    /// The node.
    pub node: String,
    /// Whether something changed; `false` when it already was so.
    pub changed: bool,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// A plan with what was found about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// The cluster.
    pub cluster: ClusterId,
    /// The plan.
    pub plan: Plan,
    /// Its pods by disposition.
    pub totals: Totals,
    /// A flag is missing: such a plan is refused before anything is written.
    pub refused: bool,
    /// What an independent check found; such a plan is never executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaws: Vec<Flaw>,
}

impl PlanView {
    /// The view of a plan.
    pub fn of(cluster: ClusterId, plan: Plan, flaws: Vec<Flaw>) -> Self {
        let refused = plan.refused().next().is_some();
        Self {
            cluster,
            totals: plan.totals(),
            refused,
            flaws,
            plan,
        }
    }
}

/// One line of a live stream (NDJSON), from the server and from `refloat -o json` alike. The last line of a finished
/// operation is its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamLine {
    /// An event of the record.
    Event {
        /// Its number in the record, from 1.
        seq: u64,
        /// It.
        #[serde(flatten)]
        recorded: Recorded,
    },
    /// What is waited for now; replaces the previous such line.
    Waiting {
        /// All of it.
        waiting: Vec<Waiting>,
    },
    /// The end.
    Result {
        /// The operation as it ended.
        operation: OperationView,
    },
}
