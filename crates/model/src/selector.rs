use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Labels, Text};

/// A label selector: every requirement must hold. An empty selector matches everything.
///
/// Rules: apimachinery `pkg/labels/selector.go` (v1.36).
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Selector {
    /// All must hold.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// Label key.
    pub key: Text,
    /// How its value is compared.
    pub operator: RequirementOperator,
    /// Values for `In` and `NotIn`; empty otherwise.
    pub values: Vec<Text>,
}

/// Operators of a requirement.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RequirementOperator {
    /// The label is there and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// A selector that asks for one exact label.
    pub fn label(key: impl Into<Text>, value: impl Into<Text>) -> Self {
        let requirement = Requirement {
            key: key.into(),
            operator: RequirementOperator::In,
            values: vec![value.into()],
        };
        Self {
            requirements: vec![requirement],
        }
    }

    /// Whether these labels satisfy every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels))
    }

    /// Whether any requirement reads this label.
    pub fn mentions(&self, key: &str) -> bool {
        self.requirements
            .iter()
            .any(|requirement| &*requirement.key == key)
    }
}

impl Requirement {
    /// Whether these labels satisfy it.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            RequirementOperator::In => {
                value.is_some_and(|value| self.values.iter().any(|v| &**v == value))
            }
            RequirementOperator::NotIn => {
                value.is_none_or(|value| self.values.iter().all(|v| &**v != value))
            }
            RequirementOperator::Exists => value.is_some(),
            RequirementOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operator: RequirementOperator, values: &[&str], expected_on_a1_b1_none: [bool; 3]) {
        let values = values.iter().map(|v| Text::from(*v)).collect();
        let selector = Selector {
            requirements: vec![Requirement {
                key: "k".into(),
                operator,
                values,
            }],
        };
        let subjects = [
            Labels::of([("k", "a")]),
            Labels::of([("k", "b")]),
            Labels::default(),
        ];
        assert_eq!(
            subjects.map(|labels| selector.matches(&labels)),
            expected_on_a1_b1_none,
            "{selector:?}"
        );
    }

    #[test]
    fn operators() {
        check(RequirementOperator::In, &["a"], [true, false, false]);
        check(RequirementOperator::NotIn, &["a"], [false, true, true]);
        check(RequirementOperator::Exists, &[], [true, true, false]);
        check(RequirementOperator::DoesNotExist, &[], [false, false, true]);
        assert!(Selector::default().matches(&Labels::default()));
    }
}
