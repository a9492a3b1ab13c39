use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Action, Cause, Family, Probe, Why};
use ::host::labels;

labels! {
    /// How sure a finding is.
    Confidence {
        /// A first sign; no ground for action without a person.
        Low = "low",
        /// Likely.
        Medium = "medium",
        /// The facts show it.
        High = "high",
    }
}

labels! {
    /// Where a quote is from.
    Source {
        /// The text that was given.
        Text = "text",
        /// A listing in the text that was given: a state, as a tool printed it.
        Listing = "listing",
        /// A condition of the Node object.
        Condition = "condition",
        /// A taint of the Node object.
        Taint = "taint",
        /// The node's heartbeat Lease.
        Lease = "lease",
        /// Pods bound to the node.
        Pods = "pods",
        /// A package version.
        Package = "package",
        /// A scrape of node_exporter on the host.
        Metrics = "metrics",
        /// Whether and how the host could be asked.
        Reach = "reach",
        /// Files of `/proc`, `/sys` and `/etc` on the host.
        Files = "files",
        /// Its processes.
        Processes = "processes",
        /// What its processes hold open.
        Descriptors = "descriptors",
        /// Its mounts.
        Mounts = "mounts",
        /// A trial to make a file.
        Write = "write",
        /// Its disks' counters.
        DiskActivity = "disk-activity",
        /// systemd's units.
        Units = "units",
        /// Answers on the system bus.
        Bus = "bus",
        /// Docker.
        Docker = "docker",
        /// containerd.
        Containerd = "containerd",
        /// Kubelet's healthz.
        Healthz = "healthz",
        /// Kubelet's certificates.
        Certificates = "certificates",
        /// A connection to the API server.
        ApiServer = "api-server",
        /// The clock.
        Clock = "clock",
        /// Frozen cgroups.
        Freezer = "freezer",
        /// The kernel's log.
        KernelLog = "kernel-log",
        /// Kubelet's journal.
        KubeletLog = "kubelet-log",
        /// Docker's journal.
        DockerLog = "docker-log",
        /// containerd's journal.
        ContainerdLog = "containerd-log",
    }
}

labels! {
    /// Names of what a finding or a summary carries as numbers and names.
    Param {
        /// Device, unit, task, server or the like the cause is about.
        Subject = "subject",
        /// What blocked tasks wait for.
        WaitsFor = "waits-for",
        /// A number: errors, code, megabytes.
        Number = "number",
        /// Installed version.
        Version = "version",
        /// First version with the fix.
        FixedIn = "fixed-in",
        /// Nodes with the same trouble.
        Affected = "affected",
        /// Nodes in all.
        Total = "total",
        /// Pods concerned.
        Pods = "pods",
        /// The scope is not known to be the host's own: it may be a workload's volume.
        Scope = "scope",
        /// Seconds since the last heartbeat.
        LeaseAge = "lease-age",
        /// A path: mount point, directory, cgroup.
        Path = "path",
        /// The pod it concerns, as `namespace/name`, or its uid.
        Pod = "pod",
        /// A container's id.
        Container = "container",
        /// A process id.
        Process = "process",
        /// What a number means.
        Meaning = "meaning",
    }
}

impl Source {
    /// A log: it tells what was, not what is.
    pub const fn is_log(self) -> bool {
        matches!(
            self,
            Self::Text | Self::KernelLog | Self::KubeletLog | Self::DockerLog | Self::ContainerdLog
        )
    }

    /// The API: what kubelet said last.
    pub const fn is_api(self) -> bool {
        matches!(
            self,
            Self::Condition | Self::Taint | Self::Lease | Self::Pods
        )
    }

    /// A look at the host itself, at one moment.
    pub const fn is_look(self) -> bool {
        !self.is_log() && !self.is_api() && !matches!(self, Self::Package)
    }
}

/// A quote that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Where it is from.
    pub source: Source,
    /// Line number from 1; 0 where there are no lines.
    pub line: usize,
    /// Verbatim, cut at 400 bytes.
    pub quote: String,
}

impl Evidence {
    /// Its line is one of the text that was given.
    pub fn is_of_text(&self) -> bool {
        match self.source {
            Source::Text | Source::Listing => true,
            Source::Metrics => self.line > 0,
            _ => false,
        }
    }
}

/// A remedy that would do harm or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Harm {
    /// The remedy.
    pub action: Action,
    /// Why not.
    pub why: Why,
}

/// Whether the facts decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// They do.
    Decided,
    /// They show a symptom only; the probes that decide, in order.
    Undetermined {
        /// The probes.
        probes: Vec<Probe>,
    },
}

/// A cause with evidence, confidence, the right remedy and the remedies that would do harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The cause; for an undetermined finding the symptom.
    pub cause: Cause,
    /// Its family.
    pub family: Family,
    /// Whether the facts decide.
    pub verdict: Verdict,
    /// How sure.
    pub confidence: Confidence,
    /// The quotes, first ones and the last.
    pub evidence: Vec<Evidence>,
    /// How many lines said so.
    pub count: u64,
    /// The right first step.
    pub remedy: Action,
    /// The steps after it, should it not help or not last.
    pub next: Vec<Action>,
    /// What not to do.
    pub harmful: Vec<Harm>,
    /// Numbers and names for the sentence.
    pub params: BTreeMap<Param, String>,
    /// Another finding's cause of which this is a consequence; then that one's remedy counts.
    pub explained_by: Option<Cause>,
}

impl Finding {
    /// Whether the facts decide.
    pub fn is_decided(&self) -> bool {
        self.verdict == Verdict::Decided
    }
}

/// All findings, the root first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// By rank: roots before consequences, decided before undetermined.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The finding to act on, if there is one that calls for something.
    pub fn top(&self) -> Option<&Finding> {
        self.findings
            .first()
            .filter(|finding| finding.remedy != Action::Nothing)
    }

    /// Nothing to say.
    pub fn is_silent(&self) -> bool {
        self.findings.is_empty()
    }
}
