use std::sync::Arc;

use model::{
    Amount, Budget, Kind, Requirement, RequirementOperator, Selector, Strategy, Workload,
    WorkloadKind,
};

use super::{Fact, Mirrored, controller, key, version};
use crate::mirror::intern::Interner;
use crate::mirror::wire;

pub(super) fn selector(selector: &wire::LabelSelector, interner: &mut Interner) -> Selector {
    let exact = selector
        .match_labels
        .iter()
        .map(|(key, value)| Requirement {
            key: interner.text(key),
            operator: RequirementOperator::In,
            values: vec![interner.text(value)],
        });
    let mut requirements: Vec<_> = exact.collect();
    requirements.extend(selector.match_expressions.iter().filter_map(|expression| {
        let operator = match expression.operator.as_str() {
            "In" => RequirementOperator::In,
            "NotIn" => RequirementOperator::NotIn,
            "Exists" => RequirementOperator::Exists,
            "DoesNotExist" => RequirementOperator::DoesNotExist,
            _ => return None,
        };
        let values = expression
            .values
            .iter()
            .map(|value| interner.text(value))
            .collect();
        Some(Requirement {
            key: interner.text(&expression.key),
            operator,
            values,
        })
    }));
    Selector { requirements }
}

impl Mirrored for wire::Budget {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let amount =
            |amount: &Option<wire::IntOrText>| amount.as_ref().and_then(wire::IntOrText::amount);
        let failed = self.status.conditions.iter().find(|condition| {
            condition.r#type == "DisruptionAllowed"
                && condition.status == "False"
                && condition.reason == "SyncFailed"
        });
        Fact::Budget(Arc::new(Budget {
            key: key(&self.metadata, interner),
            uid: self.metadata.uid.as_str().into(),
            version: version(&self.metadata),
            generation: self.metadata.generation,
            observed_generation: self.status.observed_generation,
            selector: self
                .spec
                .selector
                .as_ref()
                .map(|labels| selector(labels, interner)),
            min_available: amount(&self.spec.min_available),
            max_unavailable: amount(&self.spec.max_unavailable),
            always_allow_unhealthy: self.spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
            allowed: self.status.disruptions_allowed,
            healthy: self.status.current_healthy,
            desired: self.status.desired_healthy,
            expected: self.status.expected_pods,
            disrupted: self
                .status
                .disrupted_pods
                .keys()
                .map(|pod| pod.as_str().into())
                .collect(),
            sync_failed: failed.map(|condition| condition.message.as_str().into()),
        }))
    }
}

impl Mirrored for wire::Workload {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, kind: Kind, interner: &mut Interner) -> Fact {
        let kind = match kind {
            Kind::Deployments => WorkloadKind::Deployment,
            Kind::StatefulSets => WorkloadKind::StatefulSet,
            Kind::DaemonSets => WorkloadKind::DaemonSet,
            Kind::Jobs => WorkloadKind::Job,
            _ => WorkloadKind::ReplicaSet,
        };
        // Defaults of apps/v1 and batch/v1: one replica, 25 % surge.
        let surge = self
            .spec
            .strategy
            .rolling_update
            .max_surge
            .as_ref()
            .and_then(wire::IntOrText::amount);
        let strategy = match self.spec.strategy.r#type.as_str() {
            "Recreate" => Strategy::Recreate,
            _ => Strategy::RollingUpdate {
                max_surge: surge.unwrap_or(Amount::Percent(25)),
            },
        };
        Fact::Workload(Arc::new(Workload {
            kind,
            key: key(&self.metadata, interner),
            uid: model::Uid(interner.text(&self.metadata.uid)),
            owner: controller(&self.metadata, interner),
            labels: interner.labels(&self.metadata.labels),
            replicas: match kind {
                WorkloadKind::DaemonSet => 0,
                WorkloadKind::Job => self.spec.parallelism.unwrap_or(1),
                _ => self.spec.replicas.unwrap_or(1),
            },
            min_ready_seconds: self.spec.min_ready_seconds,
            strategy: (kind == WorkloadKind::Deployment).then_some(strategy),
            terminating: self.metadata.deletion_timestamp.is_some(),
        }))
    }
}
