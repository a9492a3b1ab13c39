//! What all requests share, and how a request becomes a caller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use kubernetes::Identity;
use model::{OperationId, Person, Text};
use service::{Member, Service, ServiceError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Failure};
use crate::auth::{self, Shows, Tokens};
use crate::clusters::Clusters;
use crate::hosts::Hosts;
use crate::leader::Leader;
use crate::looks::Looks;
use crate::metrics::Metrics;

/// So many live streams at once.
const STREAMS: usize = 256;
/// So many of them of one person: nobody takes all.
const STREAMS_EACH: usize = 32;
/// So many bundles of evidence at once: each may have as much as a bundle has.
const HEAVY: usize = 4;

pub(crate) struct App {
    pub(crate) engine: Service,
    pub(crate) clusters: Clusters,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) looks: Looks,
    pub(crate) leader: Arc<Leader>,
    pub(crate) metrics: Metrics,
    streams: Arc<Semaphore>,
    /// How many streams each person has.
    shares: Arc<Mutex<BTreeMap<Text, usize>>>,
    /// What takes much memory and processor for one request.
    pub(crate) heavy: Arc<Semaphore>,
    /// Cancelled when the shutdown begins.
    pub(crate) stop: CancellationToken,
    pub(crate) body_limit: usize,
    pub(crate) request_timeout: Duration,
    tokens: Tokens,
    work: Mutex<JoinSet<()>>,
}

/// A place among the live streams.
pub(crate) struct Stream {
    _place: OwnedSemaphorePermit,
    shares: Arc<Mutex<BTreeMap<Text, usize>>>,
    user: Text,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        match shares.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(shares.remove(&self.user)),
        }
    }
}

/// Somebody who asks, in one cluster.
pub(crate) struct Caller {
    pub(crate) member: Member,
    pub(crate) identity: Identity,
    pub(crate) person: Person,
}

impl App {
    pub(crate) fn new(
        engine: Service,
        clusters: Clusters,
        hosts: Arc<Hosts>,
        leader: Arc<Leader>,
        body_limit: usize,
        request_timeout: Duration,
    ) -> Self {
        Self {
            engine,
            clusters,
            hosts,
            looks: Looks::default(),
            leader,
            metrics: Metrics::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            shares: Arc::default(),
            heavy: Arc::new(Semaphore::new(HEAVY)),
            stop: CancellationToken::new(),
            body_limit,
            request_timeout,
            tokens: Tokens::default(),
            work: Mutex::default(),
        }
    }

    /// A place for a stream of theirs, as long as it is kept.
    pub(crate) fn stream(&self, person: &Person) -> Answer<Stream> {
        let full = || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams");
        let place = self.streams.clone().try_acquire_owned();
        let place = place.map_err(|_| full())?;
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let count = shares.entry(person.user.clone()).or_default();
        if *count >= STREAMS_EACH {
            return Err(full());
        }
        *count += 1;
        drop(shares);
        Ok(Stream {
            _place: place,
            shares: self.shares.clone(),
            user: person.user.clone(),
        })
    }

    /// The caller of a request about a cluster, who may see there what the call shows.
    pub(crate) async fn in_cluster(
        &self,
        headers: &HeaderMap,
        cluster: &str,
        shows: Shows,
    ) -> Answer<Caller> {
        let token = auth::bearer(headers)?;
        match self.engine.find(cluster) {
            Ok(member) => self.caller(member, token, shows).await,
            Err(error) => {
                self.everywhere(headers).await?;
                let missing = self.clusters.missing();
                match missing.iter().find(|(name, _)| name == cluster) {
                    Some((name, code)) => Err(unreachable(name, code)),
                    None => Err(error.into()),
                }
            }
        }
    }

    /// The caller of a request about an operation, who may see what it shows of its cluster.
    pub(crate) async fn in_operation(
        &self,
        headers: &HeaderMap,
        id: &OperationId,
    ) -> Answer<Caller> {
        let token = auth::bearer(headers)?;
        let Some(recorded) = self.engine.store().operation(id).await? else {
            self.everywhere(headers).await?;
            // The record here is not the leader's.
            self.leader.check()?;
            let operation = id.clone();
            return Err(ServiceError::UnknownOperation { operation }.into());
        };
        match self.engine.find(recorded.operation.cluster.as_str()) {
            Ok(member) => self.caller(member, token, Shows::Pods).await,
            Err(error) => {
                self.everywhere(headers).await?;
                // It may be one that was not reached yet: those are not known by id.
                match self.clusters.missing().first() {
                    Some((name, code)) => Err(unreachable(name, code)),
                    None => Err(error.into()),
                }
            }
        }
    }

    /// The caller in each cluster that accepts the token; refused when none does.
    pub(crate) async fn everywhere(&self, headers: &HeaderMap) -> Answer<Vec<Caller>> {
        let token = auth::bearer(headers)?;
        let members = self.engine.members();
        if members.is_empty() {
            let missing = self.clusters.missing();
            let (name, code) = missing
                .first()
                .map_or(("", ""), |(name, code)| (name, *code));
            return Err(unreachable(name, code));
        }
        let asked = members
            .into_iter()
            .map(|member| self.identified(member, token));
        let mut callers = Vec::new();
        let mut refusal = None;
        for answer in futures::future::join_all(asked).await {
            match answer {
                Ok(caller) => callers.push(caller),
                // That a cluster cannot tell weighs more than that another one says no.
                Err(failure) if failure.status == StatusCode::UNAUTHORIZED => {
                    refusal.get_or_insert(failure);
                }
                Err(failure) => refusal = Some(failure),
            }
        }
        match refusal {
            Some(refusal) if callers.is_empty() => Err(refusal),
            _ => Ok(callers),
        }
    }

    async fn caller(&self, member: Member, token: &str, shows: Shows) -> Answer<Caller> {
        let caller = self.identified(member, token).await?;
        caller.check(shows).await?;
        Ok(caller)
    }

    async fn identified(&self, member: Member, token: &str) -> Answer<Caller> {
        let identity = self.tokens.identify(&member, token).await?;
        let identity = identity.ok_or_else(auth::invalid)?;
        let person = auth::person(&identity)?;
        Ok(Caller {
            member,
            identity,
            person,
        })
    }

    /// Does something that must not stop half-way because the client has gone or the time is over. Only where we lead.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
    ) -> Answer<T> {
        Ok(self.finish(work).await??)
    }

    /// The same for what has errors of its own.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Answer<T> {
        self.leader.check()?;
        if self.stop.is_cancelled() {
            return Err(Failure::stopping());
        }
        let (done, answer) = oneshot::channel();
        {
            let mut all = self.work();
            while all.try_join_next().is_some() {}
            all.spawn(async move {
                // Whoever asked may have gone.
                let _ = done.send(work.await);
            });
        }
        match answer.await {
            Ok(result) => Ok(result),
            Err(_) if self.stop.is_cancelled() => Err(Failure::stopping()),
            Err(_) => Err(Failure::internal()),
        }
    }

    /// What was begun with [`App::change`], taken out to wait for or to end.
    pub(crate) fn take_work(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.work())
    }

    fn work(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// Refuses when they may not see what a call shows.
    pub(crate) async fn check(&self, shows: Shows) -> Answer<()> {
        let missing = auth::missing(&self.member, &self.identity, shows).await?;
        if missing.is_empty() {
            Ok(())
        } else {
            Err(auth::lacks(&self.identity, missing))
        }
    }
}

fn unreachable(name: &str, code: &str) -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "cluster_unreachable")
        .with("cluster", name)
        .with("why", code)
}
