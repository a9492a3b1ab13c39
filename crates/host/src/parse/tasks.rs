//! [`Probe::Processes`](crate::Probe::Processes), lines of words; `-` for what is not known:
//!
//! ```text
//! tasks COUNT
//! processes COUNT
//! zombies COUNT
//! blocked TID START PID NAME
//!  FUNCTION                       (its stack, innermost first, one a line)
//! old PID START AGE STATE CONTAINER NAME
//! crowded TASKS LIMIT REFUSED CGROUP
//! cgroups COUNT                   (how many were asked for their limit of tasks)
//! ```
//!
//! A task counts as blocked when it is in state D at two looks a second apart and was not scheduled in between
//! (`voluntary_ctxt_switches`): every busy disk has tasks in D for moments. A name is the rest of its line.
//!
//! [`Probe::Descriptors`](crate::Probe::Descriptors):
//!
//! ```text
//! inotify-instances COUNT         (of root, as the kernel's limit is by user)
//! inotify-watches COUNT
//! daemon NAME OPEN LIMIT
//! deleted PID BYTES NAME<TAB>PATH (open files without a name, of 100 MiB and more)
//! ```

use std::cmp::Reverse;

use super::Parts;
use super::text::whole;
use crate::{
    BlockedTask, ContainerId, CrowdedCgroup, Daemon, Deleted, HostFacts, OldProcess, ProcessId,
    Use, sources,
};

/// So many crowded cgroups are kept.
const CROWDED: usize = 16;

pub(super) fn processes(text: &str, facts: &mut HostFacts, parts: &mut Parts) {
    let mut in_stack = false;
    for line in text.lines() {
        if let Some(function) = line.strip_prefix(' ') {
            if in_stack && let Some(task) = facts.blocked.last_mut() {
                task.stack.push(function.trim().to_owned());
            }
            continue;
        }
        in_stack = false;
        let Some((word, rest)) = line.split_once(' ') else {
            continue;
        };
        match word {
            "tasks" => parts.tasks_listed = whole(rest),
            "processes" => facts.limits.processes = whole(rest),
            "zombies" => facts.zombies = whole(rest),
            "blocked" => {
                let asks = |task: &BlockedTask| task.comm.starts_with(sources::ASKING);
                if let Some(task) = blocked(rest).filter(|task| !asks(task)) {
                    facts.blocked.push(task);
                    in_stack = true;
                }
            }
            "old" => facts.old_processes.extend(old(rest)),
            "crowded" => facts.crowded.get_or_insert_default().extend(crowded(rest)),
            // That they were asked makes none a fact.
            "cgroups" => _ = facts.crowded.get_or_insert_default(),
            _ => {}
        }
    }
    if let Some(crowded) = &mut facts.crowded {
        // However many pods are full, they must not hide a service.
        let order = |one: &CrowdedCgroup| {
            let is_pods = one.path.contains("kubepods");
            (is_pods, Reverse(one.tasks.percent()), one.path.clone())
        };
        crowded.sort_by_cached_key(order);
        crowded.truncate(CROWDED);
    }
}

fn crowded(rest: &str) -> Option<CrowdedCgroup> {
    let mut words = rest.splitn(4, ' ');
    let mut next = || words.next();
    Some(CrowdedCgroup {
        tasks: Use::new(whole(next()?)?, whole(next()?)?),
        refused: whole(next()?),
        path: next()?.to_owned(),
    })
}

fn blocked(rest: &str) -> Option<BlockedTask> {
    let mut words = rest.splitn(4, ' ');
    let mut next = || words.next();
    Some(BlockedTask {
        task: ProcessId {
            pid: next()?.parse().ok()?,
            start: next()?.parse().ok()?,
        },
        pid: next()?.parse().ok()?,
        comm: next()?.to_owned(),
        stack: Vec::new(),
    })
}

fn old(rest: &str) -> Option<OldProcess> {
    let mut words = rest.splitn(6, ' ');
    let mut next = || words.next();
    Some(OldProcess {
        process: ProcessId {
            pid: next()?.parse().ok()?,
            start: next()?.parse().ok()?,
        },
        age: next()?.parse().ok()?,
        state: next()?.chars().next()?,
        container: ContainerId::new(next()?).ok(),
        comm: next()?.to_owned(),
    })
}

pub(super) fn descriptors(text: &str, facts: &mut HostFacts, parts: &mut Parts) {
    for line in text.lines() {
        let Some((word, rest)) = line.split_once(' ') else {
            continue;
        };
        match word {
            "inotify-instances" => parts.inotify_instances = whole(rest),
            "inotify-watches" => parts.inotify_watches = whole(rest),
            "daemon" => daemon(rest, facts),
            "deleted" => facts.deleted.extend(deleted(rest)),
            _ => {}
        }
    }
}

