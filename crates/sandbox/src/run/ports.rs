//! The engine's ports over the simulation.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use engine::{
    Act, Answer, Cause, Clock, Commit, Entry, Hands, Lacking, Pictures, Ports, Record, Row, Sight,
};
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use model::{ClusterId, NodeRef, OperationId, Person, Refusal, Snapshot, Text, Time};
use operations::kernel::Need;
use operations::kinds::{Effect, Request};
use tokio::sync::oneshot;

use super::mutant::Mutant;
use super::sim::{Asked, Due, Moment, Process, Shared};
use crate::Call;
use crate::executor::{Executor, Group};

/// How long a process takes what the one before it held for its own, when it is the bug that is planted.
const OLD: Duration = Duration::from_secs(20);

/// The ports of one process.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) sim: Shared,
    pub(super) process: Group,
    pub(super) executor: Executor,
}

impl Link {
    pub(super) fn ports(self) -> Ports {
        let link = Arc::new(self);
        Ports {
            clock: link.clone(),
            record: link.clone(),
            sight: link.clone(),
            act: link,
        }
    }

    /// Commits, after a while; never answers when the process dies of it.
    async fn commit(
        &self,
        id: OperationId,
        row: Option<Row>,
        first: u64,
        commit: Commit,
    ) -> Result<u64, Cause> {
        let (made, answer) = oneshot::channel();
        {
            let mut sim = self.sim.lock();
            let last = first + commit.entries.len() as u64 - 1;
            if !sim.dies(self.process, Moment::BeforeCommit) {
                let asked = Asked {
                    process: self.process,
                    id,
                    row,
                    first,
                    commit,
                    made,
                };
                sim.after((1, 15), Due::Commit(Box::new(asked)));
            }
            if sim.is(Mutant::AckBeforeDurable) {
                return Ok(last);
            }
        }
        match answer.await {
            Ok(Ok(seq)) => Ok(seq),
            Ok(Err(why)) => Err(why.into()),
            Err(_) => future::pending().await,
        }
    }
}

impl Clock for Link {
    fn now(&self) -> Time {
        self.sim.lock().now(self.process)
    }

    fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()> {
        let sim = self.sim.lock();
        let span = at.duration_since(sim.now(self.process));
        let mut until = sim.world.now + Duration::try_from(span).unwrap_or_default();
        if sim.is(Mutant::WakesLate) {
            until += Duration::from_secs(4);
        }
        if sim.is(Mutant::NeverSleeps) {
            // Others have their turn, at the same moment.
            let mut slept = false;
            let turn = future::poll_fn(move |context| {
                if std::mem::replace(&mut slept, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            });
            return turn.boxed();
        }
        self.executor.sleep_until(until).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.executor.spawn(self.process, task);
    }
}

impl Record for Link {
    fn begin(&self, row: Row, first: Commit) -> BoxFuture<'_, Result<(), Cause>> {
        let id = row.id.clone();
        let commit = self.commit(id, Some(row), 1, first);
        commit.map(|made| made.map(drop)).boxed()
    }

    fn append(
        &self,
        id: &OperationId,
        first: u64,
        commit: Commit,
    ) -> BoxFuture<'_, Result<u64, Cause>> {
        self.commit(id.clone(), None, first, commit).boxed()
    }

    fn operation(&self, id: &OperationId) -> BoxFuture<'_, Result<Option<Row>, Cause>> {
        let sim = self.sim.lock();
        let row = sim.records.get(id).map(|kept| kept.row.clone());
        future::ready(Ok(row)).boxed()
    }

    fn active(&self) -> BoxFuture<'_, Result<Vec<Row>, Cause>> {
        let mut sim = self.sim.lock();
        let once = sim.is(Mutant::AttendsOnce);
        if let Some(process) = sim.processes.get_mut(&self.process)
            && std::mem::replace(&mut process.attended, true)
            && once
        {
            return future::ready(Ok(Vec::new())).boxed();
        }
        let rows = sim.records.values().map(|kept| kept.row.clone());
        let rows = rows.filter(|row| !row.ended).collect();
        future::ready(Ok(rows)).boxed()
    }

    fn events(
        &self,
        id: &OperationId,
        after: u64,
    ) -> BoxFuture<'_, Result<Vec<(u64, Entry)>, Cause>> {
        let sim = self.sim.lock();
        let entries = sim.records.get(id).map(|kept| kept.entries.as_slice());
        let entries = (1u64..).zip(entries.unwrap_or_default().iter().cloned());
        let mut entries: Vec<_> = entries.filter(|(seq, _)| *seq > after).collect();
        if sim.is(Mutant::ForgetsTheTail) && entries.len() > 3 {
            entries.pop();
        }
        if sim.is(Mutant::PauseForgotten) {
            let paused = |entry: &Entry| entry.payload.contains(r#""event":"paused""#);
            entries.retain(|(_, entry)| !paused(entry));
        }
        future::ready(Ok(entries)).boxed()
    }

    fn next_generation(&self, _: &ClusterId, node: &Text) -> BoxFuture<'_, Result<u64, Cause>> {
        let mut sim = self.sim.lock();
        let number = sim.generations.entry(node.clone()).or_default();
        *number += 1;
        future::ready(Ok(*number)).boxed()
    }
}

