//! Runtimes and their containers (`failures.md` §0.3, §2 A): does the daemon run, does it answer, does one container not.

use ::host::{OldProcess, Probe as HostProbe, RuntimeFacts, RuntimeName, UnitFacts};

use super::{Fine, Look, Out, Say, process, quote, say};
use crate::Cause::{self, *};
use crate::{Action, Confidence, Param, Source, Why};

/// How a daemon is.
enum State {
    /// It is not here, or nothing is known.
    Unknown,
    /// It is here and meant not to run.
    Unused,
    /// It answers and lists.
    Fine,
    /// It answers and does not list.
    ListHangs,
    /// It does not run.
    Down(Say),
    /// It runs and does not answer; whether its process is stopped.
    Hung(Say, bool),
}

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let containerd = Daemon::of(look, RuntimeName::Containerd);
    let docker = Daemon::of(look, RuntimeName::Docker);
    let states = [containerd.state(look), docker.state(look)];
    // dockerd waits for containerd: a containerd that is down or hung is why docker does not answer.
    let below = match &states[0] {
        State::Down(_) => Some(RuntimeDown),
        State::Hung(..) => Some(RuntimeHungContainerd),
        _ => None,
    };
    let below_is_fine = matches!(states[0], State::Fine);
    let used = |state: &State| !matches!(state, State::Unknown | State::Unused);
    let all_fine = states.iter().any(used)
        && states
            .iter()
            .filter(|state| used(state))
            .all(|state| matches!(state, State::Fine));
    let mut stopped = false;
    let culprits = Culprits::of(look);
    let mut silent = 0;
    for (daemon, state) in [containerd, docker].iter().zip(states) {
        match state {
            State::Unknown | State::Unused => {}
            State::Down(one) => out.say(daemon.with_remedy(one, true)),
            State::Hung(one, is_stopped) => {
                stopped |= is_stopped;
                let is_docker = daemon.name == RuntimeName::Docker;
                let cause = below.filter(|_| !is_stopped && is_docker);
                match cause {
                    Some(cause) => out.say(one.about(cause).medium()),
                    None => {
                        // What is below docker has not answered either way.
                        let one = if is_stopped || below_is_fine || !is_docker {
                            one
                        } else {
                            one.medium()
                        };
                        out.say(daemon.with_remedy(one, false));
                        daemon.in_kernel(look, out);
                    }
                }
            }
            State::Fine | State::ListHangs => {
                let list_hangs = matches!(state, State::ListHangs);
                silent += daemon.containers(look, list_hangs, below.is_none(), &culprits, out);
                if !list_hangs {
                    out.fine(Fine::Gone, &[daemon.hung()]);
                }
            }
        }
    }
    // Kubelet asks for every runtime it knows of when it starts.
    if !look.facts.units.is_empty() && look.facts.unit("crio").is_none() {
        out.fine(Fine::Gone, &[RuntimeHungCrio]);
    }
    for (name, hung) in [("cri-docker", RuntimeHungDocker), ("crio", RuntimeHungCrio)] {
        by_unit_alone(look, name, hung, out);
    }
    // A stopped daemon leaves its children waiting; they are not why.
    if !stopped {
        culprits.say(silent > 0 || !all_fine, out);
    }
    if all_fine && silent == 0 {
        out.fine(
            Fine::Gone,
            &[
                RuntimeDown,
                RuntimeStartFailed,
                RuntimeHungDocker,
                RuntimeHungContainerd,
            ],
        );
        out.fine(
            Fine::Past,
            &[
                PlegUnhealthy,
                CriDeadlineExceeded,
                ContainerNameReserved,
                RuntimeVersionMismatch,
                RuntimeOverlayCorrupt,
                RuntimeConfigInvalid,
                RuntimeExecFailed,
                CgroupControllerMissing,
            ],
        );
        // Kubelet's list has all it needs; at its start it complains until the first one.
        if look.facts.kubelet.healthy == Some(true) {
            out.fine(Fine::Gone, &[PlegUnhealthy]);
        }
        if look.heard.is_some_and(|heard| heard.ready) {
            out.fine(Fine::Gone, &[PlegUnhealthy, CniNotInitialized]);
            // A kubelet that starts asks a runtime whose CRI is not there yet. And units try modules that the kernel has
            // built in, or that nobody needs (`ExecStartPre=-/sbin/modprobe overlay`).
            out.fine(Fine::Heard, &[RuntimeVersionMismatch]);
            out.fine(Fine::Gone, &[KernelModuleMissing]);
            // Kubelet has its runtime with all it needs, so what it was told to do it does.
            out.fine(Fine::Gone, &[RuntimeConfigInvalid]);
        }
    } else {
        // It takes a runtime that answers to refuse kubelet's version.
        out.fine(Fine::Heard, &[RuntimeVersionMismatch]);
    }
}

