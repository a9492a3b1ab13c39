//! What speaks against an action on this host, before; and what shows that it worked, after. Pure: facts in, codes out.
//! Who may override what is decided elsewhere.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Action, BootId, HostFacts, Mount, MountState, RuntimeName, Unit, UnitFacts, Use};

labels! {
    /// What an action that is objected to would do.
    Harm {
        /// Containers would stop.
        Stops = "stops",
        /// It would change nothing.
        Useless = "useless",
        /// The host would be worse off than before.
        Worse = "worse",
    }
}

labels! {
    /// What speaks against an action. Sources: `failures.md` §0.1, §0.2, §3.1.
    ObjectionCode {
        /// Kubelet does not start with swap on (`swap`), unless it is told to.
        SwapOn = "swap-on",
        /// Kubelet's certificate (`path`) ended at `until`, Unix seconds: it would come back and not be let in.
        CertificateExpired = "certificate-expired",
        /// A mount (`path`) hangs: kubelet hangs at its start when it asks it.
        MountHangs = "mount-hangs",
        /// No inotify instance is left (`used` of `limit`): cadvisor does not start.
        InotifyExhausted = "inotify-exhausted",
        /// The disk below `path` is full: daemons can neither stop nor start.
        DiskFull = "disk-full",
        /// `path` cannot be written (`error`).
        NotWritable = "not-writable",
        /// Docker stops its containers when it ends: live-restore is off.
        LiveRestoreOff = "live-restore-off",
        /// Docker does not say whether live-restore is on; it is off unless somebody put it on.
        LiveRestoreUnknown = "live-restore-unknown",
        /// The unit's KillMode (`mode`) is not `process`: systemd kills the shims too.
        KillMode = "kill-mode",
        /// The daemon (`unit`) waits in the kernel: it can be neither stopped nor killed.
        DaemonBlocked = "daemon-blocked",
        /// systemd does not answer on the bus: new containers would hang as the old ones do. Re-execute systemd first.
        BusHung = "bus-hung",
        /// systemd does not answer at all.
        SystemdSilent = "systemd-silent",
        /// The unit (`unit`) is not installed.
        UnitMissing = "unit-missing",
        /// The unit (`unit`) is masked.
        UnitMasked = "unit-masked",
        /// The process (`pid`) waits in the kernel: SIGKILL waits too.
        ProcessBlocked = "process-blocked",
        /// The mount (`path`) answers; who uses it would lose it.
        MountAnswers = "mount-answers",
        /// No time service is installed.
        NoTimeService = "no-time-service",
        /// The time service (`service`) runs already.
        TimeServiceActive = "time-service-active",
    }
}

/// Something that speaks against an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objection {
    /// What.
    pub code: ObjectionCode,
    /// What would come of it.
    pub harm: Harm,
    /// The values that its sentence names; which ones is said at the code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

#[derive(Default)]
struct Objections(Vec<Objection>);

impl Objections {
    fn add(&mut self, code: ObjectionCode, harm: Harm, params: &[(&str, String)]) {
        let params = params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.0.push(Objection {
            code,
            harm,
            params: params.collect(),
        });
    }
}

/// From here on, in percent, a disk counts as full: docker and kubelet need some room to write what they are about to do.
const FULL: u64 = 99;

/// From here on, in percent, a disk has too little room left to be content with a step that has freed none.
const TIGHT: u64 = 85;

/// From here on, in percent, inotify counts as exhausted: kubelet takes several instances at its start.
const INOTIFY_FULL: u64 = 97;

