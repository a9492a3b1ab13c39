//! The families of causes. Each file has a table of rules (what a message means), what is known of each cause (remedies,
//! harm, probes), and what follows from several facts together.

mod certificate;
mod cluster;
mod disk;
mod filesystem;
mod hardware;
mod kernel;
mod kubelet;
mod limits;
mod memory;
mod network;
mod remote;
mod runtime;
mod stack;
mod start;
mod storage;
mod systemd;
mod time;

use crate::engine::{Context, Drafts};
use crate::facts::Facts;
use crate::rule::Rule;
use crate::{Action, Cause, Family, Probe, Why};

/// What is known of a cause.
pub(crate) struct Know {
    /// Family.
    pub(crate) family: Family,
    /// It is a symptom: by itself it never decides.
    pub(crate) symptom: bool,
    /// How heavy it weighs against others found at the same time; 9 stops the machine.
    pub(crate) weight: u8,
    /// The right first step; for a symptom the step that decides.
    pub(crate) remedy: Action,
    /// The steps after it.
    pub(crate) next: &'static [Action],
    /// What not to do.
    pub(crate) harm: &'static [(Action, Why)],
    /// What decides, or confirms.
    pub(crate) probes: &'static [Probe],
}

/// A cause in a table of knowledge.
pub(crate) const fn know(family: Family, weight: u8, remedy: Action) -> Know {
    Know {
        family,
        symptom: false,
        weight,
        remedy,
        next: &[],
        harm: &[],
        probes: &[],
    }
}

impl Know {
    pub(crate) const fn symptom(mut self, probes: &'static [Probe]) -> Self {
        self.symptom = true;
        self.probes = probes;
        self
    }

    pub(crate) const fn next(mut self, next: &'static [Action]) -> Self {
        self.next = next;
        self
    }

    pub(crate) const fn harm(mut self, harm: &'static [(Action, Why)]) -> Self {
        self.harm = harm;
        self
    }

    pub(crate) const fn probes(mut self, probes: &'static [Probe]) -> Self {
        self.probes = probes;
        self
    }
}

/// All rules.
pub(crate) fn rules() -> impl Iterator<Item = Rule> {
    [
        runtime::RULES,
        systemd::RULES,
        kubelet::RULES,
        certificate::RULES,
        start::RULES,
        disk::RULES,
        filesystem::RULES,
        remote::RULES,
        storage::RULES,
        kernel::RULES,
        stack::RULES,
        limits::RULES,
        memory::RULES,
        network::RULES,
        time::RULES,
        hardware::RULES,
        cluster::RULES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// What is known of a cause. Every cause is in exactly one family (tested).
pub(crate) fn about(cause: Cause) -> Know {
    [
        runtime::about,
        systemd::about,
        kubelet::about,
        certificate::about,
        start::about,
        filesystem::about,
        remote::about,
        limits::about,
        cluster::about,
        disk::about,
        storage::about,
        kernel::about,
        memory::about,
        network::about,
        time::about,
    ]
    .into_iter()
    .find_map(|about| about(cause))
    .unwrap_or_else(|| hardware::about(cause))
}

/// What follows from several facts together.
pub(crate) fn infer(facts: &Facts, context: &Context, drafts: &mut Drafts) {
    for infer in [
        runtime::infer,
        systemd::infer,
        kubelet::infer,
        certificate::infer,
        remote::infer,
        storage::infer,
        kernel::infer,
        stack::infer,
        memory::infer,
        network::infer,
        hardware::infer,
        start::infer,
        cluster::infer,
    ] {
        infer(facts, context, drafts);
    }
}
