//! Node conditions: kubelet's own, and those of node-problem-detector, ACK, AKS and EKS (`failures.md` §1, §4).

use model::ConditionStatus;

use crate::Cause::{self, *};
use crate::facts::{Facts, Says, Signal};
use crate::rule::Rules;
use crate::{Confidence, Source};

/// A condition as it stands in an object or a row of `kubectl describe node`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) kind: &'a str,
    pub(crate) status: ConditionStatus,
    /// Reason and message.
    pub(crate) words: &'a str,
}

/// Conditions that are good news when True; all others are bad news then.
const GOOD: &[&str] = &[
    "Ready",
    "KernelReady",
    "ContainerRuntimeReady",
    "NetworkingReady",
    "StorageReady",
    "AcceleratedHardwareReady",
];

/// What a bad condition means when its reason and message do not say more.
const MEANS: &[(&str, Cause)] = &[
    ("MemoryPressure", MemoryPressure),
    ("DiskPressure", DiskPressure),
    ("PIDPressure", PidExhausted),
    ("NetworkUnavailable", CniNotInitialized),
    ("OutOfDisk", DiskFull),
    ("KernelDeadlock", HungTask),
    ("ReadonlyFilesystem", FsReadonly),
    ("XfsShutdown", XfsShutdown),
    ("CperHardwareErrorFatal", MceFatal),
    ("CorruptDockerOverlay2", RuntimeOverlayCorrupt),
    ("FrequentUnregisterNetDevice", UnregisterNetdevice),
    ("FrequentKubeletRestart", KubeletCrashed),
    ("FrequentDockerRestart", RuntimeStartFailed),
    ("FrequentContainerdRestart", RuntimeStartFailed),
    ("NTPProblem", ClockUnsynced),
    ("KubeletUnhealthy", KubeletCrashed),
    ("KubeletProblem", KubeletCrashed),
    ("ContainerRuntimeUnhealthy", RuntimeDown),
    ("ContainerRuntimeProblem", RuntimeDown),
    ("RuntimeOffline", RuntimeDown),
    ("DockerOffline", RuntimeDown),
    ("DockerSocketCannotConnect", RuntimeDown),
    ("DiskBadBlock", DiskBadSector),
    ("InodesPressure", InodeExhausted),
    ("NodePIDPressure", PidExhausted),
    ("FDPressure", FdExhausted),
    ("NodeFDPressure", FdExhausted),
    ("FilesystemCorruptionProblem", Ext4Error),
    ("VMEventScheduled", CloudMaintenance),
    ("PLEGUnhealthy", PlegUnhealthy),
    ("KubeletRPCDeadlineExceeded", CriDeadlineExceeded),
    ("NetworkingReady", CniNotInitialized),
    ("ContainerRuntimeReady", RuntimeDown),
    ("StorageReady", DiskIoError),
    ("KernelReady", KernelOops),
    ("AcceleratedHardwareReady", GpuXidOther),
    ("Ready", NodeNotReady),
];

/// Reasons of the EKS agent, more exact than their condition.
const REASONS: &[(&str, Cause)] = &[
    ("ForkFailedOutOfPIDs", PidExhausted),
    ("PodStuckTerminating", PodStuckTerminating),
    ("InterfaceNotUp", NicLinkDown),
    ("InterfaceNotRunning", NicLinkDown),
    ("IPAMD", CniNotInitialized),
    ("XFSSmallAverageClusterSize", XfsAllocDeadlock),
    ("KubeletFailed", KubeletCrashed),
    ("IODelays", DiskIoSaturated),
];

impl Row<'_> {
    /// Nothing to worry about. Unknown counts for Ready only: the others are Unknown because kubelet is silent.
    pub(crate) fn is_benign(&self) -> bool {
        let good = GOOD.contains(&self.kind);
        match self.status {
            ConditionStatus::True => good,
            ConditionStatus::False => !good,
            ConditionStatus::Unknown => !good,
        }
    }

    /// Adds what it says to the facts: by reason and message, else by its type.
    pub(crate) fn read(&self, source: Source, line: usize, quote: &str, facts: &mut Facts) {
        // The row of Ready may be cut off; the others are Unknown for the same reason.
        let silent = self.status == ConditionStatus::Unknown
            && source == Source::Text
            && [
                "NodeStatusUnknown",
                "NodeStatusNeverUpdated",
                "posting node status",
            ]
            .iter()
            .any(|mark| self.words.contains(mark));
        if self.is_benign() && !silent {
            return;
        }
        let before = facts.troubles();
        Rules::get().read_line(self.words, source, line, quote, facts);
        // Kubelet has just started and has not asked the runtime yet (kubelet.go).
        if facts.troubles() > before || self.words.contains("may not have completed yet") {
            return;
        }
        let by_reason = REASONS
            .iter()
            .find(|(reason, _)| self.words.contains(reason));
        let by_kind = MEANS.iter().find(|(kind, _)| *kind == self.kind);
        let cause = match self.status {
            ConditionStatus::Unknown => Some(NodeUnreachable),
            _ => by_reason.or(by_kind).map(|(_, cause)| *cause),
        };
        if let Some(cause) = cause {
            facts.add(Signal {
                confidence: Confidence::Medium,
                line,
                ..Signal::of(Says::Shows(cause), source, quote.to_owned())
            });
        }
    }
}

/// A row of `kubectl describe node`: type, status, (times,) reason, message.
pub(crate) fn row(text: &str) -> Option<Row<'_>> {
    let text = text.trim_start_matches(['|', ' ']);
    let (kind, rest) = text.split_once([' ', '\t'])?;
    let rest = rest.trim_start_matches([' ', '\t', '|']);
    let (status, words) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let status = match status {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        "Unknown" => ConditionStatus::Unknown,
        _ => return None,
    };
    let named = kind.starts_with(|c: char| c.is_ascii_uppercase())
        && kind.len() <= 40
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    // Conditions of a pod stand in two bare columns.
    (named && !words.trim().is_empty()).then_some(Row {
        kind,
        status,
        words,
    })
}