/// What speaks against an action, as far as the facts know. No facts, no objections: whoever asks looks first.
pub fn precheck(action: &Action, facts: &HostFacts) -> Vec<Objection> {
    let mut found = Objections::default();
    match action {
        Action::Restart { unit } => {
            restart(*unit, facts, &mut found);
            match unit {
                Unit::Kubelet => kubelet(facts, &mut found),
                Unit::Docker => docker(facts, &mut found),
                Unit::Containerd => containerd(facts, &mut found),
                Unit::Kernel => {}
            }
        }
        Action::ReexecSystemd => systemd(facts, &mut found),
        Action::Kill { process } => {
            let blocked = facts.blocked.iter().any(|task| task.pid == process.pid)
                || facts
                    .old_processes
                    .iter()
                    .any(|old| old.process == *process && old.state == 'D');
            if blocked {
                let pid = [("pid", process.pid.to_string())];
                found.add(ObjectionCode::ProcessBlocked, Harm::Useless, &pid);
            }
        }
        Action::Unmount { mount } => {
            let known = facts
                .mounts
                .iter()
                .find(|known| known.path == mount.as_str());
            if known.is_some_and(|known| matches!(known.state, MountState::Answers { .. })) {
                let path = [("path", mount.to_string())];
                found.add(ObjectionCode::MountAnswers, Harm::Worse, &path);
            }
        }
        Action::StartTimeSync => match (&facts.clock.service, facts.clock.service_active) {
            (Some(service), Some(true)) => {
                let service = [("service", service.clone())];
                found.add(ObjectionCode::TimeServiceActive, Harm::Useless, &service);
            }
            // The clock was read and no service was found.
            (None, _) if facts.clock.now.is_some() => {
                found.add(ObjectionCode::NoTimeService, Harm::Useless, &[]);
            }
            _ => {}
        },
        Action::Reboot => certificates(facts, &mut found),
        Action::Thaw { .. } | Action::VacuumJournals { .. } | Action::TruncateLog { .. } => {}
    }
    found.0
}

fn systemd(facts: &HostFacts, found: &mut Objections) {
    if facts.systemd.answers == Some(false) {
        found.add(ObjectionCode::SystemdSilent, Harm::Useless, &[]);
    }
}

fn restart(unit: Unit, facts: &HostFacts, found: &mut Objections) {
    systemd(facts, found);
    let name = [("unit", unit.label().to_owned())];
    match facts.unit(unit.label()) {
        // systemd answered, and does not know it.
        None if facts.systemd.answers == Some(true) && !facts.units.is_empty() => {
            found.add(ObjectionCode::UnitMissing, Harm::Useless, &name);
        }
        Some(known) if known.enabled == "masked" => {
            found.add(ObjectionCode::UnitMasked, Harm::Useless, &name);
        }
        _ => {}
    }
    let process = match unit {
        Unit::Docker => "dockerd",
        other => other.label(),
    };
    let is_blocked = facts.unit(unit.label()).and_then(|unit| unit.process_state) == Some('D')
        || facts.blocked.iter().any(|task| task.comm == process);
    if is_blocked {
        found.add(ObjectionCode::DaemonBlocked, Harm::Useless, &name);
    }
}

fn kubelet(facts: &HostFacts, found: &mut Objections) {
    if let Some(swap) = facts.memory.swaps.first()
        && facts.kubelet.fail_swap_on != Some(false)
    {
        found.add(
            ObjectionCode::SwapOn,
            Harm::Worse,
            &[("swap", swap.clone())],
        );
    }
    certificates(facts, found);
    for mount in facts
        .mounts
        .iter()
        .filter(|mount| mount.state == MountState::Hangs)
    {
        found.add(
            ObjectionCode::MountHangs,
            Harm::Worse,
            &[("path", mount.path.clone())],
        );
    }
    if let Some(inotify) = facts.limits.inotify_instances
        && inotify.percent() >= INOTIFY_FULL
    {
        let params = [
            ("used", inotify.used.to_string()),
            ("limit", inotify.limit.to_string()),
        ];
        found.add(ObjectionCode::InotifyExhausted, Harm::Worse, &params);
    }
    disk(facts, "/var/lib/kubelet", found);
}

/// By the host's own clock, as kubelet does.
fn certificates(facts: &HostFacts, found: &mut Objections) {
    let Some(now) = facts.clock.now else {
        return;
    };
    // What kubelet serves with may end; what it is known by to the API server may not.
    let serves = |path: &str| path.contains("server") || path == "/var/lib/kubelet/pki/kubelet.crt";
    let identity = |path: &str| !serves(path) && !path.ends_with("/ca.crt");
    for certificate in facts.certificates.iter().filter(|one| identity(&one.path)) {
        if (certificate.until as f64) < now {
            let params = [
                ("path", certificate.path.clone()),
                ("until", certificate.until.to_string()),
            ];
            found.add(ObjectionCode::CertificateExpired, Harm::Useless, &params);
        }
    }
}

