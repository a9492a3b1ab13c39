//! Selectors of nodes, and label selectors as JSON has them.

use model::{Labels, Requirement, RequirementOperator, Selector, Text};

use crate::wire::{self, each};

/// What a node selector's term asks of one label, or of the node's name.
///
/// Rules: component-helpers `scheduling/corev1/nodeaffinity` and apimachinery `pkg/labels` (v1.36).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeRequirement {
    /// A comparison as label selectors know it.
    Label(Requirement),
    /// The label is a whole number greater (true) or less than this.
    Number(Text, bool, i64),
    /// The node's name is (true) or is not this.
    Name(bool, Text),
    /// Not valid: matches nothing.
    Never,
}

/// Requirements that must all hold. One without any matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeTerm(pub(crate) Vec<NodeRequirement>);

impl NodeTerm {
    pub(crate) fn of(term: &wire::NodeTerm) -> Self {
        let labels = each(&term.match_expressions).map(|expression| {
            let value = |at: usize| expression.values.as_ref().and_then(|values| values.get(at));
            match &*expression.operator {
                "Gt" | "Lt" => value(0)
                    .filter(|_| value(1).is_none())
                    .and_then(|value| value.parse().ok())
                    .map_or(NodeRequirement::Never, |number| {
                        let greater = expression.operator == "Gt";
                        NodeRequirement::Number(expression.key.as_str().into(), greater, number)
                    }),
                _ => requirement(expression).map_or(NodeRequirement::Never, NodeRequirement::Label),
            }
        });
        let fields = each(&term.match_fields).map(|field| {
            match (&*field.key, &*field.operator, field.values.as_deref()) {
                ("metadata.name", "In", Some([name])) => {
                    NodeRequirement::Name(true, name.as_str().into())
                }
                ("metadata.name", "NotIn", Some([name])) => {
                    NodeRequirement::Name(false, name.as_str().into())
                }
                _ => NodeRequirement::Never,
            }
        });
        Self(labels.chain(fields).collect())
    }

    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        !self.0.is_empty()
            && self
                .0
                .iter()
                .all(|requirement| requirement.matches(name, labels))
    }

    /// The labels it reads; the node's name is `None`.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().filter_map(|requirement| match requirement {
            NodeRequirement::Label(requirement) => Some(Some(&*requirement.key)),
            NodeRequirement::Number(key, ..) => Some(Some(&**key)),
            NodeRequirement::Name(..) => Some(None),
            NodeRequirement::Never => None,
        })
    }
}

impl NodeRequirement {
    fn matches(&self, name: &str, labels: &Labels) -> bool {
        match self {
            Self::Label(requirement) => requirement.matches(labels),
            Self::Number(key, greater, number) => labels
                .get(key)
                .and_then(|value| value.parse::<i64>().ok())
                .is_some_and(|value| {
                    if *greater {
                        value > *number
                    } else {
                        value < *number
                    }
                }),
            Self::Name(equal, wanted) => (**wanted == *name) == *equal,
            Self::Never => false,
        }
    }
}

/// Terms of which one must match.
pub(crate) fn node_terms(selector: &wire::NodeSelector) -> Vec<NodeTerm> {
    each(&selector.node_selector_terms)
        .map(NodeTerm::of)
        .collect()
}

/// A label selector; `None` for one that is absent or not valid, which matches nothing.
pub(crate) fn label_selector(selector: Option<&wire::LabelSelector>) -> Option<Selector> {
    let selector = selector?;
    let labels = selector.match_labels.iter().flatten();
    let mut requirements: Vec<_> = labels.map(|(key, value)| equals(key, value)).collect();
    for expression in each(&selector.match_expressions) {
        requirements.push(requirement(expression)?);
    }
    Some(Selector { requirements })
}

/// That a label has this value.
pub(crate) fn equals(key: &str, value: &str) -> Requirement {
    Requirement {
        key: key.into(),
        operator: RequirementOperator::In,
        values: vec![value.into()],
    }
}

fn requirement(expression: &wire::Expression) -> Option<Requirement> {
    let operator = match &*expression.operator {
        "In" => RequirementOperator::In,
        "NotIn" => RequirementOperator::NotIn,
        "Exists" => RequirementOperator::Exists,
        "DoesNotExist" => RequirementOperator::DoesNotExist,
        _ => return None,
    };
    let values = each(&expression.values)
        .map(|value| value.as_str().into())
        .collect();
    Some(Requirement {
        key: expression.key.as_str().into(),
        operator,
        values,
    })
}