/// A runtime that is not asked itself: what systemd says of it.
fn by_unit_alone(look: &Look<'_>, name: &str, hung: Cause, out: &mut Out) {
    let Some(unit) = look.facts.unit(name) else {
        return;
    };
    if matches!(unit.process_state, Some('T' | 't')) {
        let quote = quote::stopped_process(name, unit);
        out.say(say(hung, Source::Units, quote).subject(name));
    } else if unit.enabled == "enabled"
        && matches!(unit.active.as_str(), "failed" | "inactive")
        && !look.is_starting()
    {
        let quote = quote::unit(name, unit);
        out.say(say(RuntimeDown, Source::Units, quote).subject(name));
    }
}

impl Say {
    /// The same fact as evidence of another cause.
    fn about(mut self, cause: Cause) -> Self {
        self.0.says = crate::facts::Says::Shows(cause);
        self
    }
}

/// Whether a runtime is the one that counts beside `name`. containerd runs below docker too, so only docker that answers
/// makes it a leftover.
fn is_meant(look: &Look<'_>, other: RuntimeName, name: RuntimeName) -> bool {
    let answers = look.facts.runtime(other).and_then(|facts| facts.answers) == Some(true);
    let enabled = look
        .facts
        .unit(other.label())
        .is_some_and(|unit| unit.enabled == "enabled");
    answers || enabled && name == RuntimeName::Docker
}

struct Daemon<'a> {
    name: RuntimeName,
    facts: Option<&'a RuntimeFacts>,
    unit: Option<&'a UnitFacts>,
    /// Another runtime that answers or is meant to run: this one may be a leftover.
    other: bool,
}

impl<'a> Daemon<'a> {
    fn of(look: &Look<'a>, name: RuntimeName) -> Self {
        Self {
            name,
            facts: look.facts.runtime(name),
            unit: look.facts.unit(name.label()),
            other: RuntimeName::ALL
                .iter()
                .filter(|other| **other != name)
                .any(|other| is_meant(look, *other, name)),
        }
    }

    fn hung(&self) -> Cause {
        match self.name {
            RuntimeName::Docker => RuntimeHungDocker,
            RuntimeName::Containerd => RuntimeHungContainerd,
        }
    }

    fn source(&self) -> Source {
        match self.name {
            RuntimeName::Docker => Source::Docker,
            RuntimeName::Containerd => Source::Containerd,
        }
    }

    fn probe(&self) -> HostProbe {
        match self.name {
            RuntimeName::Docker => HostProbe::Docker,
            RuntimeName::Containerd => HostProbe::Containerd,
        }
    }

    fn say(&self, cause: Cause, source: Source, quote: String) -> Say {
        say(cause, source, quote).subject(self.name.label())
    }

    fn state(&self, look: &Look<'_>) -> State {
        let answers = self.facts.and_then(|facts| facts.answers);
        if let Some(unit) = self.unit {
            if matches!(unit.process_state, Some('T' | 't')) {
                let quote = quote::stopped_process(self.name.label(), unit);
                return State::Hung(self.say(self.hung(), Source::Units, quote), true);
            }
            if answers != Some(true)
                && let Some(state) = self.by_unit(look, unit)
            {
                return state;
            }
        }
        self.by_answer(look, answers)
    }

    /// What systemd says of a daemon that does not answer. Nothing when it says that it runs.
    fn by_unit(&self, look: &Look<'_>, unit: &UnitFacts) -> Option<State> {
        let quote = quote::unit(self.name.label(), unit);
        let source = Source::Units;
        let loops = unit.sub == "auto-restart" || unit.restarts.is_some_and(|times| times >= LOOP);
        match unit.active.as_str() {
            // It ends again and again, or systemd gave up: why is in its log.
            "failed" | "activating" if loops || unit.result == "start-limit-hit" => {
                Some(State::Down(self.say(RuntimeStartFailed, source, quote)))
            }
            "failed" if matches!(unit.result.as_str(), "exit-code" | "timeout" | "protocol") => {
                Some(State::Down(self.say(RuntimeStartFailed, source, quote)))
            }
            "failed" => Some(State::Down(self.say(RuntimeDown, source, quote))),
            "inactive" if look.is_starting() => Some(State::Unknown),
            "inactive" if self.is_leftover(unit) => Some(State::Unused),
            "inactive" => Some(State::Down(self.say(RuntimeDown, source, quote))),
            // It waits for something while it stops or starts.
            "deactivating" => Some(State::Hung(
                self.say(self.hung(), source, quote).medium(),
                false,
            )),
            "activating" if look.is_starting() => Some(State::Unknown),
            "activating" => Some(State::Down(
                self.say(RuntimeStartFailed, source, quote).medium(),
            )),
            _ => None,
        }
    }

