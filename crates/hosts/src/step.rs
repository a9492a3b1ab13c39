//! One step on a host by hand: a look, what speaks against it, the order, and a look at what came of it. Each order is in
//! the audit log before it leaves and after it has ended, so that none is lost without a word.

use std::collections::BTreeSet;
use std::time::Duration;

use host::{
    Action, Check, HostFacts, Objection, Order, Probe, RuntimeName, Unit, check_after, precheck,
};
use model::{Text, Time};
use store::{AuditRow, Store, StoreError};
use tokio::time::{Instant, sleep_until};

use crate::error::HostError;
use crate::way::{Acted, Look, Way, WayName};

/// Between two looks at what came of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so many looks that do not show a sign either way, it will not show.
const UNSEEN: u32 = 3;
/// How long a unit may take to work again.
const RESTARTED_WITHIN: Duration = Duration::from_secs(60);
/// How long a machine may take to come back.
const REBOOTED_WITHIN: Duration = Duration::from_secs(600);
/// How long anything else may take to show.
const SHOWS_WITHIN: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct StepAsked {
    /// What to do.
    pub action: Action,
    /// Of which host: what the audit log calls it.
    pub object: Text,
    /// Who asks.
    pub by: Text,
    /// Why.
    pub reason: String,
    /// They agree by name to what may be lost.
    pub consent: bool,
    /// Pods that a restart of the machine would take with it ([`crate::pods_left`]).
    pub pods_left: usize,
    /// Do it although something speaks against it.
    pub force: bool,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Step {
    /// By which way.
    pub way: WayName,
    /// What spoke against it, and was overridden.
    pub objections: Vec<Objection>,
    /// Number of the order.
    pub generation: u64,
    /// What the host said.
    pub acted: Acted,
    /// The signs that it worked.
    pub checks: Vec<Check>,
    /// From the order to the last look.
    pub took: Duration,
}

impl StepError {
    /// Stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Objected { .. } => "step_objected",
            Self::NotDrained { .. } => "not_drained",
            Self::NoConsent { .. } => "consent_missing",
            Self::NoBoot => "boot_unknown",
            Self::Host(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}

impl Step {
    /// It was done and every sign that can be seen shows that it worked.
    pub fn worked(&self) -> bool {
        self.acted.ok && self.checks.iter().all(|check| check.holds != Some(false))
    }
}

/// Why a step was not taken, or its end is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// Something speaks against it. Nothing was done.
    #[error("{} things speak against it", .objections.len())]
    Objected {
        /// What.
        objections: Vec<Objection>,
    },
    /// Restarting a machine takes its containers with it, and it is not drained. Nothing was done.
    #[error("{pods} pods would be lost")]
    NotDrained {
        /// How many.
        pods: usize,
    },
    /// May lose data or running work, and nobody agreed to that. Nothing was done.
    #[error("{action} needs somebody's consent")]
    NoConsent {
        /// The action's word.
        action: &'static str,
    },
    /// The host does not say which boot it runs, so an order could not be kept from running twice. Nothing was done.
    #[error("the host does not say which boot it runs")]
    NoBoot,
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

/// Takes a step; `before` is a look that was just made.
///
/// # Errors
/// [`StepError`] says whether anything was done.
pub async fn take(
    way: &Way,
    store: &Store,
    asked: &StepAsked,
    before: &HostFacts,
) -> Result<Step, StepError> {
    let began = Instant::now();
    let given = give(way, store, asked, before).await?;
    let checks = if given.acted.ok {
        watch(way, &asked.action, before).await
    } else {
        Vec::new()
    };
    Ok(Step {
        way: way.name(),
        objections: given.objections,
        generation: given.generation,
        acted: given.acted,
        checks,
        took: began.elapsed(),
    })
}

/// An order, and what the host said.
#[derive(Clone, Debug)]
pub struct Given {
    /// What spoke against it, and was overridden.
    pub objections: Vec<Objection>,
    /// Number of the order.
    pub generation: u64,
    /// What the host said.
    pub acted: Acted,
}

/// The order of a step, without the look afterwards.
///
/// # Errors
/// [`StepError`] says whether anything was done.
pub async fn give(
    way: &Way,
    store: &Store,
    asked: &StepAsked,
    before: &HostFacts,
) -> Result<Given, StepError> {
    if asked.action == Action::Reboot && asked.pods_left > 0 && !asked.force {
        let pods = asked.pods_left;
        return Err(StepError::NotDrained { pods });
    }
    let objections = precheck(&asked.action, before);
    if !objections.is_empty() && !asked.force {
        return Err(StepError::Objected { objections });
    }
    if asked.action.needs_consent() && !asked.consent {
        let action = asked.action.label();
        return Err(StepError::NoConsent { action });
    }
    let boot = before.boot.clone().ok_or(StepError::NoBoot)?;
    // Milliseconds since 1970: grows from one order to the next, whichever server or person gives it.
    let generation = u64::try_from(Time::now().as_millisecond()).unwrap_or_default();
    let order = Order {
        // A step by hand is an operation of one order.
        operation: format!("{}@{generation}", asked.by),
        generation,
        boot,
        action: asked.action.clone(),
        consent: asked.consent,
    };
    store.audit(entry(asked, &order, BEGAN, "")).await?;
    let acted = way.act(&order).await;
    let (outcome, detail) = match &acted {
        Ok(acted) if acted.ok => ("done", acted.output.clone()),
        Ok(acted) => ("failed", acted.output.clone()),
        Err(error) => (error.code(), error.to_string()),
    };
    store.audit(entry(asked, &order, outcome, &detail)).await?;
    Ok(Given {
        objections,
        generation,
        acted: acted?,
    })
}

/// Looks until every sign shows, or the watch time is over.
async fn watch(way: &Way, action: &Action, before: &HostFacts) -> Vec<Check> {
    let within = match action {
        Action::Restart { .. } => RESTARTED_WITHIN,
        Action::Reboot => REBOOTED_WITHIN,
        _ => SHOWS_WITHIN,
    };
    let until = Instant::now() + within;
    let mut checks = check_after(action, before, &HostFacts::default());
    let mut unseen = 0;
    loop {
        // A host that is restarting does not answer for a while.
        if let Ok(look) = look_for_step(way).await {
            checks = check_after(action, before, &look.facts);
            if checks.iter().all(|check| check.holds == Some(true)) {
                return checks;
            }
            unseen = match checks.iter().any(|check| check.holds == Some(false)) {
                true => 0,
                false => unseen + 1,
            };
            if unseen == UNSEEN {
                return checks;
            }
        }
        let next = Instant::now() + LOOK_EVERY;
        if next > until {
            return checks;
        }
        sleep_until(next).await;
    }
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

fn entry(asked: &StepAsked, order: &Order, outcome: &str, output: &str) -> AuditRow {
    let detail = serde_json::json!({
        "order": order,
        "reason": asked.reason,
        "forced": asked.force,
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
    use host::BootId;

    fn asked() -> StepAsked {
        StepAsked {
            action: Action::ReexecSystemd,
            object: "c/n".into(),
            by: "alice".into(),
            reason: "because".to_owned(),
            consent: false,
            force: false,
            pods_left: 0,
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
