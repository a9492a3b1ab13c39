//! The scheduler's profile: which plugins score with which weight, by Kubernetes version, and what the cluster's own
//! configuration changes.

use serde::{Deserialize, Serialize};

use crate::facts::Spread;
use crate::selector::{NodeTerm, node_terms};
use crate::wire::{self, List, each};

/// A `KubeSchedulerConfiguration`, as far as it changes where pods go.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    percentage_of_nodes_to_score: Option<i64>,
    profiles: List<ProfileConfiguration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProfileConfiguration {
    percentage_of_nodes_to_score: Option<i64>,
    plugins: Option<Plugins>,
    plugin_config: List<PluginConfiguration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Plugins {
    score: Option<PluginSet>,
    multi_point: Option<PluginSet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PluginSet {
    enabled: List<Plugin>,
    disabled: List<Plugin>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plugin {
    name: String,
    weight: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PluginConfiguration {
    name: String,
    args: Option<Arguments>,
}

/// Arguments of all plugins together: their names do not meet.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Arguments {
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: Option<bool>,
    defaulting_type: Option<String>,
    default_constraints: List<wire::Spread>,
    added_affinity: Option<wire::NodeAffinity>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ScoringStrategy {
    r#type: Option<String>,
}

/// Why a scheduler's configuration cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// It has another form.
    #[error("the scheduler's configuration cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    /// It scores in a way that is not modelled.
    #[error("the scheduler's configuration uses {what}, which is not modelled")]
    Unknown {
        /// What.
        what: String,
    },
}

/// Plugins that score, in the order in which scores are told.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Scorer {
    /// `ImageLocality`
    ImageLocality,
    /// `InterPodAffinity`
    InterPodAffinity,
    /// `NodeAffinity`
    NodeAffinity,
    /// `NodeResourcesBalancedAllocation`
    NodeResourcesBalancedAllocation,
    /// `NodeResourcesFit`
    NodeResourcesFit,
    /// `PodTopologySpread`
    PodTopologySpread,
    /// `TaintToleration`
    TaintToleration,
}

impl Scorer {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ImageLocality,
        Self::InterPodAffinity,
        Self::NodeAffinity,
        Self::NodeResourcesBalancedAllocation,
        Self::NodeResourcesFit,
        Self::PodTopologySpread,
        Self::TaintToleration,
    ];

    /// The plugin's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageLocality => "ImageLocality",
            Self::InterPodAffinity => "InterPodAffinity",
            Self::NodeAffinity => "NodeAffinity",
            Self::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Self::NodeResourcesFit => "NodeResourcesFit",
            Self::PodTopologySpread => "PodTopologySpread",
            Self::TaintToleration => "TaintToleration",
        }
    }
}

/// How spare room on a node counts in `NodeResourcesFit`'s score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    LeastAllocated,
    MostAllocated,
}

/// How the scheduler filters and scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The minor version of Kubernetes 1 whose rules hold.
    pub(crate) minor: u32,
    /// Weights by place in [`Scorer::ALL`]; 0 means that the plugin is off.
    pub(crate) weights: [i64; 7],
    pub(crate) strategy: Strategy,
    /// Weight of a required affinity of a pod that runs for one that is placed.
    pub(crate) hard_affinity: i64,
    pub(crate) ignore_others_preferences: bool,
    /// Constraints of pods that have none; `None` stands for the system's.
    pub(crate) spread: Option<Vec<Spread>>,
    /// Affinity added to every pod.
    pub(crate) added: Option<Vec<NodeTerm>>,
    /// Of how many nodes, in hundredths, the scheduler looks for one; 0 leaves it to the scheduler.
    pub(crate) percentage: i64,
}

impl Profile {
    /// The default profile of a version, by its minor number.
    ///
    /// Rule: kube-scheduler `apis/config/v1/default_plugins.go` (v1.34 and v1.36 agree on these weights).
    pub fn of_minor(minor: u32) -> Self {
        Self {
            minor,
            weights: [1, 2, 2, 1, 1, 2, 3],
            strategy: Strategy::LeastAllocated,
            hard_affinity: 1,
            ignore_others_preferences: false,
            spread: None,
            added: None,
            percentage: 0,
        }
    }

    /// What a cluster's `KubeSchedulerConfiguration` makes of the default profile, by its first profile.
    pub fn configured(self, configuration: serde_json::Value) -> Result<Self, ProfileError> {
        let configuration: Configuration = serde_json::from_value(configuration)?;
        let mut profile = self;
        profile.percentage = configuration.percentage_of_nodes_to_score.unwrap_or(0);
        let Some(first) = each(&configuration.profiles).next() else {
            return Ok(profile);
        };
        profile.percentage = first
            .percentage_of_nodes_to_score
            .unwrap_or(profile.percentage);
        let plugins = first.plugins.as_ref();
        let sets = [
            plugins.and_then(|p| p.multi_point.as_ref()),
            plugins.and_then(|p| p.score.as_ref()),
        ];
        for set in sets.into_iter().flatten() {
            profile.set(set);
        }
        for plugin in each(&first.plugin_config) {
            if let Some(arguments) = &plugin.args {
                profile.arguments(&plugin.name, arguments)?;
            }
        }
        Ok(profile)
    }