fn docker(facts: &HostFacts, found: &mut Objections) {
    // Without containers there are none to stop; a docker that cannot list them may have some.
    let runtime = facts.runtime(RuntimeName::Docker);
    let has_none =
        runtime.is_some_and(|docker| docker.lists == Some(true) && docker.containers.is_empty());
    if !has_none {
        match runtime.and_then(|docker| docker.live_restore) {
            Some(true) => {}
            Some(false) => found.add(ObjectionCode::LiveRestoreOff, Harm::Stops, &[]),
            None => found.add(ObjectionCode::LiveRestoreUnknown, Harm::Stops, &[]),
        }
        kill_mode(facts.unit("docker"), found);
    }
    disk(facts, "/var/lib/docker", found);
    if facts.bus.systemd == Some(false) {
        found.add(ObjectionCode::BusHung, Harm::Useless, &[]);
    }
}

fn containerd(facts: &HostFacts, found: &mut Objections) {
    kill_mode(facts.unit("containerd"), found);
    disk(facts, "/var/lib/containerd", found);
    if facts.bus.systemd == Some(false) {
        found.add(ObjectionCode::BusHung, Harm::Useless, &[]);
    }
}

fn kill_mode(unit: Option<&UnitFacts>, found: &mut Objections) {
    let mode = unit
        .map(|unit| unit.kill_mode.as_str())
        .filter(|mode| !mode.is_empty());
    if let Some(mode) = mode.filter(|mode| *mode != "process") {
        found.add(
            ObjectionCode::KillMode,
            Harm::Stops,
            &[("mode", mode.to_owned())],
        );
    }
}

/// The disk that holds a directory, and whether the directory can be written.
fn disk(facts: &HostFacts, directory: &str, found: &mut Objections) {
    let holds = |mount: &&Mount| {
        let below = directory.strip_prefix(mount.path.trim_end_matches('/'));
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let holder = facts
        .mounts
        .iter()
        .filter(holds)
        .max_by_key(|mount| mount.path.len());
    let is_full = holder.is_some_and(|mount| match mount.state {
        MountState::Answers { space, inodes } => {
            space.percent() >= FULL || inodes.percent() >= FULL
        }
        MountState::Hangs | MountState::Fails => false,
    });
    let trial = facts
        .writes
        .iter()
        .find(|trial| trial.directory == directory);
    let path = ("path", directory.to_owned());
    match trial.and_then(|trial| trial.error.as_deref()) {
        Some("ENOSPC" | "EDQUOT") => found.add(ObjectionCode::DiskFull, Harm::Worse, &[path]),
        _ if is_full => found.add(ObjectionCode::DiskFull, Harm::Worse, &[path]),
        Some(error) => {
            let params = [path, ("error", error.to_owned())];
            found.add(ObjectionCode::NotWritable, Harm::Worse, &params);
        }
        None => {}
    }
}

labels! {
    /// What shows that an action worked.
    CheckCode {
        /// The unit is active.
        UnitActive = "unit-active",
        /// Its main process is another than before.
        UnitRestarted = "unit-restarted",
        /// systemd did not have to start it again since.
        RestartsSteady = "restarts-steady",
        /// The container runtime answers.
        RuntimeAnswers = "runtime-answers",
        /// Kubelet says it is healthy.
        KubeletHealthy = "kubelet-healthy",
        /// systemd answers on the bus.
        BusAnswers = "bus-answers",
        /// The host runs another boot.
        BootChanged = "boot-changed",
        /// The process is gone.
        ProcessGone = "process-gone",
        /// The cgroup is not frozen.
        Thawed = "thawed",
        /// The mount is gone.
        MountGone = "mount-gone",
        /// There is more space on the disk that holds `/var/log`, or on that of the container's log.
        SpaceFreed = "space-freed",
        /// A time service runs.
        TimeServiceActive = "time-service-active",
    }
}

/// One sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Which.
    pub code: CheckCode,
    /// Whether it holds; `None` when the facts do not say.
    pub holds: Option<bool>,
}

