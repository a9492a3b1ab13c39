//! Where probes look: the lists that the agent and the shell script share. A test holds the script to them.

/// Files that are read as they are, and cannot hang: none is of a file system on a disk but `/etc/os-release`, which every
/// login has read before. A `*` stands for one name.
pub const FILES: &[&str] = &[
    "/proc/sys/kernel/random/boot_id",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/swaps",
    "/proc/stat",
    "/proc/vmstat",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/buddyinfo",
    "/proc/cgroups",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/threads-max",
    "/proc/sys/fs/file-nr",
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/sys/fs/inotify/max_user_instances",
    "/proc/sys/fs/inotify/max_user_watches",
    "/proc/sys/net/ipv4/neigh/default/gc_thresh3",
    "/proc/net/stat/arp_cache",
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/etc/os-release",
    "/sys/class/net/*/operstate",
];

/// Whether a line of one of [`FILES`] is sent; `false` for what nobody reads and some hosts have megabytes of.
pub fn is_wanted(path: &str, line: &str) -> bool {
    let word = |at| line.split_ascii_whitespace().nth(at);
    match path {
        "/proc/stat" => line.starts_with("cpu"),
        "/proc/vmstat" => word(0) == Some("oom_kill"),
        // Destination and mask are nothing.
        "/proc/net/route" => word(1) == Some("00000000") && word(7) == Some("00000000"),
        // `::/0`, and not the entry that refuses everything, which is on the loopback.
        "/proc/net/ipv6_route" => {
            word(0) == Some("00000000000000000000000000000000")
                && word(1) == Some("00")
                && word(9).is_some_and(|device| device != "lo")
        }
        _ => true,
    }
}

/// Kubelet's certificates.
pub const CERTIFICATES: &[&str] = &[
    "/var/lib/kubelet/pki/kubelet-client-current.pem",
    "/var/lib/kubelet/pki/kubelet-server-current.pem",
    "/var/lib/kubelet/pki/kubelet.crt",
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/ssl/kubelet.pem",
];

/// Kubelet's kubeconfigs, the most likely first. Of these only `server:`, `client-certificate-data:` and where
/// `client-certificate:` is are read.
pub const KUBECONFIGS: &[&str] = &[
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/kubelet.kubeconfig",
    "/etc/kubernetes/kubelet-kubeconfig",
    "/var/lib/kubelet/kubeconfig",
    "/etc/kubernetes/kubeconfig",
];

/// Files in which kubelet is told whether to start with swap on: `failSwapOn:` or `fail-swap-on=`.
pub const KUBELET_CONFIGS: &[&str] = &[
    "/var/lib/kubelet/config.yaml",
    "/etc/kubernetes/kubelet.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/default/kubelet",
    "/etc/sysconfig/kubelet",
];

/// Where it is tried whether a file can be made.
pub const WRITE_DIRECTORIES: &[&str] = &[
    "/var/lib/kubelet",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/log",
    "/run",
];

/// The name of the file of a write trial, which is made new and never opened when it is there: a tenant who has the folder
/// may have put a link or a pipe there. The agent opens exclusively and always takes this name; a shell that finds a pipe
/// would open it all the same, so scripts add what nobody can foresee and remove what earlier ones left.
pub const WRITE_TRIAL: &str = ".refloat-write-trial";

/// The agent's threads that ask what may hang for ever are named this and what they ask. They are the asker's, and no fact
/// about the host.
pub const ASKING: &str = "ask-";

/// Units whose state is read.
pub const UNITS: &[&str] = &[
    "kubelet.service",
    "docker.service",
    "containerd.service",
    "cri-docker.service",
    "crio.service",
    "dbus.service",
    "systemd-logind.service",
    "systemd-journald.service",
    "refloat-agent.service",
];

/// What is read of a unit. systemd answers with those it knows.
pub const UNIT_PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,NRestarts,Result,ExecMainCode,ExecMainStatus,KillMode,ActiveEnterTimestampMonotonic";

/// What is read of systemd itself.
pub const MANAGER_PROPERTIES: &str = "Version,NNames,SystemState";

/// Time services.
pub const TIME_UNITS: &[&str] = &[
    "chronyd.service",
    "chrony.service",
    "ntpd.service",
    "ntp.service",
    "ntpsec.service",
    "systemd-timesyncd.service",
];

/// Packages whose versions are read.
pub const PACKAGES: &[&str] = &[
    "systemd",
    "dbus",
    "docker",
    "docker-ce",
    "docker.io",
    "containerd",
    "containerd.io",
    "runc",
    "kubelet",
    "kernel",
];

/// Programs by which a host is known to have Docker, in [`PROGRAM_DIRECTORIES`].
pub const DOCKER_PROGRAMS: &[&str] = &["dockerd", "dockerd-current"];

/// Programs by which a host is known to have containerd.
pub const CONTAINERD_PROGRAMS: &[&str] = &["containerd"];

/// Where programs are looked for.
pub const PROGRAM_DIRECTORIES: &[&str] = &[
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];

/// Docker's socket.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// What Docker's daemon is told at its start.
pub const DOCKER_CONFIG: &str = "/etc/docker/daemon.json";

/// containerd's socket.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// containerd's namespaces: kubelet's and Docker's.
pub const NAMESPACES: &[&str] = &["k8s.io", "moby"];

/// Control groups down to this depth below the root of the controller are asked for their limit of tasks: a container is
/// the fourth below `kubepods.slice`, a service the second. What a container makes within its own is its own.
pub const CGROUP_DEPTH: usize = 4;

/// So many control groups at most: more than a node full of pods has.
pub const CGROUPS: usize = 2500;

/// A control group is told that has at least this share of the tasks it may have, in percent.
pub const CROWDED: u64 = 80;

/// A deleted file of this many bytes is told.
pub const LARGE_DELETED: u64 = 100 * 1024 * 1024;

/// runc that is younger, in seconds, is at work.
pub const OLD_RUNC: u64 = 60;

/// Whether a process name is that of runc: the kernel cuts names at 15 bytes, and a container's first process is called
/// `runc:[2:INIT]` until it is the container's own.
pub fn is_runc(comm: &str) -> bool {
    comm == "runc" || comm == "docker-runc" || comm.starts_with("runc:[")
}

/// Whether it is that of a shim.
pub fn is_shim(comm: &str) -> bool {
    comm.starts_with("containerd-shim") || comm == "docker-containe"
}

/// Lines of a log that are read at most.
pub const LOG_LINES: u32 = 2000;

/// How far back a log counts, in seconds. Older lines are dropped where readings become facts, not by `journalctl`: with
/// `--since` its `-n` takes the oldest lines instead of the newest (seen with systemd 252).
pub const LOG_SECONDS: i64 = 3600;

/// Clock ticks of `/proc/PID/stat` a second. Not asked of the host: it is 100 on every Linux that runs containers
/// (`USER_HZ`).
pub const TICKS: u64 = 100;
