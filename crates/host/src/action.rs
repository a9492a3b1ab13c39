//! The closed list of what may be done to a host. Arguments are types that cannot hold anything but what they name: a
//! path cannot leave its place, a unit is one of a list, a process is pid **and** start time.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

labels! {
    /// The units that may be restarted. No other name is ever given to systemd.
    Unit {
        /// Kubelet.
        Kubelet = "kubelet",
        /// Docker's daemon.
        Docker = "docker",
        /// containerd.
        Containerd = "containerd",
        /// The kernel; for logs only.
        Kernel = "kernel",
    }
}

/// An argument that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {wanted}")]
pub struct Rejected {
    /// What was given, cut at 100 characters.
    pub value: String,
    /// What it must be.
    pub wanted: &'static str,
}

/// A string type that checks itself when it is made, read from JSON or from the wire.
macro_rules! checked {
    ($(#[$meta:meta])* $name:ident, $wanted:literal, $check:expr) => {
        $(#[$meta])*
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks it.
            pub fn new(value: impl Into<String>) -> Result<Self, Rejected> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    Err(Rejected { value: value.chars().take(100).collect(), wanted: $wanted })
                }
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Rejected;
            fn try_from(value: String) -> Result<Self, Rejected> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

/// Absolute, no `.` or `..`, no empty part, nothing that could end a line or hide in a terminal.
fn is_plain_path(path: &str) -> bool {
    path.len() < 4096
        && path.len() > 1
        && path.starts_with('/')
        && !path.chars().any(char::is_control)
        && path[1..]
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

checked! {
    /// The kernel's random name of one boot (`/proc/sys/kernel/random/boot_id`).
    BootId, "a boot id (a lower-case UUID)",
    |id| id.len() == 36 && id.char_indices().all(|(at, c)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => matches!(c, '0'..='9' | 'a'..='f'),
    })
}

checked! {
    /// A container's id: 64 hex digits.
    ContainerId, "a container id (64 hex digits)",
    |id| id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

checked! {
    /// A mount point that may be unmounted: a pod's volume. The host's own mounts are never touched.
    MountPath, "a mount point of a pod below /var/lib/kubelet/pods",
    |path| is_plain_path(path) && path.starts_with("/var/lib/kubelet/pods/")
}

checked! {
    /// A pod's cgroup below `/sys/fs/cgroup`.
    CgroupPath, "a cgroup of a pod below /sys/fs/cgroup",
    |path| is_plain_path(path) && path.starts_with("/sys/fs/cgroup/") && path.contains("/kubepods")
}

/// A process beyond doubt: a pid is reused, a pid with its start time is not.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct ProcessId {
    /// Pid.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start: u64,
}

/// One thing done to a host. Closed: a host refuses anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// `systemctl restart`. Not for [`Unit::Kernel`].
    Restart {
        /// The unit.
        unit: Unit,
    },
    /// `systemctl daemon-reexec`: PID 1 starts anew with a fresh bus connection; services go on.
    ReexecSystemd,
    /// SIGKILL to one runc or one shim that is older than a minute or stopped.
    Kill {
        /// The process.
        process: ProcessId,
    },
    /// Thaws a frozen cgroup of a pod.
    Thaw {
        /// The cgroup.
        cgroup: CgroupPath,
    },
    /// `umount -f -l` of a pod's dead mount; open files of it are lost, so it needs consent.
    Unmount {
        /// The mount.
        mount: MountPath,
    },
    /// Rotates the journals and removes archived ones beyond this size.
    VacuumJournals {
        /// What may stay, in MiB.
        keep_mib: u32,
    },
    /// Empties a container's log file. Removing it would free nothing while the runtime holds it open.
    TruncateLog {
        /// The container.
        container: ContainerId,
    },
    /// Starts the time service that is installed.
    StartTimeSync,
    /// Reboots the host: asks systemd, then, when it does not answer, the kernel.
    Reboot,
}

impl Action {
    /// Its word, as on the wire.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Restart { .. } => "restart",
            Self::ReexecSystemd => "reexec-systemd",
            Self::Kill { .. } => "kill",
            Self::Thaw { .. } => "thaw",
            Self::Unmount { .. } => "unmount",
            Self::VacuumJournals { .. } => "vacuum-journals",
            Self::TruncateLog { .. } => "truncate-log",
            Self::StartTimeSync => "start-time-sync",
            Self::Reboot => "reboot",
        }
    }

    /// Whether data or running work may be lost, so that a person has to agree by name.
    pub const fn needs_consent(&self) -> bool {
        matches!(
            self,
            Self::Unmount { .. } | Self::TruncateLog { .. } | Self::Reboot
        )
    }

    /// How long it may take on the host, in seconds.
    pub const fn deadline(&self) -> u64 {
        match self {
            // Docker waits up to 90 s for what it stops; systemd kills it then.
            Self::Restart { .. } => 120,
            Self::Reboot => 60,
            _ => 30,
        }
    }
}

