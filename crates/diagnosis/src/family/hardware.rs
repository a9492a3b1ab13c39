//! Hardware and cloud (`failures.md` §2 H).

use super::{Know, know};
use crate::Action::{self, *};
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, find, hints, leading_number, number_before, shows};
use crate::{Cause, Confidence, Family, Probe, Why};

pub(super) const RULES: &[Rule] = &[
    // EDAC: `262 CE memory read error on …`; APEI: `event severity: corrected`; mcelog.
    hints(Hint::CorrectedErrors, &["edac", " ce "]).read(errors),
    hints(
        Hint::CorrectedErrors,
        &[
            "event severity: corrected|corrected by h/w and requires no further action|\
        corrected error, no action required|corrected memory error|\
        corrected dimm memory error|correctable ecc|section_type: memory error",
        ],
    )
    .but("fatal|uncorrect"),
    // x86 MCE, APEI, EDAC UE, poisoned pages.
    shows(
        Cause::MceFatal,
        &[
            "machine check exception|fatal machine check|event severity: fatal|\
        uncorrected hardware memory error|hardware memory corruption|uncorrected error|\
        uncorrectable ecc|uncorrected (non-fatal)|machine check: processor context corrupt|\
        cperhardwareerrorfatal true|unrecoverable memory error|event severity: recoverable|\
        memory failure: 0x",
        ],
    )
    .but("cperhardwarehasnofatalerror|aer:|pcieport|memory_failure_recovery"),
    shows(Cause::MceFatal, &["edac", " ue "]).read(errors),
    shows(
        Cause::ThermalCritical,
        &[
            "critical temperature reached|temperature above critical|thermal_trip|\
        emergency thermal shutdown",
        ],
    ),
    // NVIDIA.
    hints(Hint::Xid, &["nvrm: xid|nvrm:xid|xid ("])
        .but("sxid")
        .read(xid),
    hints(Hint::XidAction, &["gpu recovery action changed"]),
    shows(Cause::GpuXid79, &["has fallen off the bus"]),
    shows(Cause::NvswitchSxidNonfatal, &["sxid", "non-fatal|nonfatal"]),
    shows(Cause::NvswitchSxidFatal, &["sxid", "fatal"]).but("non-fatal|nonfatal"),
    // Events of Alibaba, AWS and GCP (`failures.md` §2 74, §3.4).
    shows(
        Cause::CloudMaintenance,
        &[
            "systemmaintenance.reboot|systemmaintenance.redeploy|systemfailure.reboot|\
        systemfailure.redeploy|systemfailure.delete|instancefailure.reboot|\
        systemmaintenance.stop|instance-retirement|system-reboot|instance-reboot|\
        system-maintenance|instance-stop|upcomingmaintenance|terminate_on_host_maintenance|\
        vmeventscheduled true|preempted by spot|spot interruption",
        ],
    ),
];

/// `EDAC MC1: 262 CE memory read error`.
fn errors(text: &str) -> Option<Extract> {
    let number = number_before(text, " ce ").or_else(|| number_before(text, " ue "))?;
    (number >= 1.0).then(|| Extract {
        subject: String::new(),
        number,
    })
}

/// `NVRM: Xid (PCI:0000:3b:00): 79, pid=…`.
fn xid(text: &str) -> Option<Extract> {
    let at = find(text, "xid (")?;
    let (device, rest) = text[at + 5..].split_once(')')?;
    Some(Extract {
        subject: device.to_owned(),
        number: leading_number(rest.trim_start_matches([':', ' ']))?,
    })
}

/// What NVIDIA's catalogue says to do about an Xid (gpud `xid/catalog_generated.go`; the k8s-device-plugin's list of
/// application errors).
fn xid_class(code: u32) -> (Cause, Action) {
    match code {
        79 => (Cause::GpuXid79, DrainReboot),
        154 => (Cause::GpuXid154, DrainGpuReset),
        74 | 144..=150 => (Cause::GpuNvlinkFatal, DrainGpuReset),
        94 => (Cause::GpuXidEccContained, RestartApp),
        43 | 45 | 63 | 92 => (Cause::GpuXidApp, Action::Nothing),
        13 | 31 | 68 | 109 => (Cause::GpuXidApp, RestartApp),
        46 | 48 | 62 | 64 | 95 | 119 | 120 | 136 | 140 | 143 | 155 | 158 => {
            (Cause::GpuXidOther, DrainGpuReset)
        }
        54 | 142 => (Cause::GpuXidOther, ReplaceHardware),
        151 => (Cause::GpuXidOther, DrainReboot),
        _ => (Cause::GpuXidOther, RestartApp),
    }
}

