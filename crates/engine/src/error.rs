use model::{ClusterId, OperationId};
use operations::kernel::Illegal;
use operations::kinds::{Flaw, Plan, Unreadable};

use crate::ports::{Cause, Lacking};

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such cluster here.
    #[error("cluster {cluster} is not watched here")]
    UnknownCluster {
        /// Its id.
        cluster: ClusterId,
    },
    /// No such operation.
    #[error("operation {operation} is not in the record")]
    UnknownOperation {
        /// The id.
        operation: OperationId,
    },
    /// The operation has ended.
    #[error("operation {operation} has ended")]
    Ended {
        /// The id.
        operation: OperationId,
    },
    /// Something that the request does not allow stands in the way; nothing was written.
    #[error("the plan is refused")]
    Refused {
        /// The plan, which says what.
        plan: Box<Plan>,
    },
    /// The plan is unsound; nothing was written. A defect of refloat.
    #[error("the plan is unsound: {flaws:?}")]
    Flawed {
        /// What is wrong with it.
        flaws: Vec<Flaw>,
    },
    /// The person lacks rights that the operation would need; nothing was written.
    #[error("{} may not {}", lacking.user, lacking.missing.join(", "))]
    MissingRights {
        /// Who, and what.
        lacking: Lacking,
    },
    /// Another process acts now. What was recorded last is taken up by it.
    #[error("another process acts now")]
    NotLeading,
    /// There is no picture of the cluster.
    #[error("there is no picture of the cluster: {0}")]
    Blind(#[source] Cause),
    /// The record did not answer, or refused.
    #[error("the record: {0}")]
    Record(#[source] Cause),
    /// The cluster did not answer, or refused.
    #[error("the cluster: {0}")]
    Act(#[source] Cause),
    /// The record holds something that is not an operation's.
    #[error("the record of operation {operation} is not readable")]
    Unreadable {
        /// The operation.
        operation: OperationId,
        /// Why.
        #[source]
        source: Unreadable,
    },
    /// Something cannot follow: a defect of refloat.
    #[error("the record of operation {operation} does not add up")]
    Illegal {
        /// The operation.
        operation: OperationId,
        /// Which event and which rule.
        #[source]
        source: Illegal,
    },
}
