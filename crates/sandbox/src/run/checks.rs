//! What is looked at when: at each effect, each commit, and at the end.

use std::time::Duration;

use model::{ConditionStatus, OperationId, Text, Time};
use operations::drain::{
    self, Disposition, Escalation, Fact, NodeJob, NodeOutcome, PodJob, WaitingOn,
};
use operations::kernel::{self, Attempt};
use operations::kinds::{Event, State, Waiting};

use super::sim::Sim;
use crate::case::Mishap;
use crate::executor::Group;
use crate::{Foreign, Invariant, job_name, ms};

/// How long a write is decided before it is sent at most: a commit lies between.
const LATE: Duration = Duration::from_millis(100);
/// More of the same write within a second is a loop.
const STORM: usize = 30;

impl Sim {
    /// An effect is about to leave a process.
    pub(super) fn check_send(
        &mut self,
        process: Group,
        id: &OperationId,
        effect: &drain::Effect,
        sent: &drain::Effect,
    ) {
        let name = format!("{} {}", job_name(effect), object(effect));
        self.world.tell(|| format!("{id} > {name}"));
        self.reach(format!("effect {}", job_name(effect)));
        if !self.processes.get(&process).is_some_and(|one| one.leads) {
            let what = format!("{id} {name} by process {process}, which does not lead");
            self.violation(Invariant::NoEffectWithoutLeadership, what);
        }
        let now = self.world.now;
        let times = self.sent.entry(format!("{id} {name}")).or_default();
        times.retain(|time| *time + Duration::from_secs(1) > now);
        times.push(now);
        if times.len() > STORM {
            let what = format!("{id} {name}: {} times within a second", times.len());
            self.violation(Invariant::RetriesWait, what);
        }
        let Some(State::Drain(state)) = self.records.get(id).map(|kept| kept.state.clone()) else {
            let what = format!("{id} {name}: there is no record");
            return self.violation(Invariant::IntentBeforeEffect, what);
        };
        let begun = self.begun.entry(format!("{id} {name}")).or_default();
        *begun -= 1;
        if *begun < 0 {
            let what = format!("{id} {name}: sent more often than begun");
            self.violation(Invariant::IntentBeforeEffect, what);
        }
        if !is_running(&state, effect) {
            let what = format!("{id} {name}: not in the record");
            self.violation(Invariant::IntentBeforeEffect, what);
        }
        self.check_uncordon(id, effect);
        let begins = match effect {
            drain::Effect::Node { job, .. } => {
                matches!(job, NodeJob::Claim | NodeJob::Cordon | NodeJob::TaintNext)
            }
            drain::Effect::Pod { job, .. } => *job != PodJob::UndoHandover,
        };
        if begins && (!state.works() || state.ended.is_some()) {
            let what = format!("{id} {name}: it is paused, cancelled or ended");
            self.violation(Invariant::PausedMeansStill, what);
        }
        self.check_claim(id, effect, &name);
        if let (drain::Effect::Pod { target, .. }, drain::Effect::Pod { job, .. }) = (effect, sent)
            && matches!(job, PodJob::Evict | PodJob::Delete)
        {
            self.check_removal(&state, target, *job);
        }
    }

    /// A cordon that was there before is not lifted, unless somebody else lifted it first.
    fn check_uncordon(&mut self, id: &OperationId, effect: &drain::Effect) {
        let drain::Effect::Node {
            node,
            job: NodeJob::Uncordon,
        } = effect
        else {
            return;
        };
        let before = self.case.nodes.iter();
        let before = before
            .filter(|spec| spec.name == node.name)
            .any(|spec| spec.cordoned);
        let lifted =
            |foreign: &Foreign| matches!(foreign, Foreign::Uncordon(name) if *name == node.name);
        let lifted = self.case.others.iter().any(|(_, foreign)| lifted(foreign));
        if before && !lifted {
            let what = format!(
                "{id} lifts the cordon of {}, which was there before",
                node.name
            );
            self.violation(Invariant::OnlyOurs, what);
        }
    }

    fn check_claim(&mut self, id: &OperationId, effect: &drain::Effect, name: &str) {
        let node = match effect {
            drain::Effect::Node {
                node,
                job: NodeJob::Cordon,
            } => &node.name,
            drain::Effect::Pod { target, job } if *job != PodJob::UndoHandover => &target.node,
            _ => return,
        };
        let claim = self.world.claims.get(node);
        let ours = |holder: &Text| **holder == *id.as_str();
        let held = claim.is_some_and(|claim| ours(&claim.holder));
        let counts = claim
            .and_then(|claim| claim.until)
            .is_none_or(|until| until >= self.world.now);
        // Taken by force it is noticed at the next renewal.
        let forced = self
            .world
            .forced
            .get(node)
            .is_some_and(|at| *at + Duration::from_secs(25) > self.world.now);
        if !(forced || held && counts) {
            let holder = claim.map_or("nobody", |claim| &claim.holder);
            let what = format!("{id} {name}: the node is held by {holder}, counts: {counts}");
            self.violation(Invariant::ClaimHeldWhileActing, what);
        }
    }

