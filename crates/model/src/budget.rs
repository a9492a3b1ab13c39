use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ObjectKey, Pod, ResourceVersion, Selector, Text, Uid};

/// A count or a percentage (`IntOrString` of the API).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// A number of pods.
    Count(i32),
    /// A percentage of the expected pods.
    Percent(i32),
}

impl Amount {
    /// From the API's text form, such as `25%` or `3`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        }
    }

    /// As a number of `total`, percentages rounded up: `GetScaledValueFromIntOrPercent(…, roundUp=true)`, as the
    /// disruption controller and a Deployment's maxSurge do.
    pub fn rounded_up(self, total: i32) -> i32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                (i64::from(percent) * i64::from(total) + 99).div_euclid(100) as i32
            }
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A PodDisruptionBudget with its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: Uid,
    /// Version of the object this was read from.
    pub version: ResourceVersion,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`; behind `generation` means that the status lags and evictions get 429 + Retry-After.
    pub observed_generation: i64,
    /// Which pods it covers; `None` (a null selector) covers none.
    pub selector: Option<Selector>,
    /// `minAvailable`.
    pub min_available: Option<Amount>,
    /// `maxUnavailable`.
    pub max_unavailable: Option<Amount>,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`.
    pub always_allow_unhealthy: bool,
    /// `status.disruptionsAllowed`.
    pub allowed: i32,
    /// `status.currentHealthy`.
    pub healthy: i32,
    /// `status.desiredHealthy`.
    pub desired: i32,
    /// `status.expectedPods`.
    pub expected: i32,
    /// Pods whose eviction was accepted and that the controller has not yet seen go (`status.disruptedPods`).
    pub disrupted: BTreeSet<Text>,
    /// Why the disruption controller cannot compute it (condition DisruptionAllowed=False, reason SyncFailed).
    pub sync_failed: Option<Text>,
}

impl Budget {
    /// Whether it covers the pod.
    pub fn covers(&self, pod: &Pod) -> bool {
        self.key.namespace == pod.key.namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| selector.matches(&pod.labels))
    }

    /// The status is older than the spec.
    pub fn lags(&self) -> bool {
        self.observed_generation < self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_round_up() {
        let check = |text: &str, total, expected| {
            let amount = Amount::parse(text).unwrap();
            assert_eq!(amount.rounded_up(total), expected, "{text} of {total}");
            assert_eq!(amount.to_string(), text);
        };
        check("1", 10, 1);
        check("25%", 1, 1);
        check("25%", 4, 1);
        check("25%", 5, 2);
        check("100%", 7, 7);
        check("0%", 7, 0);
        assert_eq!(Amount::parse("x%"), None);
    }
}
