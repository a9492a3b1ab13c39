//! Orders to hosts, with a word about each in the audit log; and the look by which a step is judged.

use std::collections::BTreeSet;

use host::{HostFacts, Order, Probe, RuntimeName, Unit};
use model::{Text, Time};
use store::{AuditRow, Store, StoreError};

use crate::error::HostError;
use crate::way::{Acted, Look, Way};

/// Who asks for an order, as the audit log has it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Of which host: what the audit log calls it.
    pub object: Text,
    /// Who asks.
    pub by: Text,
    /// Why.
    pub reason: Text,
    /// Although something speaks against it.
    pub forced: bool,
}

/// Why an order was not given, or its end is not known.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The record. When it fails before the order nothing was done.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All that a judgement of an action reads: no logs.
const PROBES: &[Probe] = &[
    Probe::Files,
    Probe::Processes,
    Probe::Descriptors,
    Probe::Mounts,
    Probe::Write,
    Probe::Units,
    Probe::Bus,
    Probe::Docker,
    Probe::Containerd,
    Probe::Kubelet,
    Probe::Certificates,
    Probe::Clock,
    Probe::Freezer,
];

/// The runtime whose daemon kubelet talks to: docker where it is installed and enabled or running, else containerd.
pub fn runtime_unit(facts: &HostFacts) -> Unit {
    let docker = facts.unit("docker").is_some_and(|unit| {
        unit.active == "active" || unit.enabled == "enabled" || unit.active == "failed"
    });
    if docker || facts.runtime(RuntimeName::Containerd).is_none() && facts.unit("docker").is_some()
    {
        Unit::Docker
    } else {
        Unit::Containerd
    }
}

/// A look at everything a step is judged by.
///
/// # Errors
/// The host cannot be reached.
pub async fn look_for_step(way: &Way) -> Result<Look, HostError> {
    way.look(PROBES).await
}

/// Gives an order. It is in the audit log before it leaves and after it has ended, so that none is lost without a word.
///
/// # Errors
/// [`GiveError`] says whether anything was done.
pub async fn give(
    way: &Way,
    store: &Store,
    asked: &Asked,
    order: &Order,
) -> Result<Acted, GiveError> {
    store.audit(entry(asked, order, BEGAN, "")).await?;
    let acted = way.act(order).await;
    let (outcome, detail) = match &acted {
        Ok(acted) if acted.ok => ("done", acted.output.clone()),
        Ok(acted) => ("failed", acted.output.clone()),
        Err(error) => (error.code(), error.to_string()),
    };
    store.audit(entry(asked, order, outcome, &detail)).await?;
    Ok(acted?)
}

/// So many entries of the audit log are looked through for orders without an end.
const RECENT: u32 = 1000;

/// Orders that began under a process that has died since, and whose end nobody wrote down: the host may or may not have
/// carried them out. Each gets the end `unknown` in the audit log, so that none is lost without a word; they come back
/// as `CLUSTER/NODE` and the order. To be called before the first step of a process that alone writes the record.
///
/// # Errors
/// The record cannot be read or written.
pub async fn settle(store: &Store) -> Result<Vec<(Text, Order)>, StoreError> {
    let entries = store.audit_log(RECENT, None).await?;
    let mut ended = BTreeSet::new();
    let mut lost = Vec::new();
    // The newest first: an end comes before its beginning.
    for row in entries.into_iter().map(|entry| entry.row) {
        let Some(order) = order_of(&row) else {
            continue;
        };
        let key = (row.object.clone(), order.generation);
        if &*row.outcome != BEGAN {
            ended.insert(key);
        } else if !ended.contains(&key) {
            lost.push((row, order));
        }
    }
    let mut told = Vec::new();
    for (row, order) in lost.into_iter().rev() {
        let object = row.object.clone();
        store
            .audit(AuditRow {
                at: Time::now(),
                outcome: "unknown".into(),
                ..row
            })
            .await?;
        told.push((object, order));
    }
    Ok(told)
}

/// The order that an entry of the audit log is about.
fn order_of(row: &AuditRow) -> Option<Order> {
    row.verb.strip_prefix("host.")?;
    let detail: serde_json::Value = serde_json::from_str(&row.detail).ok()?;
    serde_json::from_value(detail.get("order")?.clone()).ok()
}

/// What the audit log calls the beginning of an order.
const BEGAN: &str = "began";

fn entry(asked: &Asked, order: &Order, outcome: &str, output: &str) -> AuditRow {
    let detail = serde_json::json!({
        "order": order,
        "reason": asked.reason,
        "forced": asked.forced,
        "output": output.chars().take(2000).collect::<String>(),
    });
    AuditRow {
        at: Time::now(),
        who: asked.by.clone(),
        verb: format!("host.{}", order.action.label()).into(),
        object: asked.object.clone(),
        outcome: outcome.into(),
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::{Action, BootId};

    fn asked() -> Asked {
        Asked {
            object: "c/n".into(),
            by: "alice".into(),
            reason: "because".into(),
            forced: false,
        }
    }

    fn order(generation: u64) -> Order {
        Order {
            operation: "o".to_owned(),
            generation,
            boot: BootId::new("0f0e0d0c-0b0a-0908-0706-050403020100").unwrap(),
            action: Action::ReexecSystemd,
            consent: false,
        }
    }

    #[tokio::test]
    async fn an_order_without_an_end_gets_one_once() {
        let store = Store::in_memory(store::Options::new(1)).unwrap();
        let write = async |generation, outcome| {
            let row = entry(&asked(), &order(generation), outcome, "");
            store.audit(row).await.unwrap();
        };
        write(1, BEGAN).await;
        write(1, "done").await;
        write(2, BEGAN).await;
        write(3, BEGAN).await;
        write(3, "host_lost").await;
        let lost = settle(&store).await.unwrap();
        let expected: (Text, Order) = ("c/n".into(), order(2));
        assert_eq!(lost, [expected]);
        let newest = store.audit_log(1, None).await.unwrap().remove(0).row;
        assert_eq!((&*newest.outcome, &*newest.who), ("unknown", "alice"));
        assert_eq!(settle(&store).await.unwrap(), []);
    }
}
