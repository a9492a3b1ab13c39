//! Who may write: one leader, by a Lease. As client-go's leader election (15 s Lease, 10 s to renew, a try every 2 s):
//! whether somebody else's Lease has ended is judged by how long *we* saw it unchanged, never by comparing clocks of two
//! machines, and every write is a compare-and-swap, so a leader that was paused cannot extend what it lost.

use std::time::Duration;

use http::{Method, Request};
use jiff::Timestamp;
use model::Refusal;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::connect::Cluster;
use crate::refusal::refusal;

/// Name, place and times of an election.
#[derive(Clone, Debug)]
pub struct ElectorOptions {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are: different for every process.
    pub identity: String,
    /// How long a Lease counts after we last saw it change.
    pub lease: Duration,
    /// A leader that could not renew for so long stands down.
    pub renew: Duration,
    /// How long between two tries.
    pub retry: Duration,
}

impl ElectorOptions {
    /// The times of client-go.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Takes part in an election until stopped or dropped.
pub struct Elector {
    leading: watch::Receiver<bool>,
    term: watch::Receiver<Option<u64>>,
    holder: watch::Receiver<Option<String>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Elector {
    /// Starts to take part.
    pub fn start(cluster: &Cluster, options: ElectorOptions) -> Self {
        let (leading_out, leading) = watch::channel(false);
        let (term_out, term) = watch::channel(None);
        let (holder_out, holder) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let candidate = Candidate {
            cluster: cluster.clone(),
            options,
            seen: None,
            renewed: None,
            leading: leading_out,
            term: term_out,
            holder: holder_out,
        };
        Self {
            leading,
            term,
            holder,
            stop: Some(stop),
            task: tokio::spawn(candidate.run(stopped)),
        }
    }

    /// Whether we lead, as it changes.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// The fencing number of our leadership (`leaseTransitions`, which grows with every change of leader); `None` when we
    /// do not lead.
    pub fn term(&self) -> Option<u64> {
        *self.term.borrow()
    }

    /// Who holds the Lease as we last saw it, we or another; `None` when nobody does or nothing is known.
    pub fn holder(&self) -> Option<String> {
        self.holder.borrow().clone()
    }

    /// Stands down, releases the Lease so that another can lead at once, and ends.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended already.
            let _ = stop.send(());
        }
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "the elector did not end well");
        }
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Candidate {
    cluster: Cluster,
    options: ElectorOptions,
    /// The Lease's holder and renewal as last seen to change, and when that was by our own clock.
    seen: Option<(Value, Instant)>,
    /// When we last renewed: before the request was sent.
    renewed: Option<Instant>,
    leading: watch::Sender<bool>,
    term: watch::Sender<Option<u64>>,
    holder: watch::Sender<Option<String>>,
}

/// What to write, given what is there.
#[derive(Debug, PartialEq)]
enum Step {
    Create,
    Replace { spec: Value, term: u64 },
    Wait,
}

impl Candidate {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let sent = Instant::now();
            let limit = self.options.renew.min(self.cluster.request_timeout);
            let tried = tokio::select! {
                tried = timeout(limit, self.attempt()) => tried,
                _ = &mut stopped => break,
            };
            match tried {
                Ok(Ok(Some(term))) => self.lead(sent, term),
                // Somebody else holds it.
                Ok(Ok(None)) => self.stand_down(),
                Ok(Err(refusal)) => self.failed(&format!("{refusal:?}")),
                Err(_) => self.failed("no answer"),
            }
            tokio::select! {
                () = sleep(self.options.retry) => {}
                () = sleep_until_lost(self.renewed, self.options.renew) => self.failed("not renewed in time"),
                _ = &mut stopped => break,
            }
        }
        let led = *self.leading.borrow();
        self.stand_down();
        if led && let Err(refusal) = self.release().await {
            tracing::info!(
                ?refusal,
                "the leader Lease was not released; it ends by itself"
            );
        }
    }

    fn lead(&mut self, sent: Instant, term: u64) {
        self.renewed = Some(sent);
        self.term.send_replace(Some(term));
        self.leading
            .send_if_modified(|leading| !std::mem::replace(leading, true));
    }

    fn stand_down(&mut self) {
        self.renewed = None;
        self.leading
            .send_if_modified(|leading| std::mem::replace(leading, false));
        self.term.send_replace(None);
    }

    fn failed(&mut self, why: &str) {
        tracing::debug!(why, "leader Lease");
        if self
            .renewed
            .is_some_and(|renewed| renewed.elapsed() >= self.options.renew)
        {
            tracing::warn!(why, "standing down as leader");
            self.stand_down();
        }
    }

    /// One try; the term when the Lease is ours.
    async fn attempt(&mut self) -> Result<Option<u64>, Refusal> {
        let path = self.path();
        let mut lease = match self.call(Method::GET, &path, None).await {
            Ok(lease) => Some(lease),
            Err(Refusal::Gone) => None,
            Err(refusal) => return Err(refusal),
        };
        let holder = lease.as_ref().map(|lease| &lease["spec"]["holderIdentity"]);
        self.saw(holder.and_then(Value::as_str).unwrap_or_default());
        let step = decide(
            &self.options,
            &mut self.seen,
            lease.as_ref(),
            Instant::now(),
            Timestamp::now(),
        );
        let (written, term) = match (step, &mut lease) {
            (Step::Wait, _) => return Ok(None),
            (Step::Replace { spec, term }, Some(lease)) => {
                lease["spec"] = spec;
                (self.call(Method::PUT, &path, Some(lease)).await, term)
            }
            _ => {
                let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.options.name, "namespace": self.options.namespace},
                    "spec": spec(&self.options, None, 0, Timestamp::now())});
                (
                    self.call(Method::POST, &self.collection(), Some(&lease))
                        .await,
                    0,
                )
            }
        };
        match written {
            Ok(_) => {
                self.saw(&self.options.identity);
                Ok(Some(term))
            }
            // Somebody was faster; the next look tells who.
            Err(Refusal::Changed { .. }) => Err(Refusal::Changed {
                message: "another candidate was faster".into(),
            }),
            Err(refusal) => Err(refusal),
        }
    }

    fn saw(&self, holder: &str) {
        self.holder
            .send_replace(Some(holder.to_owned()).filter(|holder| !holder.is_empty()));
    }

    async fn release(&self) -> Result<(), Refusal> {
        let mut lease = self.call(Method::GET, &self.path(), None).await?;
        if lease["spec"]["holderIdentity"] == self.options.identity.as_str() {
            lease["spec"]["holderIdentity"] = "".into();
            lease["spec"]["leaseDurationSeconds"] = 1.into();
            self.call(Method::PUT, &self.path(), Some(&lease)).await?;
        }
        Ok(())
    }

    fn collection(&self) -> String {
        format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
            crate::percent_encode(&self.options.namespace)
        )
    }

    fn path(&self) -> String {
        format!(
            "{}/{}",
            self.collection(),
            crate::percent_encode(&self.options.name)
        )
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(
                body.map(|body| body.to_string().into_bytes())
                    .unwrap_or_default(),
            )
            .map_err(|error| Refusal::Rejected {
                status: 0,
                message: error.to_string().into(),
            })?;
        self.cluster
            .writer
            .request::<Value>(request)
            .await
            .map_err(|error| refusal(&error))
    }
}

