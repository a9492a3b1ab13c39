//! Hardware and cloud (`failures.md` §2 H).

use super::{Know, know};
use crate::Action::{self, *};
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, find, hints, leading_number, number_after, number_before, shows};
use crate::{Cause, Confidence, Family, Param, Probe, Why};

pub(super) const RULES: &[Rule] = &[
    // EDAC: `262 CE memory read error on …`; APEI: `event severity: corrected`; mcelog.
    hints(Hint::CorrectedErrors, &["edac", " ce "]).read(errors),
    // rasdaemon's trace lines, `ras-mc-ctl --summary`, edac-util.
    hints(
        Hint::CorrectedErrors,
        &["mc_event|corrected on dimm label|corrected errors", "corrected error|corrected on dimm|errors:"],
    )
    .but("uncorrected|0 uncorrected errors, 0 corrected|no memory errors")
    .read(ras_count),
    // A status register of machine check: bit 61 says whether it was corrected (arch/x86/kernel/cpu/mce/core.c, mcelog).
    hints(Hint::CorrectedErrors, &["bank ", "machine check|mce|hardware error|status"])
        .but("machine check exception")
        .read(corrected_status),
    shows(Cause::MceFatal, &["bank ", "machine check|mce|hardware error|status"]).read(fatal_status),
    // mcelog, drivers of EDAC, memory-failure.c's soft offlining, IPMI.
    hints(
        Hint::CorrectedErrors,
        &[
            "corrected error|corrected patrol scrub|memory scrubbing error|soft-offlining page|\
        soft offline: 0x|new corrected error(s)|corrected dram error|dram ecc error detected|\
        single-bit ecc|memory read ecc error|memory scrub|handling mce memory error|\
        1-bit ecc|offlining page",
            "memory|ecc|mce|dimm|edac|page|hardware|bank|dram|scrub",
        ],
    )
    .but("uncorrect|fatal|aer|pcie|pcieport|multi-bit|no memory errors"),
    // Somebody has counted already.
    hints(
        Hint::CorrectedMany,
        &[
            "cmci storm detected|corrected memory errors on page|exceed threshold|exceeded threshold|\
        logging limit reached|large number of corrected|correctable memory error rate exceeded|\
        persistent correctable memory|threshold exceeded|mem ecc threshold",
            "memory|cmci|ecc|mce|corrected|correctable|dimm",
        ],
    )
    .but("uncorrect|not exceeded"),
    // drivers/firmware/efi/cper.c: what the record is about stands two lines below how grave it is.
    hints(Hint::PcieRecord, &["section_type: pcie error|section type: pcie"]),
    hints(
        Hint::FatalRecord,
        &["event severity: fatal|event severity: recoverable"],
    ),
    // drivers/pci/pcie/{aer,dpc,err}.c, pciehp.
    hints(
        Hint::PcieFatal,
        &[
            "aer:|pcie bus error|dpc:|aer_event|pcieport|pciehp",
            "uncorrected (fatal)|severity=fatal|err_fatal|containment event|\
        uncorrectable (fatal)|surprise down|unmasked uncorrectable error",
        ],
    )
    .read(pci),
    hints(
        Hint::PcieLost,
        &[
            "aer:|dpc:|pcieport|pcie|pci ",
            "device recovery failed|subordinate device reset failed|reset failed|\
        link active not set in|device is inaccessible|device inaccessible|\
        can't recover (no error_detected",
        ],
    )
    .but("nvme")
    .read(pci),
    hints(
        Hint::PcieLost,
        &["pciehp", "card not present|link down"],
    )
    .read(pci),
    hints(
        Hint::PcieRecovered,
        &["device recovery successful|recovery successful"],
    ),
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
    .but("cperhardwarehasnofatalerror|aer:|pcieport|memory_failure_recovery|pcie bus error|\
        0 uncorrected|aer_event|dpc:|no memory errors"),
    shows(Cause::MceFatal, &["edac", " ue "]).read(errors),
    shows(
        Cause::MceFatal,
        &[
            "uncorrected on dimm label|multi-bit ecc|uncorrected, software|deferred error|\
        uncorrected patrol scrub|hardware error: uncorrected|data load: uncorrected|\
        processor context corrupt",
        ],
    )
    .but("no memory errors|no action required"),
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
    // Who tells it again: the device plugin (`internal/rm/health.go`), DCGM, the GPU operator, gpud.
    hints(
        Hint::Xid,
        &[
            "xidcriticalerror|xid=|xid error|xid_errors|xid critical|eventdata|gpu xid|xid_error|\
        nvidia xid|xid:",
            "gpu|nvidia|device|dcgm|event",
        ],
    )
    .but("sxid|nvrm: xid|nvrm:xid")
    .read(xid_of_others),
    // Kernel module, NVML and the container's hook each say it.
    shows(
        Cause::GpuDriverMismatch,
        &[
            "api mismatch|driver/library version mismatch|nvml library version|\
        kernel module version mismatch|libnvidia-ml version mismatch",
        ],
    ),
    hints(Hint::XidAction, &["gpu recovery action changed"]),
    shows(Cause::GpuXid79, &["fallen off the bus"]),
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

/// `mc_event: 3 Corrected errors: …`, `Corrected on DIMM Label(s): 'A1' … errors: 12`.
fn ras_count(text: &str) -> Option<Extract> {
    let number = number_after(text, "errors: ")
        .or_else(|| number_before(text, " corrected error"))
        .unwrap_or(1.0);
    (number >= 1.0).then(|| Extract {
        subject: crate::rule::word_after(text, "label(s): '")
            .unwrap_or_default()
            .to_owned(),
        number,
    })
}

/// `Machine Check: 0 Bank 7: 8c00004000010092`: the status register.
fn status(text: &str) -> Option<u64> {
    let marked = find(text, "status ").map(|at| &text[at + 7..]);
    let banked = || {
        let rest = &text[find(text, "bank ")? + 5..];
        Some(rest.split_once(':')?.1)
    };
    let hex = |rest: &str| {
        let word = rest.trim_start().split([' ', ',', ']']).next()?;
        let word = word.trim_start_matches("0x");
        (word.len() >= 15)
            .then(|| u64::from_str_radix(word, 16).ok())
            .flatten()
    };
    marked.and_then(hex).or_else(|| banked().and_then(hex))
}

/// Valid (bit 63) and not uncorrected (bit 61).
fn corrected_status(text: &str) -> Option<Extract> {
    let status = status(text)?;
    (status >> 63 == 1 && status >> 61 & 1 == 0).then(|| Extract {
        subject: String::new(),
        number: 1.0,
    })
}

/// Valid and uncorrected.
fn fatal_status(text: &str) -> Option<Extract> {
    let status = status(text)?;
    (status >> 63 == 1 && status >> 61 & 1 == 1).then(Extract::default)
}

/// The address of a device on the PCI bus.
fn pci(text: &str) -> Option<Extract> {
    let address =
        |word: &&str| word.len() == 12 && word.as_bytes()[4] == b':' && word.as_bytes()[7] == b':';
    // Whoever reports stands first, the one it is about last.
    let subject = text
        .split([' ', ',', '(', ')'])
        .map(|word| word.trim_end_matches(':'))
        .rfind(address);
    Some(Extract {
        subject: subject.unwrap_or_default().to_owned(),
        number: 0.0,
    })
}

/// `XidCriticalError: Xid=79 on Device=GPU-…`, `EventData:79`, `XID error 48 on GPU 3`.
fn xid_of_others(text: &str) -> Option<Extract> {
    let marks = [
        "xid=",
        "xid: ",
        "xid error ",
        "xid error: ",
        "xid critical error: ",
        "eventdata:",
        "xid_error ",
        "gpu xid ",
        "nvidia xid ",
        "xid error code ",
    ];
    let number = marks
        .iter()
        .find_map(|mark| number_after(text, mark))
        .or_else(|| {
            // A sample of DCGM's exporter ends with its value.
            let last = text.rsplit(' ').next()?;
            (find(text, "xid_errors").is_some()).then(|| last.parse().ok())?
        })?;
    let subject = [
        "device=", "on gpu=", "on gpu ", "uuid=\"", "device ", "gpu=\"",
    ]
    .iter()
    .find_map(|mark| crate::rule::word_after(text, mark));
    (1.0..1000.0).contains(&number).then(|| Extract {
        subject: subject.unwrap_or_default().to_owned(),
        number,
    })
}

/// `EDAC MC1: 262 CE memory read error`; `EDAC MC0: CE page 0x…` of old kernels is one.
fn errors(text: &str) -> Option<Extract> {
    let old = || {
        let one = find(text, ": ce ").or_else(|| find(text, ": ue "));
        one.map(|_| 1.0)
    };
    let number = number_before(text, " ce ")
        .or_else(|| number_before(text, " ue "))
        .or_else(old)?;
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
        Cause::GpuXidOther => know(F, 3, RestartApp)
            .next(&[DrainGpuReset])
            .harm(&[(RestartKubelet, Why::NotTheCause)]),
        // What runs has the old library open and goes on; whatever starts anew fails until module and library fit.
        Cause::GpuDriverMismatch => know(F, 5, DrainReboot).harm(&[
            (RestartApp, Why::ComesBack),
            (RestartRuntime, Why::NotTheCause),
            (DrainGpuReset, Why::NotTheCause),
        ]),
        Cause::PcieFatalError => know(F, 8, ReplaceHardware)
            .next(&[DrainReboot])
            .probes(&[Probe::KernelLog])
            .harm(&[
                (RestartRuntime, Why::NotTheCause),
                (RestartKubelet, Why::NotTheCause),
            ]),
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
        let counted = facts.hint(Hint::CorrectedMany);
        if let Some(counted) = counted {
            draft.support(counted);
        }
        let many = seen.sum >= MANY || seen.count >= MANY as u64 || counted.is_some();
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
    if let Some(counted) = facts.hint(Hint::CorrectedMany)
        && !facts.has(Hint::CorrectedErrors)
    {
        let draft = put(drafts, Cause::MemoryEccCorrected, counted);
        draft.remedy = Some(ReplaceHardware);
    }
    pcie(facts, drafts);
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
        if let Some(meaning) = xid_meaning(signal.number as u32) {
            draft.params.insert(Param::Meaning, meaning.to_owned());
        }
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

/// What a number of NVIDIA's catalogue means, by the label of its phrase.
fn xid_meaning(code: u32) -> Option<&'static str> {
    Some(match code {
        13 => "gpu-exception",
        31 => "gpu-page-fault",
        43 | 45 => "gpu-stopped",
        48 => "gpu-double-bit",
        61 | 62 => "gpu-microcontroller",
        63 | 64 => "gpu-row-remap",
        69 | 109 => "gpu-context",
        74 => "gpu-nvlink",
        79 => "gpu-off-bus",
        94 => "gpu-ecc-contained",
        95 => "gpu-ecc-uncontained",
        119 | 120 => "gpu-gsp",
        _ => return None,
    })
}

/// An error of the bus that recovery did not mend, or that firmware calls fatal. Corrected ones are only told.
fn pcie(facts: &Facts, drafts: &mut Drafts) {
    if let (Some(record), Some(about)) =
        (facts.hint(Hint::FatalRecord), facts.hint(Hint::PcieRecord))
    {
        // The record is not about memory or processor.
        let only = drafts
            .get(&Cause::MceFatal)
            .is_some_and(|draft| draft.count == record.count);
        if only {
            drafts.remove(&Cause::MceFatal);
        }
        put(drafts, Cause::PcieFatalError, record);
        put(drafts, Cause::PcieFatalError, about);
    }
    let recovered = facts.hint(Hint::PcieRecovered).map(|seen| seen.line());
    for hint in [Hint::PcieFatal, Hint::PcieLost] {
        let Some(seen) = facts.hint(hint) else {
            continue;
        };
        let draft = put(drafts, Cause::PcieFatalError, seen);
        let mended = recovered.is_some_and(|line| line > seen.line()) && !facts.has(Hint::PcieLost);
        if mended {
            draft.confidence = Confidence::Low;
            draft.remedy = Some(WatchThreshold);
        }
    }
}
