//! systemd and D-Bus (`failures.md` §0.1, §2 A4 and A5).

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, hints, shows};
use crate::version::{SystemdGate, systemd_gate};
use crate::{Cause, Confidence, Evidence, Family, Param, Probe, Source, Why};

/// sd-bus, libdbus and Go's dbus package when no answer came.
const NO_REPLY: &str = "connection timed out|timed out|noreply|did not receive a reply|timeout waiting|\
        no reply within|without replying|timed out waiting";

pub(super) const RULES: &[Rule] = &[
    // sd-bus `bus_message_seal` returned ENOTSUP: PID 1's 64-bit cookie no longer fits D-Bus's 32-bit serial
    // (systemd#11809). manager.c propagates it while it tells of an empty cgroup; other senders print the same errno.
    hints(
        Hint::BusSendRefused,
        &[
            "failed to propagate agent release message|failed to send unit change signal|\
        failed to send unit remove signal|failed to send job change signal|\
        failed to send job remove signal|failed to send reloading signal",
            "operation not supported",
        ],
    ),
    hints(Hint::SystemdVersion, &["systemd-2|systemd 2"]).read(package),
    // logind asks PID 1 for slices and scopes and gets no answer (Insights OCP_SYSTEMD_DBUS_REGRESSION).
    shows(
        Cause::SystemdDbusHung,
        &[
            "failed to create session|slice, ignoring|session scope|failed to start user slice|\
        failed to start session|failed to start user service|failed to abandon|\
        failed to stop user",
            "connection timed out|timed out",
        ],
    )
    .by(UNITS),
    shows(
        Cause::SystemdDbusHung,
        &[
            ".scope|.slice|transient unit|starttransientunit|systemd unit|unit properties",
            NO_REPLY,
        ],
    )
    .but("start operation timed out|stopping timed out|killing|state 'stop-sigterm'|job |dev-"),
    // busctl, systemctl, dbus-send against org.freedesktop.systemd1.
    shows(
        Cause::SystemdDbusHung,
        &["org.freedesktop.systemd1", NO_REPLY],
    ),
    shows(
        Cause::SystemdDbusHung,
        &[
            "failed to list units|failed to get properties|failed to list unit files|\
        failed to introspect|error getting authority|failed to get unit|failed to restart|\
        failed to reload daemon|failed to get journal",
            NO_REPLY,
        ],
    ),
    // core/crash-handler.c (before v253 core/main.c): PID 1 caught a fatal signal and executes nothing any more.
    shows(
        Cause::Pid1Hung,
        &["freezing execution|due to pid 1 having crashed|[!!!!!!]|executing crash shell|crashed, freezing"],
    )
    .by(&[Unit::Systemd]),
    shows(
        Cause::Pid1Hung,
        &[
            "caught <",
            "dumped core as pid|not dumping core|core dump failed|cannot fork for core dump|\
        waitpid() failed|from pid|from unknown sender|from our own process|from our own user",
        ],
    )
    .by(&[Unit::Systemd]),
    shows(
        Cause::Pid1Hung,
        &[
            "assertion '|code should not be reached",
            "src/core/",
            "aborting",
        ],
    )
    .by(&[Unit::Systemd]),
    shows(
        Cause::SystemdDbusHung,
        &["maximum number of pending replies per connection"],
    ),
    // runc (libcontainer/cgroups/systemd): waits for the unit's job.
    shows(
        Cause::SystemdDbusHung,
        &["timeout waiting for systemd|waiting for systemd to create|\
        unable to make systemd dbus connection|error creating systemd unit"],
    ),
    shows(
        Cause::SystemdDbusHung,
        &[
            "/run/systemd/private|/run/dbus/system_bus_socket|system_bus_socket",
            "connection refused|resource temporarily unavailable|timed out|i/o timeout|\
        broken pipe",
        ],
    )
    .but("no such file"),
];

use crate::line::Unit;
const UNITS: &[Unit] = &[Unit::Systemd, Unit::Other];