async fn sleep_until_lost(renewed: Option<Instant>, renew: Duration) {
    match renewed {
        Some(renewed) => tokio::time::sleep_until(renewed + renew).await,
        None => std::future::pending().await,
    }
}

/// What to do about a Lease as it is now. `seen` remembers when it last changed.
fn decide(
    options: &ElectorOptions,
    seen: &mut Option<(Value, Instant)>,
    lease: Option<&Value>,
    now: Instant,
    clock: Timestamp,
) -> Step {
    let Some(lease) = lease else {
        return Step::Create;
    };
    let old = &lease["spec"];
    let mark = json!([
        lease["metadata"]["uid"],
        lease["metadata"]["resourceVersion"]
    ]);
    let since = match seen {
        Some((known, since)) if *known == mark => *since,
        _ => {
            *seen = Some((mark, now));
            now
        }
    };
    let holder = old["holderIdentity"].as_str().unwrap_or_default();
    let ours = holder == options.identity;
    // The holder's own duration counts, as its writer promised it.
    let duration = old["leaseDurationSeconds"]
        .as_u64()
        .map_or(options.lease, Duration::from_secs);
    if !ours && !holder.is_empty() && now.duration_since(since) < duration {
        return Step::Wait;
    }
    let transitions = old["leaseTransitions"].as_u64().unwrap_or_default();
    let term = if ours { transitions } else { transitions + 1 };
    let acquired = ours.then(|| old["acquireTime"].clone());
    Step::Replace {
        spec: spec(options, acquired, term, clock),
        term,
    }
}

fn spec(options: &ElectorOptions, acquired: Option<Value>, term: u64, now: Timestamp) -> Value {
    let now = Value::from(format!("{now:.6}"));
    json!({
        "holderIdentity": options.identity,
        "leaseDurationSeconds": options.lease.as_secs(),
        "acquireTime": acquired.unwrap_or_else(|| now.clone()),
        "renewTime": now,
        "leaseTransitions": term,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_lease_ends_only_after_we_saw_it_unchanged() {
        let options = ElectorOptions::new("n", "l", "me");
        let start = Instant::now();
        let clock = Timestamp::UNIX_EPOCH;
        let mut seen = None;
        let lease = |version: &str, holder: &str| {
            json!({"metadata": {"uid": "u", "resourceVersion": version}, "spec": {"holderIdentity": holder,
                "leaseDurationSeconds": 15, "leaseTransitions": 3, "renewTime": "1990-01-01T00:00:00.000000Z"}})
        };
        let mut step = |lease: &Value, seconds| match decide(
            &options,
            &mut seen,
            Some(lease),
            start + Duration::from_secs(seconds),
            clock,
        ) {
            Step::Replace { term, .. } => Some(term),
            Step::Wait | Step::Create => None,
        };
        // Its clock says it ended decades ago; ours has just seen it.
        assert_eq!(step(&lease("1", "other"), 0), None);
        assert_eq!(step(&lease("1", "other"), 14), None);
        assert_eq!(step(&lease("2", "other"), 16), None, "renewed");
        assert_eq!(step(&lease("2", "other"), 31), Some(4), "ended; a new term");
        assert_eq!(
            step(&lease("3", "me"), 32),
            Some(3),
            "renewing keeps the term"
        );
        assert_eq!(step(&lease("4", ""), 33), Some(4), "released");
        assert_eq!(
            decide(&options, &mut None, None, start, clock),
            Step::Create
        );
    }
}
