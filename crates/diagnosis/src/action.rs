use ::host::labels;

labels! {
    /// What to do. Closed: nothing else is ever proposed. The words are those of `failures.md` §6; the last group are
    /// remedies of its §2 that have no word there.
    Action {
        /// Make room in the cluster.
        AddCapacity = "add-capacity",
        /// The workload's owner fixes it; the node is healthy.
        AppFix = "app-fix",
        /// Dump kubelet's goroutines, then restart kubelet.
        CaptureGoroutines = "capture-goroutines",
        /// Clear the immutable attribute.
        ChattrClear = "chattr-clear",
        /// Look at the VolumeAttachment and the CSI controller.
        CheckCsiAttach = "check-csi-attach",
        /// Cloud status, ping, SSH, BMC; go on by the result.
        CheckHostAlive = "check-host-alive",
        /// Free lists of the page allocator and kernel memory.
        CheckMemoryFragmentation = "check-memory-fragmentation",
        /// The path to the API server, its load balancer, DNS.
        CheckNetwork = "check-network",
        /// Driver, firmware, link.
        CheckNic = "check-nic",
        /// The cloud's addresses and interface quota.
        CheckSubnetEni = "check-subnet-eni",
        /// Drain, then remove leaked address files.
        CleanCniIps = "clean-cni-ips",
        /// Remove the stale pid file, start the runtime.
        CleanStalePidRestart = "clean-stale-pid-restart",
        /// Cordon, drain, check the file system unmounted.
        DrainFsck = "drain-fsck",
        /// Drain GPU pods, reset GPU or fabric.
        DrainGpuReset = "drain-gpu-reset",
        /// Cordon, drain, reboot.
        DrainReboot = "drain-reboot",
        /// Cordon, drain, remove kubelet's named state file, restart kubelet.
        DrainRemoveState = "drain-remove-state",
        /// Cordon, drain, replace node or disk.
        DrainReplace = "drain-replace",
        /// Drop caches, compact memory: a stopgap.
        DropCachesCompact = "drop-caches-compact",
        /// Find who writes, throttle or move it.
        FindIoHog = "find-io-hog",
        /// Find which mount namespace holds the mount.
        FindMountHolder = "find-mount-holder",
        /// Count threads by pod; evict that pod.
        FindPidLeak = "find-pid-leak",
        /// Console or rescue boot.
        FixBoot = "fix-boot",
        /// The pod network's pod or configuration.
        FixCni = "fix-cni",
        /// Configuration of kubelet or of a pod.
        FixConfig = "fix-config",
        /// Resolver configuration or server.
        FixDns = "fix-dns",
        /// Time synchronisation.
        FixTime = "fix-time",
        /// Free space, no restart of the runtime first.
        FreeDisk = "free-disk",
        /// Install the missing program.
        InstallPackage = "install-package",
        /// Kill the one old runc by pid.
        KillStuckRunc = "kill-stuck-runc",
        /// Nothing; must not page anybody.
        Nothing = "none",
        /// Not decided: the probes of the runtime before any restart.
        ProbeRuntime = "probe-runtime",
        /// The cause is in kubelet's log.
        ReadKubeletLog = "read-kubelet-log",
        /// The cause is in the runtime's log.
        ReadRuntimeLog = "read-runtime-log",
        /// Evict or limit the user of memory.
        ReduceMemory = "reduce-memory",
        /// Align the versions of the runtime's parts.
        ReinstallRuntime = "reinstall-runtime",
        /// Remove the named dead container only.
        RemoveStaleContainer = "remove-stale-container",
        /// The kubelet credential anew.
        RenewCert = "renew-cert",
        /// Ticket for the hardware.
        ReplaceHardware = "replace-hardware",
        /// Restart the pod only.
        RestartApp = "restart-app",
        /// Delete the CSI driver's pod on the node.
        RestartCsiNodePlugin = "restart-csi-node-plugin",
        /// Restart kubelet.
        RestartKubelet = "restart-kubelet",
        /// Restart the runtime, after its precheck (live-restore, shims, disk).
        RestartRuntime = "restart-runtime",
        /// Turn swap off, also in fstab.
        Swapoff = "swapoff",
        /// `systemctl daemon-reexec`, kill hung runc, upgrade.
        SystemdReexec = "systemd-reexec",
        /// Raise a limit of descriptors, find the leak.
        TuneLimits = "tune-limits",
        /// Raise the named kernel setting.
        TuneSysctl = "tune-sysctl",
        /// Forced lazy unmount of the dead mount.
        UnmountNfs = "unmount-nfs",
        /// Unmount first, then remove empty directories.
        UnmountThenClean = "unmount-then-clean",
        /// Wait for the registration, then restart the plugin's pod.
        WaitOrRestartDevicePlugin = "wait-or-restart-device-plugin",
        /// Count against a threshold.
        WatchThreshold = "watch-threshold",

        /// Drain before the cloud's event, do not race it.
        DrainBeforeEvent = "drain-before-event",
        /// Find who uses the CPUs, evict or limit it.
        FindCpuHog = "find-cpu-hog",
        /// Reset the machine without its help, evidence saved and pods accounted for.
        ForceReboot = "force-reboot",
        /// Kill all processes of a name.
        KillAllRunc = "kill-all-runc",
        /// Delete pods without waiting for the host.
        ForceDeletePods = "force-delete-pods",
        /// Recursive removal of a pod's directory.
        RemovePodDir = "remove-pod-dir",
        /// Remount a damaged file system for writing.
        RemountWritable = "remount-writable",
        /// Remove a log that is open.
        RemoveOpenLog = "remove-open-log",
        /// Drain, stop the runtime, empty its store, start it.
        RebuildRuntimeStore = "rebuild-runtime-store",
        /// Thaw the frozen cgroup.
        ThawCgroup = "thaw-cgroup",
        /// Upgrade the kernel.
        UpgradeKernel = "upgrade-kernel",
        /// Upgrade a package (systemd).
        UpgradeSystemd = "upgrade-systemd",

        /// Cordon, drain what goes, then restart the runtime: its containers stop with it.
        DrainRestartRuntime = "drain-restart-runtime",
        /// Look for why the machine rebooted: the log of the boot before, pstore, cloud events.
        FindRebootCause = "find-reboot-cause",
        /// Kill the one shim that does not answer, by pid; its container starts anew.
        KillStuckShim = "kill-stuck-shim",
        /// Raise the tasks a service may have, find what it has them for.
        RaiseTasksMax = "raise-tasks-max",
        /// Bring the server of a network mount back.
        RestoreServer = "restore-server",
        /// Unfreeze the file system somebody froze (`fsfreeze -u`).
        UnfreezeFilesystem = "unfreeze-filesystem",
        /// Stop whoever listens on the port.
        StopPortHolder = "stop-port-holder",
        /// Repair a btrfs by `btrfs check --repair`.
        RepairBtrfs = "repair-btrfs",
    }
}