/// An action with who may do it and when: the host refuses it on another boot, when older than what it has seen, and
/// the second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The operation it belongs to.
    pub operation: String,
    /// Grows with every order to this host. The host refuses a lower one than it has seen.
    pub generation: u64,
    /// The boot it was decided for. A reboot makes every order given before it void, and so a reboot itself cannot happen
    /// twice.
    pub boot: BootId,
    /// What to do.
    pub action: Action,
    /// A named person agreed to what may be lost.
    #[serde(default)]
    pub consent: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_leave_their_place() {
        let good = "/var/lib/kubelet/pods/0b5/volumes/kubernetes.io~nfs/data";
        assert!(MountPath::new(good).is_ok());
        for bad in [
            "",
            "/",
            "/var/lib/kubelet/pods",
            "/var/lib/kubelet/pods/",
            "/var/lib/kubelet/pods/../../../etc",
            "/var/lib/kubelet/pods/./a",
            "/var/lib/kubelet/pods//a",
            "/var/lib/kubelet/pods/a\n/etc",
            "/var/lib/kubelet/podsx/a",
            "var/lib/kubelet/pods/a",
            "/var/lib/kubelet/pods/a\0",
        ] {
            assert!(MountPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(CgroupPath::new("/sys/fs/cgroup/freezer/kubepods/burstable/pod1").is_ok());
        assert!(CgroupPath::new("/sys/fs/cgroup/freezer/system.slice").is_err());
        assert!(CgroupPath::new("/sys/fs/cgroup/kubepods/../init.scope").is_err());
    }

    #[test]
    fn identities_have_their_form() {
        assert!(BootId::new("0f0e0d0c-0b0a-0908-0706-050403020100").is_ok());
        assert!(BootId::new("0F0e0d0c-0b0a-0908-0706-050403020100").is_err());
        assert!(ContainerId::new("a".repeat(64)).is_ok());
        for bad in ["a".repeat(63), "A".repeat(64), "../".repeat(22)] {
            assert!(ContainerId::new(bad).is_err());
        }
    }

    #[test]
    fn an_order_has_no_more_than_it_says() {
        let order = |body: &str| serde_json::from_str::<Order>(body);
        let good = r#"{"operation":"o","generation":3,"boot":"0f0e0d0c-0b0a-0908-0706-050403020100","action":{"kind":"restart","unit":"kubelet"}}"#;
        let read = order(good).unwrap();
        assert_eq!(
            read.action,
            Action::Restart {
                unit: Unit::Kubelet
            }
        );
        assert!(!read.consent);
        assert_eq!(order(&serde_json::to_string(&read).unwrap()).unwrap(), read);
        for (from, to) in [
            ("kubelet", "sshd"),
            ("restart", "exec"),
            ("\"generation\":3,", ""),
            ("0f0e", "$(x)"),
        ] {
            assert!(order(&good.replace(from, to)).is_err(), "{to}");
        }
    }
}