    /// A pod is about to be evicted or deleted.
    fn check_removal(&mut self, state: &drain::State, target: &drain::Target, job: PodJob) {
        let now = self.world.now;
        // Seen as not ready it bypasses budgets, or is exempt; it may be ready by now.
        let fresh = |since: Time| since + Duration::from_secs(2) > now;
        let unready = |pod: &model::Pod| !pod.is_ready() || pod.ready_since.is_some_and(fresh);
        let seen = [
            self.world.view.pod(&target.pod),
            self.world.truth.pod(&target.pod),
        ];
        if seen.into_iter().flatten().any(|pod| unready(pod)) {
            self.world.racing.insert(target.uid.clone());
        }
        let leaving = self.leaving.get(&target.uid);
        if leaving.is_some_and(|since| *since + LATE < now) {
            let what = format!("{} is seen to be leaving", target.pod);
            self.violation(Invariant::EvictedOnce, what);
        }
        let open = self.open.get(&target.node);
        if open.is_some_and(|since| *since + LATE < now) {
            let what = format!("{} is on a schedulable node", target.pod);
            self.violation(Invariant::CordonBeforeEvict, what);
        }
        let node = state
            .body
            .nodes
            .iter()
            .find(|node| node.node.name == target.node);
        let pod = node.and_then(|node| node.pods.get(&target.uid));
        let deletes = node.is_some_and(|node| node.deleting.is_some());
        let planned = pod.is_some_and(|pod| pod.plan.disposition == Disposition::Delete);
        if job == PodJob::Delete && !deletes && !planned {
            let what = format!("{} is deleted past its budgets unasked", target.pod);
            self.violation(Invariant::BudgetNeverPassed, what);
        }
        if pod.is_none_or(|pod| pod.plan.disposition == Disposition::Skip) {
            let what = format!("{} is not planned to go", target.pod);
            self.violation(Invariant::OnlyPlannedPod, what);
        }
    }

    /// An event has been made durable, and is in the state.
    pub(super) fn check_event(&mut self, id: &OperationId, event: &Event) {
        let Event::Drain(event) = event else {
            return;
        };
        self.reach(format!("event {}", name_of(event)));
        self.world.tell(|| format!("{id} {}", short(event)));
        match event {
            kernel::Event::Began { effect } => {
                let name = format!("{} {}", job_name(effect), object(effect));
                *self.begun.entry(format!("{id} {name}")).or_default() += 1;
            }
            kernel::Event::Requested { request } => {
                let mut asks = (0..).zip(&self.case.asks);
                let ask = asks.find(|(number, _)| super::operation(*number) == *id);
                if ask.is_none_or(|(_, ask)| ask.options != request.options) {
                    let what = format!("{id} is begun with options that nobody gave");
                    self.violation(Invariant::StartedByTheRules, what);
                }
            }
            kernel::Event::Planned { plan } if plan.refused().next().is_some() => {
                let what = format!("{id} begins with pods that need a flag");
                self.violation(Invariant::StartedByTheRules, what);
            }
            kernel::Event::Fact(Fact::NodeEnded {
                node,
                outcome: NodeOutcome::Drained,
            }) => {
                self.check_drained(id, node);
            }
            _ => {}
        }
    }

    /// What is called drained holds nothing that should have left.
    fn check_drained(&mut self, id: &OperationId, name: &Text) {
        let silent = |node: &model::Node| node.ready() == ConditionStatus::Unknown;
        if self.world.view.node(name).is_some_and(|node| silent(node)) {
            let what = format!("{id} {name} is drained, and does not report");
            self.violation(Invariant::DrainedIsTrue, what);
        }
        // Pods that others bind past the scheduler, and pods that a broken watch does not show.
        let meddled = |foreign: &Foreign| {
            matches!(
                foreign,
                Foreign::Intrude(_)
                    | Foreign::Recreate(..)
                    | Foreign::Uncordon(_)
                    | Foreign::RemoveNode(_)
            )
        };
        let hidden = |mishap: &Mishap| matches!(mishap, Mishap::Gap(..) | Mishap::TwoLeaders(..));
        if self.case.others.iter().any(|(_, foreign)| meddled(foreign))
            || self.case.mishaps.iter().any(hidden)
        {
            return;
        }
        let Some(State::Drain(state)) = self.records.get(id).map(|kept| kept.state.clone()) else {
            return;
        };
        let node = state.body.nodes.iter().find(|node| node.node.name == *name);
        let stays = |pod: &model::Pod| {
            let known = node.and_then(|node| node.pods.get(&pod.uid));
            known.is_some_and(|known| known.plan.disposition == Disposition::Skip)
                || pod.is_mirror()
                || !pod.tolerations.is_empty()
                || pod
                    .owner
                    .as_ref()
                    .is_some_and(|owner| &*owner.kind == "DaemonSet")
        };
        let pods = self.world.truth.pods_on(name);
        let left: Vec<_> = pods
            .filter(|pod| !stays(pod))
            .map(|pod| pod.key.clone())
            .collect();
        for key in left {
            let what = format!("{id} {name} is drained, and {key} is there");
            self.violation(Invariant::DrainedIsTrue, what);
        }
    }