/// Corrected errors from here on mean a module to be replaced (`failures.md` §2 70: hundreds on one DIMM).
const MANY: f64 = 100.0;

pub(super) fn about(cause: Cause) -> Know {
    const F: Family = Family::Hardware;
    const BROKEN: &[(Action, Why)] = &[
        (DrainReboot, Why::ComesBack),
        (RestartKubelet, Why::NotTheCause),
    ];
    match cause {
        Cause::MemoryEccCorrected => know(F, 3, WatchThreshold)
            .next(&[ReplaceHardware])
            .harm(BROKEN),
        Cause::MceFatal => know(F, 9, ReplaceHardware)
            .next(&[DrainReplace])
            .harm(BROKEN),
        Cause::ThermalCritical => know(F, 8, ReplaceHardware).harm(BROKEN),
        Cause::GpuXid79 => know(F, 7, DrainReboot)
            .next(&[ReplaceHardware])
            .harm(&[(RestartApp, Why::ComesBack)]),
        Cause::GpuXid154 | Cause::GpuNvlinkFatal => know(F, 6, DrainGpuReset)
            .next(&[DrainReboot])
            .harm(&[(RestartApp, Why::ComesBack)]),
        Cause::GpuXidApp => know(F, 1, RestartApp).harm(&[(DrainReboot, Why::NotTheCause)]),
        Cause::GpuXidEccContained => {
            know(F, 2, RestartApp).harm(&[(DrainReboot, Why::NotTheCause)])
        }
        Cause::GpuXidOther => know(F, 3, RestartApp).next(&[DrainGpuReset]),
        Cause::NvswitchSxidFatal => know(F, 7, DrainReboot)
            .next(&[ReplaceHardware])
            .harm(&[(RestartApp, Why::ComesBack)]),
        Cause::NvswitchSxidNonfatal => {
            know(F, 1, WatchThreshold).harm(&[(DrainReboot, Why::NotTheCause)])
        }
        // Frozen, powered off or cut off: only the power side tells, and pods may still run until it does.
        Cause::HostSilent => know(F, 6, CheckHostAlive)
            .symptom(&[Probe::HostAlive, Probe::ApiserverPath])
            .next(&[ForceReboot])
            .harm(&[
                (ForceDeletePods, Why::NotFenced),
                (RestartKubelet, Why::NotTheCause),
            ]),
        Cause::HostRebooted => know(F, 3, FindRebootCause)
            .probes(&[Probe::KernelLog, Probe::HostAlive])
            .harm(&[(DrainReboot, Why::LosesEvidence)]),
        // It comes back by itself, or becomes silent.
        Cause::HostShuttingDown => know(F, 4, WatchThreshold).harm(&[
            (ForceReboot, Why::RacesEvent),
            (DrainReboot, Why::RacesEvent),
            (RestartKubelet, Why::NotTheCause),
        ]),
        // §2 74: never race it with a reboot of our own.
        _ => know(F, 6, DrainBeforeEvent)
            .probes(&[Probe::HostAlive])
            .harm(&[(ForceReboot, Why::RacesEvent)]),
    }
}

/// Counts of corrected errors, Xid codes.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    if let Some(seen) = facts.hint(Hint::CorrectedErrors) {
        let draft = put(drafts, Cause::MemoryEccCorrected, seen);
        let many = seen.sum >= MANY;
        draft.remedy = Some(if many {
            ReplaceHardware
        } else {
            WatchThreshold
        });
        draft.confidence = if many {
            Confidence::High
        } else {
            Confidence::Medium
        };
    }
    let Some(seen) = facts.hint(Hint::Xid) else {
        return;
    };
    let mut all: Vec<_> = seen.first.iter().chain(&seen.last).collect();
    all.dedup_by_key(|signal| signal.number as u32);
    for signal in all {
        let (cause, action) = xid_class(signal.number as u32);
        let mut one = crate::facts::Seen::default();
        one.add(signal.clone());
        let draft = put(drafts, cause, &one);
        draft.remedy = Some(action);
        if cause == Cause::GpuXid154
            && let Some(says) = facts.hint(Hint::XidAction)
        {
            let reboot = says
                .first
                .iter()
                .any(|signal| find(&signal.quote, "node reboot").is_some());
            draft.remedy = Some(if reboot { DrainReboot } else { DrainGpuReset });
        }
    }
}