    /// Docker on a containerd host, or the other way about: not enabled and not needed. With `masked` it is plain.
    fn is_leftover(&self, unit: &UnitFacts) -> bool {
        self.other && unit.enabled != "enabled"
    }

    fn by_answer(&self, look: &Look<'_>, answers: Option<bool>) -> State {
        let source = self.source();
        let Some(facts) = self.facts else {
            return State::Unknown;
        };
        match (answers, facts.socket) {
            (Some(true), _) if facts.lists == Some(false) => State::ListHangs,
            (Some(true), _) => State::Fine,
            // Without a unit nothing says that it should run: a leftover of a package.
            (Some(false) | None, Some(false)) if self.unit.is_none() => State::Unused,
            // It may listen elsewhere.
            (_, Some(false)) if !look.is_starting() => {
                let quote = format!("{}: its socket takes no connection", self.name);
                State::Down(self.say(RuntimeDown, source, quote).low())
            }
            (Some(false), _) if !look.is_starting() => {
                let quote = quote::no_answer(facts, "ping");
                let one = self.say(self.hung(), source, quote);
                State::Hung(if look.is_late() { one.medium() } else { one }, false)
            }
            (None, _) if look.timed_out(self.probe()) => {
                let millis = self.probe().deadline();
                let quote = format!(
                    "{}: no answer, the probe was killed after {millis} ms",
                    self.name
                );
                State::Hung(self.say(self.hung(), source, quote).medium(), false)
            }
            _ => State::Unknown,
        }
    }

    /// Restarting a daemon takes its containers down unless live-restore and KillMode hold (`failures.md` §0.2). What is
    /// down has nobody left to take along.
    fn with_remedy(&self, one: Say, down: bool) -> Say {
        let live = self.name == RuntimeName::Docker
            && self.facts.and_then(|facts| facts.live_restore) == Some(false);
        let kills = self
            .unit
            .is_some_and(|unit| !matches!(unit.kill_mode.as_str(), "" | "process" | "none"));
        if down || !(live || kills) {
            return one;
        }
        one.remedy(Action::DrainRestartRuntime)
            .harm(Action::RestartRuntime, Why::StopsContainers)
    }

    /// The daemon itself waits in the kernel: then even its stop waits.
    fn in_kernel(&self, look: &Look<'_>, out: &mut Out) {
        let Some(unit) = self.unit else { return };
        if let Some(task) = process::blocked(look, unit.pid) {
            // A network mount or a frozen file system is a root of its own and has its own evidence.
            let sure = match process::waits(task) {
                process::Waits::NetworkMount | process::Waits::FrozenFilesystem => Confidence::Low,
                _ => Confidence::Medium,
            };
            out.say(
                say(HungTask, Source::Processes, process::quote(task))
                    .sure(sure)
                    .subject(&task.comm)
                    .param(Param::Process, task.pid.to_string()),
            );
        }
    }

    /// Containers that do not answer while their daemon does. Returns how many.
    fn containers(
        &self,
        look: &Look<'_>,
        list_hangs: bool,
        alone: bool,
        culprits: &Culprits<'_>,
        out: &mut Out,
    ) -> usize {
        let containers = self.facts.map_or(&[][..], |facts| &facts.containers);
        let silent: Vec<_> = containers.iter().filter(|one| !one.answers).collect();
        let list = || {
            let what = match self.name {
                RuntimeName::Docker => "docker ps: no answer; docker ping answers",
                RuntimeName::Containerd => "containerd tasks: no answer; its version answers",
            };
            what.to_owned()
        };
        // One that hangs is its own trouble; all that hang are the daemon's.
        if silent.len() == containers.len() && silent.len() > 1 && !culprits.explain(&silent) {
            let quote = format!(
                "{}: none of {} containers answers; the daemon does",
                self.name,
                silent.len()
            );
            out.say(self.with_remedy(self.say(self.hung(), self.source(), quote), false));
            return silent.len();
        }
        if silent.is_empty() {
            if list_hangs && alone {
                out.say(
                    self.with_remedy(self.say(self.hung(), self.source(), list()).medium(), false),
                );
                self.in_kernel(look, out);
            }
            return usize::from(list_hangs);
        }
        for container in silent.iter().take(3) {
            let id = container.id.as_str();
            let quote = format!(
                "container {}: no answer; {} and the others answer",
                quote::short(id),
                self.name
            );
            let (cause, sure) = culprits.cause(id);
            out.say(
                say(cause, self.source(), quote)
                    .sure(sure)
                    .param(Param::Container, id),
            );
        }
        silent.len()
    }
}