/// The one closest to its limit is kept.
fn daemon(rest: &str, facts: &mut HostFacts) {
    let mut words = rest.split(' ');
    let mut next = || words.next();
    let mut read = || {
        let daemon = Daemon::from_label(next()?)?;
        Some((daemon, Use::new(whole(next()?)?, whole(next()?)?)))
    };
    let Some((daemon, files)) = read() else {
        return;
    };
    let limits = &mut facts.limits;
    if limits
        .daemon_files
        .is_none_or(|known| known.percent() < files.percent())
    {
        limits.daemon_files = Some(files);
        limits.daemon = Some(daemon);
    }
}

fn deleted(rest: &str) -> Option<Deleted> {
    let mut words = rest.splitn(3, ' ');
    let pid = words.next()?.parse().ok()?;
    let bytes = whole(words.next()?)?;
    let (comm, path) = words.next()?.split_once('\t')?;
    Some(Deleted {
        pid,
        comm: comm.to_owned(),
        bytes,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_hang() {
        let id = "c".repeat(64);
        let mut facts = HostFacts::default();
        let mut parts = Parts::default();
        let text = format!(
            "tasks 512\nprocesses 100\nzombies 3\nblocked 77 1234 70 tokio worker\n rpc_wait_bit_killable\n nfs_getattr\nblocked 78 9 60 ask-w0\n percpu_rwsem_wait\nold 80 99 3600 S {id} runc\n stray\nold 81 99 12 T - containerd-shim\nold x\n"
        );
        processes(&text, &mut facts, &mut parts);
        assert_eq!(parts.tasks_listed, Some(512));
        assert_eq!(facts.zombies, Some(3));
        assert_eq!(facts.blocked.len(), 1);
        let task = &facts.blocked[0];
        assert_eq!((task.task.pid, task.task.start, task.pid), (77, 1234, 70));
        assert_eq!(task.comm, "tokio worker");
        assert_eq!(task.stack, ["rpc_wait_bit_killable", "nfs_getattr"]);
        assert_eq!(facts.old_processes.len(), 2);
        assert_eq!(
            facts.old_processes[0].container,
            Some(ContainerId::new(id).unwrap())
        );
        assert_eq!(facts.old_processes[1].container, None);
        assert_eq!(facts.old_processes[1].state, 'T');
    }

    #[test]
    fn cgroups_close_to_their_limit() {
        let read = |text: &str| {
            let mut facts = HostFacts::default();
            processes(text, &mut facts, &mut Parts::default());
            facts.crowded
        };
        // As version 2 says it, and as version 1 of an old kernel, which does not count refusals.
        for (root, refused) in [("/sys/fs/cgroup", "7"), ("/sys/fs/cgroup/pids", "-")] {
            let pod = format!("{root}/kubepods.slice/kubepods-pod1.slice");
            let service = format!("{root}/system.slice/a\\x2db c.service");
            let found = read(&format!(
                "crowded 99 100 {refused} {pod}\ncrowded 4000 4915 {refused} {service}\ncrowded 1 x - /a\ncrowded 1\ncgroups 40\n"
            ));
            let cgroup = |path: &str, used, limit| CrowdedCgroup {
                path: path.to_owned(),
                tasks: Use::new(used, limit),
                refused: refused.parse().ok(),
            };
            let expected = [cgroup(&service, 4000, 4915), cgroup(&pod, 99, 100)];
            assert_eq!(found.unwrap(), expected);
        }
        assert_eq!(read("cgroups 40\n"), Some(Vec::new()));
        assert_eq!(read("tasks 4\n"), None);
        let many: Vec<String> = (0..90)
            .map(|at| format!("crowded {at} 90 - /kubepods/{at}\n"))
            .collect();
        let worst = read(&many.concat()).unwrap();
        assert_eq!((worst.len(), worst[0].tasks.used), (CROWDED, 89));
    }

    #[test]
    fn the_daemon_closest_to_its_limit() {
        let mut facts = HostFacts::default();
        let mut parts = Parts::default();
        descriptors(
            "inotify-watches 9\ndaemon kubelet 10 1000\ndaemon containerd 900 1000\ndaemon dockerd 1 1000\ndaemon sshd 1000 1000\ndeleted 5 3000000000 my log\t/var/lib/docker/a b.log\n",
            &mut facts,
            &mut parts,
        );
        assert_eq!(facts.limits.daemon, Some(Daemon::Containerd));
        assert_eq!(parts.inotify_watches, Some(9));
        assert_eq!(facts.deleted[0].path, "/var/lib/docker/a b.log");
        assert_eq!(facts.deleted[0].comm, "my log");
    }
}
