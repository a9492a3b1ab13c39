use ::host::labels;

labels! {
    /// What is wrong. The words are those of `failures.md` §6; the last group are causes of its §2 that have no word there.
    Cause {
        /// A process of a workload crashed (segmentation fault).
        AppCrash = "app-crash",
        /// The kernel's neighbour table is full.
        ArpTableOverflow = "arp-table-overflow",
        /// The clock is wrong by more than protocols tolerate.
        ClockSkew = "clock-skew",
        /// Nothing disciplines the clock.
        ClockUnsynced = "clock-unsynced",
        /// The CNI bridge carries an address of another pod range.
        CniBridgeConflict = "cni-bridge-conflict",
        /// No pod address left on the node or in its subnet.
        CniIpExhausted = "cni-ip-exhausted",
        /// The runtime has no usable pod network.
        CniNotInitialized = "cni-not-initialized",
        /// The connection tracking table is full.
        ConntrackFull = "conntrack-full",
        /// The `conntrack` program is not installed.
        ConntrackToolMissing = "conntrack-tool-missing",
        /// A container's name is held by an earlier, unfinished creation or by a dead container.
        ContainerNameReserved = "container-name-reserved",
        /// A container reached its own memory limit.
        ContainerOom = "container-oom",
        /// A container reached its own limit of processes.
        ContainerPidsLimit = "container-pids-limit",
        /// A container's files are still mounted somewhere.
        ContainerRemoveFailedBusy = "container-remove-failed-busy",
        /// A container's files carry the immutable attribute.
        ContainerRemoveFailedImmutable = "container-remove-failed-immutable",
        /// Symptom: a call to the runtime did not end in time.
        CriDeadlineExceeded = "cri-deadline-exceeded",
        /// Kubelet knows no such CSI driver.
        CsiDriverUnregistered = "csi-driver-unregistered",
        /// Kubelet admitted a pod before its device plugin had registered.
        DevicePluginNotReady = "device-plugin-not-ready",
        /// A sector cannot be read.
        DiskBadSector = "disk-bad-sector",
        /// A file system has no space left.
        DiskFull = "disk-full",
        /// A disk does not carry out requests.
        DiskIoError = "disk-io-error",
        /// A disk is at its limit.
        DiskIoSaturated = "disk-io-saturated",
        /// File operations take seconds.
        DiskIoSlow = "disk-io-slow",
        /// Kubelet evicts, or cannot free enough, because disk space is short.
        DiskPressure = "disk-pressure",
        /// The disk's own diagnosis says it fails.
        DiskSmartFailed = "disk-smart-failed",
        /// A pod's hosts file cannot be mounted.
        EtcHostsMountFailed = "etc-hosts-mount-failed",
        /// An ext file system is damaged.
        Ext4Error = "ext4-error",
        /// No file descriptors left, in the system or in a daemon.
        FdExhausted = "fd-exhausted",
        /// A file system of the host became read-only.
        FsReadonly = "fs-readonly",
        /// An NVLink failed.
        GpuNvlinkFatal = "gpu-nvlink-fatal",
        /// Xid 154: the driver itself asks for a recovery.
        GpuXid154 = "gpu-xid-154",
        /// Xid 79: the GPU fell off the bus.
        GpuXid79 = "gpu-xid-79",
        /// An Xid raised by an application's own fault.
        GpuXidApp = "gpu-xid-app",
        /// A memory error of a GPU that stayed within one application.
        GpuXidEccContained = "gpu-xid-ecc-contained",
        /// Another Xid.
        GpuXidOther = "gpu-xid-other",
        /// A CPU no longer takes interrupts.
        HardLockup = "hard-lockup",
        /// A task waits in the kernel for minutes.
        HungTask = "hung-task",
        /// No inotify instances or watches left.
        InotifyExhausted = "inotify-exhausted",
        /// Pods do not fit.
        InsufficientResources = "insufficient-resources",
        /// The kernel met a fault of its own and went on.
        KernelOops = "kernel-oops",
        /// The kernel stopped.
        KernelPanic = "kernel-panic",
        /// Dead memory cgroups fill the kernel's tables.
        KmemCgroupLeak = "kmem-cgroup-leak",
        /// Kubelet keeps writing to a connection that is closed.
        KubeletApiserverConnStale = "kubelet-apiserver-conn-stale",
        /// Kubelet cannot reach the API server.
        KubeletApiserverUnreachable = "kubelet-apiserver-unreachable",
        /// Kubelet's client certificate has expired.
        KubeletCertExpired = "kubelet-cert-expired",
        /// Kubelet cannot use its own state file.
        KubeletCheckpointInvalid = "kubelet-checkpoint-invalid",
        /// Symptom: kubelet ends.
        KubeletCrashed = "kubelet-crashed",
        /// Swap is on and kubelet refuses it.
        KubeletSwapOn = "kubelet-swap-on",
        /// Symptom: kubelet's main loop stands still.
        KubeletSyncloopStuck = "kubelet-syncloop-stuck",
        /// The API server does not accept kubelet's identity.
        KubeletUnauthorized = "kubelet-unauthorized",
        /// The processor or memory reported an error that cannot be corrected.
        MceFatal = "mce-fatal",
        /// Memory errors, corrected so far.
        MemoryEccCorrected = "memory-ecc-corrected",
        /// No contiguous free memory.
        MemoryFragmentation = "memory-fragmentation",
        /// Kubelet evicts because memory is short.
        MemoryPressure = "memory-pressure",
        /// A network mount's server does not answer.
        NfsHung = "nfs-hung",
        /// A network mount's server answers again.
        NfsRecovered = "nfs-recovered",
        /// The network card or its cable reports a hardware error.
        NicHardware = "nic-hardware",
        /// A physical link is down.
        NicLinkDown = "nic-link-down",
        /// A network card does not send.
        NicTxTimeout = "nic-tx-timeout",
        /// Kubelet cannot set the limits of its reservations.
        NodeAllocatableFailed = "node-allocatable-failed",
        /// The host cannot resolve names.
        NodeDnsFailed = "node-dns-failed",
        /// Symptom: Ready comes and goes.
        NodeFlapping = "node-flapping",
        /// Symptom: nothing is heard of the node.
        NodeUnreachable = "node-unreachable",
        /// An NVMe controller is given up.
        NvmeFailed = "nvme-failed",
        /// An NVMe controller answered late.
        NvmeTimeout = "nvme-timeout",
        /// A fatal NVSwitch error.
        NvswitchSxidFatal = "nvswitch-sxid-fatal",
        /// An NVSwitch error that is not fatal.
        NvswitchSxidNonfatal = "nvswitch-sxid-nonfatal",
        /// Directories of gone pods remain.
        OrphanedPodVolumes = "orphaned-pod-volumes",
        /// No process or thread numbers left.
        PidExhausted = "pid-exhausted",
        /// Symptom: kubelet has not listed its containers for minutes.
        PlegUnhealthy = "pleg-unhealthy",
        /// A memory limit too small to start a container at all.
        PodMemoryLimitTooSmall = "pod-memory-limit-too-small",
        /// Symptom: a pod does not go away.
        PodStuckTerminating = "pod-stuck-terminating",
        /// A disk array lost a disk.
        RaidFailed = "raid-failed",
        /// A CPU passes no quiescent state.
        RcuStall = "rcu-stall",
        /// A runc process holds one container.
        RuncHung = "runc-hung",
        /// `runc init` waits in the kernel.
        RuncInitDstate = "runc-init-dstate",
        /// Symptom: runc cannot set a container up.
        RuncSetnsFailed = "runc-setns-failed",
        /// The runtime does not run.
        RuntimeDown = "runtime-down",
        /// containerd does not answer.
        RuntimeHungContainerd = "runtime-hung-containerd",
        /// docker does not answer.
        RuntimeHungDocker = "runtime-hung-docker",
        /// Symptom: the runtime does not start.
        RuntimeStartFailed = "runtime-start-failed",
        /// Parts of the runtime do not fit together.
        RuntimeVersionMismatch = "runtime-version-mismatch",
        /// A CPU does not reschedule.
        SoftLockup = "soft-lockup",
        /// The system ran out of memory.
        SystemOom = "system-oom",
        /// systemd's bus connection used up its 32-bit serials.
        SystemdDbusCookieOverflow = "systemd-dbus-cookie-overflow",
        /// systemd does not answer on the bus.
        SystemdDbusHung = "systemd-dbus-hung",
        /// No memory left for TCP.
        TcpMemExhausted = "tcp-mem-exhausted",
        /// A network device cannot be removed.
        UnregisterNetdevice = "unregister-netdevice",
        /// The resolver behind the cluster's DNS does not answer.
        UpstreamDnsTimeout = "upstream-dns-timeout",
        /// Symptom: a volume is not attached or mounted in time.
        VolumeMountTimeout = "volume-mount-timeout",
        /// A volume cannot be unmounted.
        VolumeTeardownFailed = "volume-teardown-failed",
        /// A kernel work queue stands still.
        WorkqueueLockup = "workqueue-lockup",
        /// XFS cannot get kernel memory.
        XfsAllocDeadlock = "xfs-alloc-deadlock",
        /// XFS shut itself down, or is damaged.
        XfsShutdown = "xfs-shutdown",

        /// The cloud will restart, move or take back the machine.
        CloudMaintenance = "cloud-maintenance",
        /// Runnable tasks wait for a CPU most of the time.
        CpuStarved = "cpu-starved",
        /// A file system has no inodes left.
        InodeExhausted = "inode-exhausted",
        /// Kubelet does not accept its flags or configuration.
        KubeletConfigInvalid = "kubelet-config-invalid",
        /// CRI-O does not answer.
        RuntimeHungCrio = "runtime-hung-crio",
        /// Symptom: kubelet reports that the node is not ready, in words no rule knows.
        NodeNotReady = "node-not-ready",
        /// The runtime's image store is damaged.
        RuntimeOverlayCorrupt = "runtime-overlay-corrupt",
        /// The machine is too hot to go on.
        ThermalCritical = "thermal-critical",

        /// A cgroup of a pod is frozen: what is in it neither runs nor ends.
        CgroupFrozen = "cgroup-frozen",
        /// The message bus itself does not answer.
        DbusHung = "dbus-hung",
        /// Writes to a file system do not come back: it is frozen, or its device has stopped.
        DiskIoFrozen = "disk-io-frozen",
        /// The machine has booted again.
        HostRebooted = "host-rebooted",
        /// The machine is going down.
        HostShuttingDown = "host-shutting-down",
        /// Symptom: neither kubelet nor the machine itself answers.
        HostSilent = "host-silent",
        /// Kubelet's client certificate expires within a week.
        KubeletCertExpiring = "kubelet-cert-expiring",
        /// Kubelet's process is there and does nothing.
        KubeletFrozen = "kubelet-frozen",
        /// Kubelet was stopped.
        KubeletStopped = "kubelet-stopped",
        /// There is no way out of the machine's own network.
        NoDefaultRoute = "no-default-route",
        /// PID 1 answers nobody.
        Pid1Hung = "pid1-hung",
        /// A service has all the tasks its control group may have (`TasksMax`).
        ServiceTasksLimit = "service-tasks-limit",
        /// The shim of one container does not answer.
        ShimHung = "shim-hung",

        /// No memory left for compiled BPF programs, seccomp filters among them.
        BpfJitExhausted = "bpf-jit-exhausted",
        /// A btrfs is damaged, or forced itself read-only.
        BtrfsError = "btrfs-error",
        /// A cgroup controller that a daemon needs is not there.
        CgroupControllerMissing = "cgroup-controller-missing",
        /// The cloud has no room for the route to the node's pods.
        CloudRouteQuota = "cloud-route-quota",
        /// A certificate of the control plane has expired.
        ControlPlaneCertExpired = "control-plane-cert-expired",
        /// The cluster's DNS forwards to itself.
        DnsForwardLoop = "dns-forward-loop",
        /// The program behind a mount (FUSE) has ended.
        FuseMountDead = "fuse-mount-dead",
        /// The GPU's library and kernel module are of different versions.
        GpuDriverMismatch = "gpu-driver-mismatch",
        /// The session to a block device behind a network is lost: iSCSI, Fibre Channel, NVMe over fabrics, multipath, RBD, NBD.
        IscsiSessionLost = "iscsi-session-lost",
        /// The kernel's keys are used up.
        KernelKeysExhausted = "kernel-keys-exhausted",
        /// A kernel module cannot be loaded.
        KernelModuleMissing = "kernel-module-missing",
        /// Kubelet does not trust the API server's certificate.
        KubeletCaMismatch = "kubelet-ca-mismatch",
        /// Kubelet's program cannot be run.
        KubeletExecFailed = "kubelet-exec-failed",
        /// Another process has kubelet's port.
        KubeletPortInUse = "kubelet-port-in-use",
        /// The program that mounts a type of file system is not installed.
        MountHelperMissing = "mount-helper-missing",
        /// A device on the PCI bus failed beyond recovery.
        PcieFatalError = "pcie-fatal-error",
        /// The runtime does not accept its configuration.
        RuntimeConfigInvalid = "runtime-config-invalid",
        /// A program of the runtime cannot be run.
        RuntimeExecFailed = "runtime-exec-failed",
        /// The image of the pod's sandbox cannot be had: no new pod starts.
        SandboxImageUnavailable = "sandbox-image-unavailable",
    }
}

/// Which file of rules a cause belongs to.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Container runtime and PLEG.
    Runtime,
    /// systemd and D-Bus.
    Systemd,
    /// Kubelet, its certificates and its path to the API server.
    Kubelet,
    /// Disks, file systems and volumes.
    Disk,
    /// Kernel tables, lockups and crashes.
    Kernel,
    /// Memory.
    Memory,
    /// Network.
    Network,
    /// Time.
    Time,
    /// Hardware and cloud.
    Hardware,
}