impl Sight for Link {
    fn pictures(&self, _: &ClusterId) -> Option<Pictures> {
        let sim = self.sim.lock();
        let process = sim.processes.get(&self.process)?;
        Some(process.pictures.subscribe())
    }

    fn picture(&self, cluster: &ClusterId) -> BoxFuture<'_, Result<Arc<Snapshot>, Cause>> {
        let pictures = self.pictures(cluster);
        let picture = async move {
            let mut pictures = pictures.ok_or("the process is gone")?;
            let first = pictures.wait_for(Option::is_some).await?.clone();
            let first = first.ok_or("there is no picture")?;
            Ok(self.sim.lock().tampered_plan(first))
        };
        picture.boxed()
    }
}

impl Act for Link {
    fn leads(&self) -> bool {
        let sim = self.sim.lock();
        sim.is(Mutant::LeadsAlways)
            || sim
                .processes
                .get(&self.process)
                .is_some_and(|process| process.leads)
    }

    fn hands(&self, request: &Request) -> Result<Arc<dyn Hands>, Cause> {
        Ok(Arc::new(Reach {
            link: self.clone(),
            id: request.head().id.clone(),
        }))
    }

    fn missing(
        &self,
        _: &ClusterId,
        _: &Person,
        _: Vec<Need>,
    ) -> BoxFuture<'_, Result<Option<Lacking>, Cause>> {
        future::ready(Ok(None)).boxed()
    }
}

/// Acts for one operation.
struct Reach {
    link: Link,
    id: OperationId,
}

impl Hands for Reach {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Answer> {
        let (link, id) = (self.link.clone(), self.id.clone());
        async move {
            let (heard, answer) = oneshot::channel();
            // Only drains run here.
            let Effect::Drain(effect) = effect else {
                return Answer::default();
            };
            let lingers = link.sim.lock().lingers();
            if let Some(until) = lingers {
                link.executor.sleep_until(until).await;
            }
            {
                let mut sim = link.sim.lock();
                let sent = sim.tampered(effect.clone());
                sim.check_send(link.process, &id, &effect, &sent);
                if sim.swallows(&effect) {
                    return Answer::default();
                }
                if sim.is(Mutant::SendsTwice) {
                    sim.check_send(link.process, &id, &effect, &sent);
                }
                if !sim.dies(link.process, Moment::BeforeSend) {
                    sim.call(link.process, &id, Call::Write(sent), heard);
                }
            }
            let refusal = heard_of(answer).await;
            Answer {
                refusal: link.sim.lock().tampered_answer(&effect, refusal),
                ..Answer::default()
            }
        }
        .boxed()
    }

    fn renew(&self, node: NodeRef) -> BoxFuture<'static, Option<Refusal>> {
        let (link, id) = (self.link.clone(), self.id.clone());
        async move {
            let (heard, answer) = oneshot::channel();
            {
                let mut sim = link.sim.lock();
                let young = |process: &Process| process.since + OLD > sim.world.now;
                let young = sim.processes.get(&link.process).is_some_and(young);
                if sim.is(Mutant::NeverRenews) || (sim.is(Mutant::OldClaimCounts) && young) {
                    return None;
                }
                sim.call(link.process, &id, Call::Renew(node), heard);
            }
            heard_of(answer).await
        }
        .boxed()
    }
}

async fn heard_of(answer: oneshot::Receiver<Option<Refusal>>) -> Option<Refusal> {
    match answer.await {
        Ok(refusal) => refusal,
        Err(_) => future::pending().await,
    }
}