    /// Whether anything moved a clock or kept a process from acting.
    fn keeps_no_time(&self) -> bool {
        let stops = |mishap: &Mishap| !matches!(mishap, Mishap::Gap(..) | Mishap::Replay(..));
        self.case.mishaps.iter().any(stops)
    }

    /// Every deadline of a node was acted on within a second of its value.
    pub(super) fn check_deadlines(&mut self) {
        if self.keeps_no_time() {
            return;
        }
        let now = self.world.now;
        let mut late = Vec::new();
        for (id, kept) in &self.records {
            let State::Drain(state) = &kept.state else {
                continue;
            };
            let Some(limit) = state.request.options.deadlines.node_ms else {
                continue;
            };
            for node in &state.body.nodes {
                let Some(started) = node.started else {
                    continue;
                };
                let from = state.counted_from.map_or(started, |at| at.max(started));
                let acted = kept.events.iter().find(|(_, event)| {
                    let Event::Drain(event) = event else {
                        return false;
                    };
                    match event {
                        kernel::Event::Fact(
                            Fact::NodeEnded { node: name, .. }
                            | Fact::DeadlinePassed { node: name, .. },
                        ) => *name == node.node.name,
                        kernel::Event::Paused { .. } | kernel::Event::CancelRequested { .. } => {
                            true
                        }
                        _ => false,
                    }
                });
                let by = acted.map_or(now, |(at, _)| *at);
                if ms(by) > ms(from) + limit + 1_000 {
                    let late_by = ms(by) - ms(from) - limit;
                    late.push(format!(
                        "{id} {} passed its deadline by {late_by} ms",
                        node.node.name
                    ));
                }
            }
        }
        for what in late {
            self.violation(Invariant::DeadlineHolds, what);
        }
    }

    /// At the end nothing of ours is left, where the cluster let us.
    pub(super) fn check_left_behind(&mut self) {
        let faults = &self.world.faults;
        let lets = faults.lost + faults.unheard == 0 && !faults.down && faults.forbidden.is_empty();
        let away = |mishap: &Mishap| {
            matches!(
                mishap,
                Mishap::Down(..) | Mishap::Slow(..) | Mishap::Jump(..) | Mishap::TwoLeaders(..)
            )
        };
        if !lets || self.case.mishaps.iter().any(away) {
            return;
        }
        let ended = |id: &str| {
            let kept = self.records.get(&OperationId::from(id));
            kept.is_none_or(|kept| kept.row.ended)
        };
        let mut left = Vec::new();
        for pod in self.world.truth.pods().iter() {
            if pod
                .annotations
                .get(model::marks::HANDOVER)
                .is_some_and(ended)
                && !pod.is_terminating()
            {
                left.push(format!("{} is still handed over", pod.key));
            }
        }
        for node in self.world.truth.nodes.iter() {
            let claim = self.world.claims.get(&node.name);
            let ours = |holder: &str| self.records.contains_key(&OperationId::from(holder));
            if claim.is_some_and(|claim| ours(&claim.holder) && ended(&claim.holder)) {
                left.push(format!("{} is still claimed", node.name));
            }
            let taint = node
                .taints
                .iter()
                .find(|taint| &*taint.key == model::marks::NEXT_TAINT);
            if taint.is_some_and(|taint| ended(&taint.value)) {
                left.push(format!("{} still has the soft taint", node.name));
            }
        }
        for what in left {
            self.violation(Invariant::NothingLeftBehind, what);
        }
    }

