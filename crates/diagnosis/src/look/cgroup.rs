//! Control groups that have the tasks they may have (`failures.md` §2 D45): whose limit it is says whose trouble it is.

use ::host::CrowdedCgroup;

use super::{Fine, Look, Out, quote, say};
use crate::Cause::*;
use crate::{Confidence, Param, Source};

/// Nothing forks in the last few percent; before them it is a first sign (the look tells nothing below it).
const FULL: u64 = 95;

/// A limit below this is a part of how a service is made (`TasksMax=1`), not one it grows into; only refusals count then.
const SMALL: u64 = 32;

/// Services without which a node cannot be used or repaired.
const NEEDED: &[&str] = &[
    "kubelet.service",
    "containerd.service",
    "docker.service",
    "cri-docker.service",
    "crio.service",
    "dbus.service",
    "dbus-broker.service",
    "systemd-journald.service",
    "systemd-logind.service",
    "sshd.service",
    "ssh.service",
    "refloat-agent.service",
    // All of them together, and PID 1 itself.
    "system.slice",
    "init.scope",
];

/// Whose a control group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose<'a> {
    /// A pod's or a container's: its own limit, its owner's trouble. With the pod's uid as its name has it.
    Pod(Option<&'a str>),
    /// All pods together, or a class of them.
    Pods,
    /// A service's, a session's, a slice's.
    Service(&'a str),
}

fn whose(path: &str) -> Whose<'_> {
    let parts = || path.split('/').filter(|part| !part.is_empty());
    // A kubelet in a slice of its own has that before: `kubelet-kubepods-burstable.slice`.
    let is_class = |name: &&str| {
        let classes = ["kubepods", "burstable", "besteffort"];
        classes.iter().any(|class| name.ends_with(class))
    };
    let mut of_pods = parts()
        .skip_while(|part| !part.contains("kubepods"))
        .map(|part| part.strip_suffix(".slice").unwrap_or(part))
        .peekable();
    if of_pods.peek().is_some() {
        return match of_pods.find(|part| !is_class(part)) {
            Some(name) => Whose::Pod(name.rsplit_once("pod").map(|(_, uid)| uid)),
            None => Whose::Pods,
        };
    }
    // Docker's own containers: `docker/ID`, `docker-ID.scope`.
    let is_id = |run: &str| run.len() == 64;
    let is_container = |part: &str| {
        part.split(|c: char| !matches!(c, '0'..='9' | 'a'..='f'))
            .any(is_id)
            || part == "machine.slice"
    };
    if parts().any(is_container) {
        return Whose::Pod(None);
    }
    Whose::Service(parts().next_back().unwrap_or(path))
}

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let Some(crowded) = &look.facts.crowded else {
        return;
    };
    let mut services_have_room = true;
    for one in crowded {
        let is_full = one.tasks.percent() >= FULL;
        let is_small = one.tasks.limit < SMALL;
        let is_refused = one.refused.is_some_and(|refused| refused > 0);
        if is_small && !is_refused {
            continue;
        }
        match whose(&one.path) {
            Whose::Pod(uid) if is_full => {
                let mut say = say(ContainerPidsLimit, Source::Processes, quote(one))
                    .low()
                    .param(Param::Path, &one.path);
                // The systemd driver writes a uid with underscores.
                if let Some(uid) = uid {
                    say = say.param(Param::Pod, uid.replace('_', "-"));
                }
                out.say(say);
            }
            Whose::Pod(_) => {}
            Whose::Pods => {
                let sure = if is_full {
                    Confidence::High
                } else {
                    Confidence::Low
                };
                out.say(
                    say(PidExhausted, Source::Processes, quote(one))
                        .sure(sure)
                        .param(Param::Path, &one.path),
                );
            }
            Whose::Service(name) => {
                services_have_room = false;
                let sure = match (is_full && !is_small, NEEDED.contains(&name)) {
                    (true, true) => Confidence::High,
                    // Who logs in as a user ends in the user's slice.
                    (true, false) if one.path.contains("/user.slice") => Confidence::Medium,
                    _ => Confidence::Low,
                };
                out.say(
                    say(ServiceTasksLimit, Source::Processes, quote(one))
                        .sure(sure)
                        .subject(name)
                        .param(Param::Path, &one.path),
                );
            }
        }
    }
    if services_have_room {
        out.fine(Fine::Past, &[ServiceTasksLimit]);
    }
}

fn quote(one: &CrowdedCgroup) -> String {
    let mut quote = quote::used(&format!("{} tasks", one.path), one.tasks);
    if let Some(refused) = one.refused.filter(|refused| *refused > 0) {
        quote += &format!(", {refused} refused since it was made (pids.events)");
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_whose_limit_it_is() {
        let id = "0123456789abcdef".repeat(4);
        let uid = Some("1b2c");
        let root = "/sys/fs/cgroup/pids";
        for (path, expected) in [
            (
                "/system.slice/docker.service".to_owned(),
                Whose::Service("docker.service"),
            ),
            ("/system.slice".to_owned(), Whose::Service("system.slice")),
            (
                "/user.slice/user-0.slice/session-3.scope".to_owned(),
                Whose::Service("session-3.scope"),
            ),
            (format!("/system.slice/docker-{id}.scope"), Whose::Pod(None)),
            (format!("/docker/{id}"), Whose::Pod(None)),
            ("/kubepods".to_owned(), Whose::Pods),
            ("/kubepods/burstable".to_owned(), Whose::Pods),
            (
                "/kubepods.slice/kubepods-besteffort.slice".to_owned(),
                Whose::Pods,
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice".to_owned(),
                Whose::Pods,
            ),
            ("/kubepods/pod1b2c".to_owned(), Whose::Pod(uid)),
            (format!("/kubepods/burstable/pod1b2c/{id}"), Whose::Pod(uid)),
            (
                "/kubepods.slice/kubepods-pod1b2c.slice".to_owned(),
                Whose::Pod(uid),
            ),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod1b2c.slice/cri-containerd-{id}.scope"
                ),
                Whose::Pod(uid),
            ),
        ] {
            let path = format!("{root}{path}");
            assert_eq!(whose(&path), expected, "{path}");
        }
    }
}