    fn set(&mut self, set: &PluginSet) {
        for (scorer, weight) in Scorer::ALL.iter().zip(&mut self.weights) {
            let named = |plugin: &&Plugin| plugin.name == scorer.name();
            if each(&set.disabled).any(|plugin| plugin.name == "*" || named(&plugin)) {
                *weight = 0;
            }
            if let Some(plugin) = each(&set.enabled).find(named) {
                *weight = plugin
                    .weight
                    .filter(|weight| *weight > 0)
                    .unwrap_or((*weight).max(1));
            }
        }
    }

    fn arguments(&mut self, plugin: &str, arguments: &Arguments) -> Result<(), ProfileError> {
        self.hard_affinity = arguments
            .hard_pod_affinity_weight
            .unwrap_or(self.hard_affinity);
        self.ignore_others_preferences |= arguments
            .ignore_preferred_terms_of_existing_pods
            .unwrap_or(false);
        if arguments.defaulting_type.as_deref() == Some("List") {
            let constraint = |constraint: &wire::Spread| Spread {
                key: constraint.topology_key.as_str().into(),
                max_skew: constraint.max_skew.into(),
                min_domains: 1,
                hard: constraint.when_unsatisfiable == "DoNotSchedule",
                selector: None,
                honor_affinity: true,
                honor_taints: false,
            };
            self.spread = Some(
                each(&arguments.default_constraints)
                    .map(constraint)
                    .collect(),
            );
        }
        let added = arguments.added_affinity.as_ref();
        if added.is_some_and(|a| {
            each(&a.preferred_during_scheduling_ignored_during_execution)
                .next()
                .is_some()
        }) {
            return Err(ProfileError::Unknown {
                what: "preferred addedAffinity".to_owned(),
            });
        }
        let required = added.and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        self.added = required.map(node_terms).or(self.added.take());
        let strategy = arguments
            .scoring_strategy
            .as_ref()
            .and_then(|s| s.r#type.as_deref());
        match strategy {
            Some("MostAllocated") => self.strategy = Strategy::MostAllocated,
            Some("LeastAllocated") => self.strategy = Strategy::LeastAllocated,
            Some(other) => {
                let what = format!("{plugin} with {other}");
                return Err(ProfileError::Unknown { what });
            }
            None => {}
        }
        Ok(())
    }

    pub(crate) fn weight(&self, scorer: Scorer) -> i64 {
        self.weights[scorer as usize]
    }

    /// Whether a score of balance is how much better the pod makes it (since v1.36, kubernetes#135573).
    pub(crate) fn balances_by_change(&self) -> bool {
        self.minor >= 36
    }

    /// Whether images of image volumes count, too (since v1.36).
    pub(crate) fn counts_image_volumes(&self) -> bool {
        self.minor >= 36
    }

    /// Of how many nodes that fit the scheduler takes the best.
    ///
    /// Rule: kube-scheduler `schedule_one.go`, `numFeasibleNodesToFind` (v1.36).
    pub(crate) fn nodes_to_find(&self, nodes: usize) -> usize {
        let all = i64::try_from(nodes).unwrap_or(i64::MAX);
        if all < 100 {
            return nodes;
        }
        let percentage = match self.percentage {
            0 => (50 - all / 125).max(5),
            given => given,
        };
        usize::try_from((all * percentage / 100).max(100)).map_or(nodes, |found| found.min(nodes))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn configurations() {
        let check = |profile: serde_json::Value, expected: fn(&mut Profile)| {
            let configuration = json!({ "profiles": [profile], "percentageOfNodesToScore": null });
            let mut default = Profile::of_minor(36);
            let found = default.clone().configured(configuration).unwrap();
            expected(&mut default);
            assert_eq!(found, default);
        };
        check(json!({}), |_| {});
        check(
            json!({ "plugins": { "score": { "disabled": [{ "name": "ImageLocality" }],
                "enabled": [{ "name": "NodeAffinity", "weight": 7 }] } } }),
            |profile| profile.weights = [0, 2, 7, 1, 1, 2, 3],
        );
        check(
            json!({ "pluginConfig": [{ "name": "InterPodAffinity", "args": { "hardPodAffinityWeight": 9 } },
                { "name": "NodeResourcesFit", "args": { "scoringStrategy": { "type": "MostAllocated" } } }] }),
            |profile| (profile.hard_affinity, profile.strategy) = (9, Strategy::MostAllocated),
        );
        check(
            json!({ "pluginConfig": [{ "name": "PodTopologySpread", "args": { "defaultingType": "List" } }] }),
            |profile| profile.spread = Some(Vec::new()),
        );
        let strange = json!({ "profiles": [{ "pluginConfig": [{ "name": "NodeResourcesFit",
            "args": { "scoringStrategy": { "type": "RequestedToCapacityRatio" } } }] }] });
        assert!(Profile::of_minor(36).configured(strange).is_err());
    }
}
