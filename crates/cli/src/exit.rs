//! What the exit code says.

use operations::drain::NodeOutcome;

use operations::kernel::Outcome;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing was to be done.
    Done = 0,
    /// An error.
    Error = 1,
    /// Wrong usage.
    Usage = 2,
    /// The plan is refused: a flag is missing, nothing was written.
    Refused = 3,
    /// Some nodes are done.
    Partly = 4,
    /// Blocked or out of time: what is left can be taken up.
    Blocked = 5,
    /// Something is wrong with a node, or a text tells of it.
    Trouble = 6,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The code of an operation that has ended.
pub(crate) fn of_operation<'a>(
    outcome: Outcome,
    nodes: impl Iterator<Item = Option<&'a NodeOutcome>>,
) -> Exit {
    match outcome {
        Outcome::Done => Exit::Done,
        Outcome::Partial => Exit::Partly,
        Outcome::Cancelled => Exit::Error,
        Outcome::Failed => {
            // An error outweighs what only needs time or a person.
            let waits = |outcome: &NodeOutcome| {
                matches!(
                    outcome,
                    NodeOutcome::TimedOut { .. }
                        | NodeOutcome::Blocked { .. }
                        | NodeOutcome::Unproven { .. }
                )
            };
            let mut nodes = nodes.flatten().peekable();
            if nodes.peek().is_some() && nodes.all(waits) {
                Exit::Blocked
            } else {
                Exit::Error
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Refusal;

    use super::*;

    #[test]
    fn of_operations() {
        let blocked = NodeOutcome::Blocked { pods: vec![] };
        let unproven = NodeOutcome::Unproven { pods: vec![] };
        let late = NodeOutcome::TimedOut {
            phase: operations::drain::Phase::Node,
            pods: vec![],
        };
        let failed = NodeOutcome::Failed {
            refusal: Refusal::Gone,
            pods: vec![],
        };
        let drained = NodeOutcome::Drained;
        for (outcome, nodes, exit) in [
            (Outcome::Done, vec![&drained], Exit::Done),
            (Outcome::Partial, vec![&drained, &blocked], Exit::Partly),
            (Outcome::Failed, vec![&blocked], Exit::Blocked),
            (Outcome::Failed, vec![&unproven, &late], Exit::Blocked),
            (Outcome::Failed, vec![&late, &failed], Exit::Error),
            (Outcome::Failed, vec![], Exit::Error),
            (
                Outcome::Cancelled,
                vec![&NodeOutcome::Cancelled],
                Exit::Error,
            ),
        ] {
            assert_eq!(
                of_operation(outcome, nodes.into_iter().map(Some)),
                exit,
                "{outcome:?}"
            );
        }
    }
}
