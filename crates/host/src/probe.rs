labels! {
    /// What is looked at on a host. Each runs in a child of its own with a deadline, so that what hangs on a broken host
    /// hangs the child and not the asker. All are read-only but [`Probe::Write`], which makes and removes one empty file.
    Probe {
        /// Constant list of files of `/proc`, `/sys` and `/etc` that cannot hang.
        Files = "files",
        /// Every process and thread in short: counts, blocked tasks with stack, old runc and shims; control groups close
        /// to the tasks they may have.
        Processes = "processes",
        /// What processes hold open: inotify instances, descriptors of the daemons, large deleted files.
        Descriptors = "descriptors",
        /// Each mount's space and inodes, each asked by a child of its own.
        Mounts = "mounts",
        /// Whether an empty file can be made where kubelet and the runtimes write.
        Write = "write",
        /// The disks' counters, twice a second apart.
        DiskActivity = "disk-activity",
        /// What systemd says of the units that matter, asked by its private socket.
        Units = "units",
        /// Whether the bus, systemd and logind answer on the system bus.
        Bus = "bus",
        /// Docker: ping, version, live-restore, each container.
        Docker = "docker",
        /// containerd: ping, version, each task.
        Containerd = "containerd",
        /// Kubelet's healthz.
        Kubelet = "kubelet",
        /// Kubelet's certificates, public part only.
        Certificates = "certificates",
        /// Whether the API server in kubelet's kubeconfig can be reached.
        ApiServer = "api-server",
        /// Clock and synchronisation.
        Clock = "clock",
        /// Cgroups that are frozen.
        Freezer = "freezer",
        /// Versions of the packages that matter.
        Packages = "packages",
        /// The kernel's log of late.
        KernelLog = "kernel-log",
        /// Kubelet's journal of late.
        KubeletLog = "kubelet-log",
        /// Docker's journal of late.
        DockerLog = "docker-log",
        /// containerd's journal of late.
        ContainerdLog = "containerd-log",
    }
}

impl Probe {
    /// How long it may take, in milliseconds. Then its child is killed and the reading says so. All run side by side, so
    /// a whole look takes the longest of these at most.
    pub const fn deadline(self) -> u64 {
        match self {
            Self::Files | Self::Kubelet | Self::Certificates | Self::Freezer => 3_000,
            Self::DiskActivity | Self::Write | Self::ApiServer | Self::Clock => 4_000,
            Self::Processes | Self::Descriptors | Self::Mounts | Self::Units | Self::Bus => 5_000,
            Self::Docker | Self::Containerd | Self::Packages => 6_000,
            Self::KernelLog | Self::KubeletLog | Self::DockerLog | Self::ContainerdLog => 6_000,
        }
    }
}