/// What of a look before an action its signs are told by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// The boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    /// Main process of the unit that is to be restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often systemd had started that unit again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// Bytes used of each disk, by mount point, where space is to be freed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, u64>,
}

impl Before {
    /// Of a look.
    pub fn of(action: &Action, facts: &HostFacts) -> Self {
        let unit = match action {
            Action::Restart { unit } => facts.unit(unit.label()),
            _ => None,
        };
        let frees = matches!(
            action,
            Action::VacuumJournals { .. } | Action::TruncateLog { .. }
        );
        let spaces = frees.then(|| spaces(facts)).into_iter().flatten();
        Self {
            boot: facts.boot.clone(),
            pid: unit.and_then(|unit| unit.pid),
            restarts: unit.and_then(|unit| unit.restarts),
            used: spaces
                .map(|(path, space)| (path.to_owned(), space.used))
                .collect(),
        }
    }
}

/// The disks that answer.
fn spaces(facts: &HostFacts) -> impl Iterator<Item = (&str, Use)> {
    facts.mounts.iter().filter_map(|mount| match mount.state {
        MountState::Answers { space, .. } => Some((mount.path.as_str(), space)),
        MountState::Hangs | MountState::Fails => None,
    })
}

/// The signs that an action worked, from a look before and a look after. It worked when all hold; a unit may take some
/// seconds, so whoever asks looks again until its watch time is over.
pub fn check_after(action: &Action, before: &Before, after: &HostFacts) -> Vec<Check> {
    let check = |code, holds| Check { code, holds };
    match action {
        Action::Restart { unit } => restarted(*unit, before, after),
        Action::ReexecSystemd => vec![check(CheckCode::BusAnswers, after.bus.systemd)],
        Action::Kill { process } => {
            // Only a list that was made can show that something is not in it.
            let listed = after.limits.processes.is_some();
            let there = after
                .old_processes
                .iter()
                .any(|old| old.process == *process);
            vec![check(CheckCode::ProcessGone, listed.then_some(!there))]
        }
        Action::Thaw { cgroup } => {
            let there = after
                .frozen
                .iter()
                .any(|frozen| frozen.path == cgroup.as_str());
            vec![check(CheckCode::Thawed, Some(!there))]
        }
        Action::Unmount { mount } => {
            let listed = !after.mounts.is_empty();
            let there = after
                .mounts
                .iter()
                .any(|other| other.path == mount.as_str());
            vec![check(CheckCode::MountGone, listed.then_some(!there))]
        }
        Action::VacuumJournals { .. } | Action::TruncateLog { .. } => {
            let now: Vec<_> = spaces(after).collect();
            let less = now.iter().any(|(path, space)| {
                before
                    .used
                    .get(*path)
                    .is_some_and(|used| *used > space.used)
            });
            // Of a disk with room nobody can tell, and nobody needs to know, whether there is more of it.
            let tight = now.iter().any(|(_, space)| space.percent() >= TIGHT);
            let known = !before.used.is_empty() && !now.is_empty() && (less || tight);
            vec![check(CheckCode::SpaceFreed, known.then_some(less))]
        }
        Action::StartTimeSync => {
            vec![check(
                CheckCode::TimeServiceActive,
                after.clock.service_active,
            )]
        }
        Action::Reboot => {
            let changed = before
                .boot
                .as_ref()
                .zip(after.boot.as_ref())
                .map(|(a, b)| a != b);
            vec![check(CheckCode::BootChanged, changed)]
        }
    }
}

