//! How long Services have no ready endpoint: from the watch events of their EndpointSlices, and looked at 20 times a
//! second beside it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use testkit::wait_until;
use tokio::task::JoinSet;

use super::super::rig::PATIENCE;

/// Between two samples.
const EVERY: Duration = Duration::from_millis(50);

/// Namespace and name.
type Service = (String, String);

/// What was seen of a Service since it was first whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Ready endpoints by slice.
    slices: BTreeMap<String, usize>,
    /// Is being judged.
    judged: bool,
    /// Since when it has none.
    down: Option<Instant>,
    /// Fewest ready endpoints.
    pub(super) fewest: Option<usize>,
    /// Without any, by events.
    pub(super) outage: Duration,
    pub(super) samples: usize,
    /// Samples without any.
    pub(super) empty: usize,
    /// Versions of its slices.
    pub(super) events: usize,
}

impl Seen {
    fn ready(&self) -> usize {
        self.slices.values().sum()
    }

    /// After a change at this time.
    fn judge(&mut self, now: Instant) {
        if !self.judged {
            return;
        }
        let ready = self.ready();
        self.events += 1;
        self.fewest = Some(self.fewest.map_or(ready, |fewest| fewest.min(ready)));
        match self.down {
            Some(since) if ready > 0 => {
                self.outage += now - since;
                self.down = None;
            }
            None if ready == 0 => self.down = Some(now),
            _ => {}
        }
    }
}

#[derive(Clone)]
pub(super) struct Sampler {
    services: Arc<Mutex<BTreeMap<Service, Seen>>>,
    /// How often the watch failed: what happened meanwhile was not seen.
    failures: Arc<AtomicUsize>,
    _tasks: Arc<JoinSet<()>>,
}

impl Sampler {
    /// Watches all Services of the cluster.
    pub(super) fn start(client: &Client) -> Self {
        let services: Arc<Mutex<BTreeMap<Service, Seen>>> = Arc::default();
        let api: Api<EndpointSlice> = Api::all(client.clone());
        let mut tasks = JoinSet::new();
        let failures: Arc<AtomicUsize> = Arc::default();
        let (shared, failed) = (services.clone(), failures.clone());
        tasks.spawn(async move {
            let mut events = watcher(api, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                let now = Instant::now();
                let mut services = lock(&shared);
                match event {
                    Ok(Event::Apply(slice) | Event::InitApply(slice)) => {
                        see(&mut services, &slice, true, now);
                    }
                    Ok(Event::Delete(slice)) => see(&mut services, &slice, false, now),
                    Ok(Event::Init | Event::InitDone) => {}
                    Err(_) => drop(failed.fetch_add(1, Ordering::SeqCst)),
                }
            }
        });
        let shared = services.clone();
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                for seen in lock(&shared).values_mut().filter(|seen| seen.judged) {
                    seen.samples += 1;
                    seen.empty += usize::from(seen.ready() == 0);
                }
            }
        });
        Self {
            services,
            failures,
            _tasks: Arc::new(tasks),
        }
    }

    /// How often the watch failed.
    pub(super) fn failures(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }

    /// Waits until so many Services of a namespace have a ready endpoint; from then on they are judged.
    pub(super) async fn judge(&self, namespace: &str, count: usize) -> Result<()> {
        let what = format!("{count} Services of {namespace} have endpoints");
        wait_until(PATIENCE, &what, async || {
            let mut services = lock(&self.services);
            let all = || services.iter().filter(|((ns, _), _)| ns == namespace);
            let ready = all().filter(|(_, seen)| seen.ready() > 0).count();
            if ready < count {
                return Ok(Err(ready));
            }
            for ((ns, _), seen) in services.iter_mut() {
                if ns == namespace {
                    seen.judged = true;
                    seen.fewest = Some(seen.ready());
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    /// What was seen of each Service of a namespace until now.
    pub(super) fn seen(&self, namespace: &str) -> BTreeMap<String, Seen> {
        let now = Instant::now();
        let services = lock(&self.services);
        let all = services.iter().filter(|((ns, _), _)| ns == namespace);
        all.map(|((_, name), seen)| {
            let mut seen = seen.clone();
            if let Some(since) = seen.down {
                seen.outage += now - since;
            }
            (name.clone(), seen)
        })
        .collect()
    }
}

fn see(services: &mut BTreeMap<Service, Seen>, slice: &EndpointSlice, there: bool, now: Instant) {
    let labels = slice.metadata.labels.as_ref();
    let Some(service) = labels.and_then(|labels| labels.get("kubernetes.io/service-name")) else {
        return;
    };
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    let name = slice.metadata.name.clone().unwrap_or_default();
    let seen = services.entry((namespace, service.clone())).or_default();
    if there {
        let ready = slice.endpoints.iter().filter(|endpoint| {
            // As the API says: unknown counts as ready.
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|conditions| conditions.ready) != Some(false)
        });
        seen.slices.insert(name, ready.count());
    } else {
        seen.slices.remove(&name);
    }
    seen.judge(now);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_endpoints_adds_up() {
        let mut seen = Seen {
            judged: true,
            ..Seen::default()
        };
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, ready) in [(0, 1), (100, 0), (150, 0), (300, 2), (400, 0), (450, 1)] {
            seen.slices.insert("slice".to_owned(), ready);
            seen.judge(at(ms));
        }
        assert_eq!(seen.outage, Duration::from_millis(250));
        assert_eq!(seen.fewest, Some(0));
    }
}