labels! {
    /// What decides where the facts so far do not. All are read-only.
    Probe {
        /// Do systemd and logind answer on the system bus?
        SystemdBus = "systemd-bus",
        /// Version and build of systemd.
        SystemdVersion = "systemd-version",
        /// Tasks in state D, with stack.
        BlockedTasks = "blocked-tasks",
        /// Each container's inspect with a deadline.
        InspectEach = "inspect-each",
        /// Ping of the runtime with a deadline.
        RuntimePing = "runtime-ping",
        /// Old runc and shim processes.
        OldRunc = "old-runc",
        /// Space and inodes.
        DiskSpace = "disk-space",
        /// Latency, use and errors of disks.
        DiskLatency = "disk-latency",
        /// Each mount's stat in its own killable child.
        DeadMounts = "dead-mounts",
        /// Load and pressure stall information.
        CpuLoad = "cpu-load",
        /// Number of containers.
        ContainerCount = "container-count",
        /// Cloud status and event, ping, SSH, console.
        HostAlive = "host-alive",
        /// The node's heartbeat Lease.
        NodeLease = "node-lease",
        /// Connect to the API server from the host; are other nodes affected?
        ApiserverPath = "apiserver-path",
        /// Kubelet's journal.
        KubeletLog = "kubelet-log",
        /// The runtime's journal.
        RuntimeLog = "runtime-log",
        /// The kernel's log.
        KernelLog = "kernel-log",
        /// Kubelet's healthz and goroutines.
        KubeletGoroutines = "kubelet-goroutines",
        /// Does a pid file name the process it should?
        PidFile = "pid-file",
        /// Free lists of the page allocator.
        Buddyinfo = "buddyinfo",
        /// VolumeAttachments, CSI controller and node plugin.
        VolumeAttachments = "volume-attachments",
        /// Which file system or volume a device carries.
        DeviceScope = "device-scope",
        /// Clock against a reference.
        Clock = "clock",
        /// Dates of kubelet's certificate.
        CertificateDates = "certificate-dates",
        /// Threads by pod and cgroup against their limits.
        ThreadCounts = "thread-counts",
        /// Live-restore and KillMode.
        LiveRestore = "live-restore",
        /// Sessions and paths to remote storage.
        StorageSessions = "storage-sessions",
        /// What the API server's certificate says, and which CA kubelet trusts.
        ServerCertificate = "server-certificate",
        /// What a task waits for: its stack in the kernel.
        TaskStack = "task-stack",
        /// Time stolen by the hypervisor.
        StealTime = "steal-time",
    }
}