/// `systemd-219-57.el7.x86_64` of `rpm -qa`; `systemd 219` of `systemctl --version` has no release and decides nothing.
fn package(text: &str) -> Option<Extract> {
    let at = crate::rule::find(text, "systemd-2")?;
    let word = text[at..].split([' ', '"', ',', ')']).next()?;
    (word.matches('-').count() >= 2).then(|| Extract {
        subject: word.to_owned(),
        number: 0.0,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    // §0.1: order of the remedies, and what is useless.
    const HARM: &[(crate::Action, Why)] = &[
        (RestartRuntime, Why::BlocksAgain),
        (RestartKubelet, Why::NotTheCause),
        (KillAllRunc, Why::HitsHealthy),
        (DrainReboot, Why::ComesBack),
    ];
    Some(match cause {
        Cause::SystemdDbusCookieOverflow => know(Family::Systemd, 7, SystemdReexec)
            .next(&[KillStuckRunc, RestartRuntime, UpgradeSystemd, DrainReboot])
            .probes(&[Probe::SystemdBus, Probe::SystemdVersion])
            .harm(HARM),
        Cause::SystemdDbusHung => know(Family::Systemd, 6, SystemdReexec)
            .next(&[KillStuckRunc, DrainReboot])
            .probes(&[Probe::SystemdBus, Probe::SystemdVersion, Probe::OldRunc])
            .harm(&HARM[..3]),
        // It answers neither on the bus nor on its own socket: no `systemctl` gets through, so nothing can be restarted.
        Cause::Pid1Hung => know(Family::Systemd, 8, DrainReboot)
            .next(&[ForceReboot])
            .probes(&[Probe::BlockedTasks, Probe::CpuLoad])
            .harm(&[
                (SystemdReexec, Why::Pid1Dead),
                (RestartRuntime, Why::StopBlocks),
                (RestartKubelet, Why::StopBlocks),
            ]),
        // Everything that holds a connection loses it with a restarted bus; only a reboot is safe.
        Cause::DbusHung => know(Family::Systemd, 5, DrainReboot)
            .probes(&[Probe::SystemdBus])
            .harm(&[
                (SystemdReexec, Why::NotTheCause),
                (RestartRuntime, Why::BlocksAgain),
                (RestartKubelet, Why::NotTheCause),
            ]),
        _ => return None,
    })
}

/// ENOTSUP from PID 1 is the overflow, unless this build of systemd has the fix. Time-outs alone are a bus that does not
/// answer: with an affected build re-executing is right either way; with a fixed build the probe has to say whether
/// PID 1 is only busy.
pub(super) fn infer(facts: &Facts, context: &Context, drafts: &mut Drafts) {
    let named = facts
        .hint(Hint::SystemdVersion)
        .and_then(|seen| seen.subjects.keys().next().cloned());
    let version = context.systemd.clone().or(named);
    let gate = version.as_deref().map(systemd_gate);
    if let Some(seen) = facts.hint(Hint::BusSendRefused) {
        let hung = drafts.remove(&Cause::SystemdDbusHung);
        let cause = if gate == Some(SystemdGate::Fixed) {
            Cause::SystemdDbusHung
        } else {
            Cause::SystemdDbusCookieOverflow
        };
        let draft = put(drafts, cause, seen);
        if let Some(hung) = hung {
            draft.count += hung.count;
            draft.evidence.extend(hung.evidence);
            draft.sources.extend(hung.sources);
        }
    }
    // A symptom that the bus would explain: the build says how likely that is.
    for cause in [Cause::PlegUnhealthy, Cause::CriDeadlineExceeded] {
        if let (Some(version), Some(gate), Some(draft)) = (&version, gate, drafts.get_mut(&cause)) {
            draft.params.insert(Param::Version, version.clone());
            if let SystemdGate::Affected { fixed_in } = gate {
                draft.params.insert(Param::FixedIn, fixed_in.to_owned());
            }
            draft.evidence.push(Evidence {
                source: Source::Package,
                line: 0,
                quote: version.clone(),
            });
        }
    }
    for (cause, draft) in drafts.iter_mut() {
        if !matches!(
            cause,
            Cause::SystemdDbusCookieOverflow | Cause::SystemdDbusHung
        ) {
            continue;
        }
        if let Some(version) = &version {
            draft.params.insert(Param::Version, version.clone());
            draft.evidence.push(Evidence {
                source: Source::Package,
                line: 0,
                quote: version.clone(),
            });
        }
        match gate {
            Some(SystemdGate::Affected { fixed_in }) => {
                draft.params.insert(Param::FixedIn, fixed_in.to_owned());
            }
            // A look at the bus shows the state itself; lines may tell of a busy moment.
            Some(SystemdGate::Fixed) if !draft.sources.contains(&Source::Bus) => {
                draft.undetermined = true;
                draft.remedy = Some(ProbeRuntime);
                draft.confidence = Confidence::Medium;
            }
            _ => {}
        }
    }
}