fn restarted(unit: Unit, before: &Before, after: &HostFacts) -> Vec<Check> {
    let now = after.unit(unit.label());
    let active = now.map(|now| now.active == "active");
    let other = now.map(|now| now.pid.is_some() && now.pid != before.pid);
    // `systemctl restart` sets the counter to 0; whatever is beyond is systemd's own doing.
    let steady = now
        .and_then(|now| now.restarts)
        .map(|now| now == 0 || before.restarts.is_some_and(|then| now <= then));
    let mut checks = vec![
        (CheckCode::UnitActive, active),
        (CheckCode::UnitRestarted, other),
        (CheckCode::RestartsSteady, steady),
    ];
    let answers = |name| after.runtime(name).and_then(|runtime| runtime.answers);
    match unit {
        Unit::Kubelet => checks.push((CheckCode::KubeletHealthy, after.kubelet.healthy)),
        Unit::Docker => checks.push((CheckCode::RuntimeAnswers, answers(RuntimeName::Docker))),
        Unit::Containerd => {
            checks.push((CheckCode::RuntimeAnswers, answers(RuntimeName::Containerd)))
        }
        Unit::Kernel => {}
    }
    checks
        .into_iter()
        .map(|(code, holds)| Check { code, holds })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockedTask, Certificate, MountPath, ProcessId, RuntimeFacts, Use, WriteTrial};

    fn unit(kill_mode: &str) -> UnitFacts {
        UnitFacts {
            active: "active".to_owned(),
            kill_mode: kill_mode.to_owned(),
            pid: Some(5),
            restarts: Some(0),
            ..UnitFacts::default()
        }
    }

    fn healthy() -> HostFacts {
        let mut facts = HostFacts::default();
        facts.systemd.answers = Some(true);
        facts.bus.systemd = Some(true);
        facts.clock.now = Some(1000.0);
        for name in ["kubelet", "docker", "containerd"] {
            facts.units.insert(name.to_owned(), unit("process"));
        }
        facts.runtimes.push(RuntimeFacts {
            name: RuntimeName::Docker,
            socket: Some(true),
            answers: Some(true),
            millis: Some(1),
            version: None,
            live_restore: Some(true),
            lists: None,
            containers: Vec::new(),
        });
        facts
    }

    fn of(unit: Unit) -> Action {
        Action::Restart { unit }
    }

    #[track_caller]
    fn check(action: &Action, facts: &HostFacts, expected: &[(ObjectionCode, Harm)]) {
        let found: Vec<_> = precheck(action, facts)
            .iter()
            .map(|one| (one.code, one.harm))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_speaks_against_a_healthy_host() {
        for unit in [Unit::Kubelet, Unit::Docker, Unit::Containerd] {
            check(&of(unit), &healthy(), &[]);
        }
        check(&Action::ReexecSystemd, &healthy(), &[]);
        check(&Action::Reboot, &healthy(), &[]);
    }

    #[test]
    fn against_kubelet() {
        let mut facts = healthy();
        facts.memory.swaps = vec!["/dev/vda2".to_owned()];
        facts.certificates = vec![
            Certificate {
                path: "/var/lib/kubelet/pki/kubelet-client-current.pem".to_owned(),
                name: String::new(),
                from: 0,
                until: 999,
            },
            Certificate {
                path: "/var/lib/kubelet/pki/kubelet.crt".to_owned(),
                name: String::new(),
                from: 0,
                until: 1,
            },
        ];
        facts.mounts = vec![Mount {
            path: "/mnt".to_owned(),
            kind: "nfs".to_owned(),
            source: "s:/a".to_owned(),
            read_only: false,
            state: MountState::Hangs,
        }];
        facts.limits.inotify_instances = Some(Use::new(128, 128));
        let expected = [
            (ObjectionCode::SwapOn, Harm::Worse),
            (ObjectionCode::CertificateExpired, Harm::Useless),
            (ObjectionCode::MountHangs, Harm::Worse),
            (ObjectionCode::InotifyExhausted, Harm::Worse),
        ];
        check(&of(Unit::Kubelet), &facts, &expected);
        facts.kubelet.fail_swap_on = Some(false);
        check(&of(Unit::Kubelet), &facts, &expected[1..]);
        check(&of(Unit::Containerd), &facts, &[]);
        check(&Action::Reboot, &facts, &expected[1..2]);
    }

    #[test]
    fn against_docker() {
        let mut facts = healthy();
        facts.runtimes[0].live_restore = Some(false);
        facts
            .units
            .insert("docker".to_owned(), unit("control-group"));
        facts.bus.systemd = Some(false);
        facts.writes = vec![WriteTrial {
            directory: "/var/lib/docker".to_owned(),
            error: Some("ENOSPC".to_owned()),
        }];
        facts.blocked = vec![BlockedTask {
            task: ProcessId { pid: 5, start: 1 },
            pid: 5,
            comm: "dockerd".to_owned(),
            stack: Vec::new(),
        }];
        let expected = [
            (ObjectionCode::DaemonBlocked, Harm::Useless),
            (ObjectionCode::LiveRestoreOff, Harm::Stops),
            (ObjectionCode::KillMode, Harm::Stops),
            (ObjectionCode::DiskFull, Harm::Worse),
            (ObjectionCode::BusHung, Harm::Useless),
        ];
        check(&of(Unit::Docker), &facts, &expected);
        // No containers, none to stop.
        facts.runtimes[0].lists = Some(true);
        facts.blocked.clear();
        facts.writes.clear();
        check(
            &of(Unit::Docker),
            &facts,
            &[(ObjectionCode::BusHung, Harm::Useless)],
        );
        facts.runtimes.clear();
        facts.bus.systemd = None;
        check(
            &of(Unit::Docker),
            &facts,
            &[
                (ObjectionCode::LiveRestoreUnknown, Harm::Stops),
                (ObjectionCode::KillMode, Harm::Stops),
            ],
        );
    }

    #[test]
    fn the_disk_is_that_of_the_directory() {
        let mount = |path: &str, used| Mount {
            path: path.to_owned(),
            kind: "ext4".to_owned(),
            source: String::new(),
            read_only: false,
            state: MountState::Answers {
                space: Use::new(used, 100),
                inodes: Use::new(1, 100),
            },
        };
        let mut facts = healthy();
        facts.mounts = vec![
            mount("/", 100),
            mount("/var/lib/containerd", 10),
            mount("/var/lib/con", 100),
        ];
        check(&of(Unit::Containerd), &facts, &[]);
        check(
            &of(Unit::Kubelet),
            &facts,
            &[(ObjectionCode::DiskFull, Harm::Worse)],
        );
    }

    #[test]
    fn against_the_others() {
        let mut facts = healthy();
        let mount = MountPath::new("/var/lib/kubelet/pods/a").unwrap();
        facts.mounts = vec![Mount {
            path: mount.to_string(),
            kind: "nfs".to_owned(),
            source: String::new(),
            read_only: false,
            state: MountState::Answers {
                space: Use::default(),
                inodes: Use::default(),
            },
        }];
        check(
            &Action::Unmount { mount },
            &facts,
            &[(ObjectionCode::MountAnswers, Harm::Worse)],
        );
        check(
            &Action::StartTimeSync,
            &facts,
            &[(ObjectionCode::NoTimeService, Harm::Useless)],
        );
        facts.systemd.answers = Some(false);
        check(
            &Action::ReexecSystemd,
            &facts,
            &[(ObjectionCode::SystemdSilent, Harm::Useless)],
        );
        check(&Action::Reboot, &HostFacts::default(), &[]);
    }

    fn holds(action: &Action, before: &HostFacts, after: &HostFacts) -> Vec<Option<bool>> {
        check_after(action, &Before::of(action, before), after)
            .iter()
            .map(|check| check.holds)
            .collect()
    }

    #[test]
    fn what_shows_that_it_worked() {
        let before = healthy();
        let docker = of(Unit::Docker);
        assert_eq!(
            holds(&docker, &before, &before),
            [Some(true), Some(false), Some(true), Some(true)]
        );
        let mut after = healthy();
        if let Some(unit) = after.units.get_mut("docker") {
            unit.pid = Some(6);
        }
        assert_eq!(holds(&docker, &before, &after), [Some(true); 4]);
        if let Some(unit) = after.units.get_mut("docker") {
            unit.restarts = Some(2);
        }
        assert_eq!(holds(&docker, &before, &after)[2], Some(false));
        assert_eq!(holds(&docker, &before, &HostFacts::default()), [None; 4]);
        assert_eq!(holds(&Action::Reboot, &before, &after), [None]);
    }
}
