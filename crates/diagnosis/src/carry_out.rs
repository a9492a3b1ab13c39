//! What carries a remedy out on the host itself. Nothing where a person, the cluster or the cloud has to act.

use ::host::{
    Action as HostAction, CgroupPath, HostFacts, MountPath, MountState, OldProcess, RuntimeName,
    Unit,
};

use crate::{Action, Cause, Finding, Param};

/// Journals keep this much (`failures.md` §2 D58).
const KEEP_MIB: u32 = 500;

/// A runc younger than this does its work.
const OLD: u64 = 60;

/// The steps on the host that carry out `action` (the finding's remedy, or one of its next steps), in order. What has to
/// happen before on the cluster's side (cordon, drain) is not among them.
pub fn host_actions(action: Action, finding: &Finding, facts: &HostFacts) -> Vec<HostAction> {
    match action {
        Action::RestartKubelet => vec![restart(Unit::Kubelet)],
        Action::RestartRuntime | Action::DrainRestartRuntime => {
            vec![restart(runtime(finding, facts))]
        }
        Action::SystemdReexec => vec![HostAction::ReexecSystemd],
        Action::KillStuckRunc => kill(facts, finding, Cause::RuncHung, |one| {
            one.comm.contains("runc")
                && !one.comm.contains("shim")
                // A waiting `runc init` is a created container; what waits in the kernel cannot be killed.
                && !one.comm.starts_with("runc:[")
                && one.state != 'D'
                && (one.age >= OLD || matches!(one.state, 'T' | 't'))
        }),
        Action::KillStuckShim => kill(facts, finding, Cause::ShimHung, |one| {
            one.comm.contains("shim") && matches!(one.state, 'T' | 't')
        }),
        Action::ThawCgroup => facts
            .frozen
            .iter()
            .filter_map(|one| CgroupPath::new(one.path.as_str()).ok())
            .map(|cgroup| HostAction::Thaw { cgroup })
            .collect(),
        Action::UnmountNfs => facts
            .mounts
            .iter()
            .filter(|one| !matches!(one.state, MountState::Answers { .. }))
            .filter(|one| crate::look::is_remote(one))
            .filter_map(|one| MountPath::new(one.path.as_str()).ok())
            .map(|mount| HostAction::Unmount { mount })
            .collect(),
        // A vacuum frees bytes; where inodes are short it helps nothing.
        Action::FreeDisk if finding.cause != Cause::InodeExhausted => {
            vec![HostAction::VacuumJournals { keep_mib: KEEP_MIB }]
        }
        Action::FixTime if finding.cause == Cause::ClockUnsynced => {
            vec![HostAction::StartTimeSync]
        }
        Action::DrainReboot | Action::ForceReboot => vec![HostAction::Reboot],
        _ => Vec::new(),
    }
}

fn restart(unit: Unit) -> HostAction {
    HostAction::Restart { unit }
}

/// The daemon a finding is about; without a word of it, docker where it is meant to run.
fn runtime(finding: &Finding, facts: &HostFacts) -> Unit {
    let subject = finding.params.get(&Param::Subject).map(String::as_str);
    match (finding.cause, subject) {
        (Cause::RuntimeHungContainerd, _) | (_, Some("containerd")) => Unit::Containerd,
        (Cause::RuntimeHungDocker, _) | (_, Some("docker")) => Unit::Docker,
        _ => {
            let docker = facts.unit(RuntimeName::Docker.label());
            if docker.is_some_and(|unit| unit.enabled == "enabled") {
                Unit::Docker
            } else {
                Unit::Containerd
            }
        }
    }
}

/// The processes of a kind; of a finding about one of them only that one.
fn kill(
    facts: &HostFacts,
    finding: &Finding,
    cause: Cause,
    is_one: impl Fn(&OldProcess) -> bool,
) -> Vec<HostAction> {
    let named = finding
        .params
        .get(&Param::Process)
        .filter(|_| finding.cause == cause);
    facts
        .old_processes
        .iter()
        .filter(|one| is_one(one))
        .filter(|one| named.is_none_or(|pid| one.process.pid.to_string() == *pid))
        .map(|one| HostAction::Kill {
            process: one.process,
        })
        .collect()
}