    /// What is not over says why, and what it waits for can still come.
    pub(super) fn check_waiting(
        &mut self,
        id: &OperationId,
        waiting: Option<&[Waiting]>,
        quiet: bool,
    ) {
        let ended = self.records.get(id).is_none_or(|kept| kept.row.ended);
        if ended {
            return;
        }
        let Some(waiting) = waiting else {
            let what = format!("{id} has not ended, and nobody works on it");
            return self.violation(Invariant::EndsOrWaitsWithReason, what);
        };
        if waiting.is_empty() {
            let what = format!("{id} has not ended, and waits for nothing");
            self.violation(Invariant::EndsOrWaitsWithReason, what);
        }
        // What waits for others may keep the rest waiting, too.
        let others = |waiting: &Waiting| {
            let drain = waiting.as_drain();
            drain.is_some_and(|waiting| waits_for_others(&waiting.on))
        };
        if quiet && !waiting.is_empty() && !waiting.iter().any(others) {
            let what = format!("{id}: nothing will happen, yet it waits on {waiting:?}");
            self.violation(Invariant::EndsOrWaitsWithReason, what);
        }
    }

    /// What is looked at when all is over.
    pub(super) fn check_end(&mut self) {
        if self.case.is_alone() && self.world.tally.refused > 0 {
            let what = format!("{} evictions refused", self.world.tally.refused);
            self.violation(Invariant::NoEvictionToBeRefused, what);
        }
        self.check_deadlines();
        self.check_left_behind();
        // Who deletes past budgets, or has others meddle, has asked for it.
        let deletes = self
            .records
            .values()
            .flat_map(|kept| &kept.events)
            .any(|(_, event)| {
                matches!(
                    event,
                    Event::Drain(kernel::Event::Fact(Fact::DeadlinePassed {
                        then: Escalation::Delete,
                        ..
                    }))
                )
            });
        if deletes || !self.case.others.is_empty() {
            let violations = &mut self.world.tally.violations;
            violations.retain(|one| one.invariant != Invariant::HandoverNeverBelow);
        }
    }
}

/// Waits that only others can end.
fn waits_for_others(on: &WaitingOn) -> bool {
    match on {
        WaitingOn::Answer
        | WaitingOn::Cordon
        | WaitingOn::HandoverSlot { .. }
        | WaitingOn::Endpoints { .. }
        | WaitingOn::Grace { .. } => false,
        WaitingOn::Retry { at, .. } => at.is_none(),
        _ => true,
    }
}

/// Recorded as begun and not answered.
fn is_running(state: &drain::State, effect: &drain::Effect) -> bool {
    let running = |attempt: Option<&Attempt>| matches!(attempt, Some(Attempt::Running { .. }));
    match effect {
        drain::Effect::Node { node, job } => {
            let known = state.body.nodes.iter().find(|known| known.node == *node);
            known.is_some_and(|known| running(known.jobs.get(job)))
        }
        drain::Effect::Pod { target, job } => {
            let node = state
                .body
                .nodes
                .iter()
                .find(|known| known.node.name == target.node);
            let pod = node.and_then(|node| node.pods.get(&target.uid));
            pod.is_some_and(|pod| running(pod.jobs.get(job)))
        }
    }
}

fn object(effect: &drain::Effect) -> String {
    match effect {
        drain::Effect::Node { node, .. } => node.name.to_string(),
        drain::Effect::Pod { target, .. } => format!("{} ({})", target.pod.name, target.uid),
    }
}

/// An event's word.
fn name_of(event: &drain::Event) -> String {
    let text = format!("{event:?}");
    let word = |text: &str| {
        let end = text
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    match event {
        kernel::Event::Fact(Fact::NodeEnded { outcome, .. }) => {
            format!("NodeEnded {}", word(&format!("{outcome:?}")))
        }
        kernel::Event::Fact(fact) => word(&format!("{fact:?}")),
        _ => word(&text),
    }
}

/// An event as a line of the story.
fn short(event: &drain::Event) -> String {
    match event {
        kernel::Event::Began { effect } => {
            format!("begins {} {}", job_name(effect), object(effect))
        }
        kernel::Event::Answered {
            effect,
            refusal,
            inferred,
            ..
        } => {
            let how = if *inferred { " (seen)" } else { "" };
            let what = refusal
                .as_ref()
                .map_or_else(|| "ok".to_owned(), |why| format!("{why:?}"));
            format!("{} {}: {what}{how}", job_name(effect), object(effect))
        }
        kernel::Event::Requested { request } => {
            let nodes: Vec<_> = request.nodes.iter().map(|node| &*node.name).collect();
            format!("requested: {} {:?}", nodes.join(" "), request.options)
        }
        kernel::Event::Planned { plan } => {
            let pods = plan
                .pods()
                .map(|(_, pod)| format!("{} {:?}", pod.pod.name, pod.disposition));
            format!("planned: {}", pods.collect::<Vec<_>>().join(", "))
        }
        kernel::Event::Fact(Fact::PodPlanned { node, plan }) => {
            format!(
                "{node}: {} planned {:?} {:?}",
                plan.pod.name, plan.disposition, plan.why
            )
        }
        kernel::Event::Fact(fact) => format!("{fact:?}"),
        other => format!("{other:?}"),
    }
}