labels! {
    /// Why a remedy would do harm, or nothing.
    Why {
        /// Kubelet stats the dead mount while it starts and hangs: a degraded node becomes NotReady (#122491, #122318).
        StartHangsOnMount = "start-hangs-on-mount",
        /// It ends again at once: the cause is still there.
        CrashLoop = "crash-loop",
        /// Stopping waits for what is stuck.
        StopBlocks = "stop-blocks",
        /// It adds load to what is overloaded.
        AddsLoad = "adds-load",
        /// Containers stop with the daemon unless live-restore and KillMode=process hold.
        StopsContainers = "stops-containers",
        /// Data is lost.
        LosesData = "loses-data",
        /// The cause survives and comes back.
        ComesBack = "comes-back",
        /// It has nothing to do with the cause.
        NotTheCause = "not-the-cause",
        /// The space stays allocated while a process has the file open.
        FreesNothing = "frees-nothing",
        /// The process cannot be killed while it waits in the kernel.
        Unkillable = "unkillable",
        /// New processes block on the same bus.
        BlocksAgain = "blocks-again",
        /// Healthy processes are hit too.
        HitsHealthy = "hits-healthy",
        /// The old process may still run and write.
        NotFenced = "not-fenced",
        /// It writes to a damaged file system.
        DeepensDamage = "deepens-damage",
        /// Evidence of the cause is lost.
        LosesEvidence = "loses-evidence",
        /// Many nodes, one cause elsewhere: the nodes are not it.
        CauseElsewhere = "cause-elsewhere",
        /// The clock is to be checked first.
        ClockFirst = "clock-first",
        /// Two restarts meet.
        RacesEvent = "races-event",
        /// It begins with what hangs, and hangs too: a degraded node becomes NotReady.
        StartBlocks = "start-blocks",
        /// The cause is not known yet, and it is against few of the possible ones.
        CauseUnknown = "cause-unknown",
        /// PID 1 executes nothing any more.
        Pid1Dead = "pid1-dead",
        /// What is replaced is healthy, and replicas of its data may be lost.
        LosesReplicas = "loses-replicas",
        /// It makes worse what is damaged; it is the last resort.
        LastResort = "last-resort",
    }
}