/// Restarts that are a loop: NPD counts five in twenty minutes, EKS more than three.
const LOOP: u64 = 4;

/// A runc of this age without any other sign: all it does takes seconds.
const OLD: u64 = 300;

/// What a runc does takes less.
const YOUNG: u64 = 60;

/// What holds containers up, found by itself.
struct Culprits<'a> {
    frozen: Vec<&'a str>,
    /// Stopped shims.
    shims: Vec<&'a OldProcess>,
    /// Old runc, but the waiting `runc init` of a created container.
    runcs: Vec<&'a OldProcess>,
}

impl<'a> Culprits<'a> {
    fn of(look: &Look<'a>) -> Self {
        let old = &look.facts.old_processes;
        let is_stopped = |one: &&OldProcess| matches!(one.state, 'T' | 't');
        Self {
            frozen: look
                .facts
                .frozen
                .iter()
                .map(|one| one.path.as_str())
                .collect(),
            shims: old
                .iter()
                .filter(|one| one.comm.contains("shim"))
                .filter(is_stopped)
                .collect(),
            runcs: old
                .iter()
                .filter(|one| one.comm.contains("runc") && !one.comm.contains("shim"))
                .filter(|one| !is_init(one) || one.state == 'D')
                // In state D for a moment is every runc that writes.
                .filter(|one| {
                    one.state != 'D'
                        || one.age >= YOUNG
                        || process::blocked(look, Some(one.process.pid)).is_some()
                })
                .collect(),
        }
    }

    /// The cause of a container that does not answer.
    fn cause(&self, id: &str) -> (Cause, Confidence) {
        let named = |one: &&&OldProcess| one.container.as_ref().is_some_and(|of| of.as_str() == id);
        let runc = self.runcs.iter().find(named);
        if self.frozen.iter().any(|path| path.contains(id)) {
            (CgroupFrozen, Confidence::High)
        } else if self.shims.iter().any(|one| named(&one)) {
            (ShimHung, Confidence::High)
        } else if let Some(runc) = runc {
            (runc_cause(runc), Confidence::High)
        } else if !self.frozen.is_empty() {
            (CgroupFrozen, Confidence::Medium)
        } else if let Some(runc) = self.runcs.iter().find(|one| one.container.is_none()) {
            (runc_cause(runc), Confidence::Medium)
        } else {
            (ShimHung, Confidence::Medium)
        }
    }

    /// Whether each of these has a culprit of its own.
    fn explain(&self, silent: &[&::host::ContainerFacts]) -> bool {
        silent.iter().all(|container| {
            let id = container.id.as_str();
            self.frozen.iter().any(|path| path.contains(id))
                || self
                    .shims
                    .iter()
                    .chain(&self.runcs)
                    .any(|one| one.container.as_ref() == Some(&container.id))
        })
    }

    /// Says them; `trouble`: somebody waits.
    fn say(&self, trouble: bool, out: &mut Out) {
        for path in &self.frozen {
            // runc freezes a cgroup for a moment when it changes devices (v1).
            out.say(
                say(CgroupFrozen, Source::Freezer, format!("{path}: frozen"))
                    .medium()
                    .param(Param::Path, *path),
            );
        }
        for shim in &self.shims {
            out.say(named(ShimHung, shim));
        }
        for runc in &self.runcs {
            let sure = match (trouble, runc.age >= OLD) {
                (true, _) => Confidence::High,
                (false, true) => Confidence::Medium,
                (false, false) => Confidence::Low,
            };
            out.say(named(runc_cause(runc), runc).sure(sure));
        }
    }
}

/// `runc init` of a container that was created and not started waits as it should.
fn is_init(process: &OldProcess) -> bool {
    process.comm.starts_with("runc:[") || process.comm == "runc-init"
}

fn runc_cause(runc: &OldProcess) -> Cause {
    if runc.state == 'D' {
        RuncInitDstate
    } else {
        RuncHung
    }
}

/// A culprit with what is needed to name it.
fn named(cause: Cause, process: &OldProcess) -> Say {
    let of = process.container.as_ref().map_or(String::new(), |id| {
        format!(" of container {}", quote::short(id.as_str()))
    });
    let quote = format!(
        "{} (pid {}){of}: state {}, {} s old",
        process.comm, process.process.pid, process.state, process.age
    );
    let mut one = say(cause, Source::Processes, quote)
        .subject(process.process.pid.to_string())
        .param(Param::Process, process.process.pid.to_string())
        .number(process.age as f64);
    if let Some(id) = &process.container {
        one = one.param(Param::Container, id.as_str());
    }
    one
}
