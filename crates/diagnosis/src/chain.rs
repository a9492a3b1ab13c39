//! Which cause explains which: a consequence stays in the report, but the root's remedy counts. Ways of working together
//! are those of `failures.md` §0.1–0.3 and §2.

use crate::Cause::{self, *};

/// Root, and what it brings about when both are seen.
const CHAINS: &[(Cause, &[Cause])] = &[
    // The end of the kernel is the end of the story; what led there is in the evidence.
    (
        KernelPanic,
        &[
            SoftLockup,
            HardLockup,
            RcuStall,
            HungTask,
            KernelOops,
            WorkqueueLockup,
            SystemOom,
            NodeUnreachable,
            HostSilent,
        ],
    ),
    (
        MceFatal,
        &[
            KernelPanic,
            KernelOops,
            HardLockup,
            SoftLockup,
            RcuStall,
            MemoryEccCorrected,
        ],
    ),
    (
        HardLockup,
        &[
            SoftLockup,
            RcuStall,
            WorkqueueLockup,
            HungTask,
            NodeUnreachable,
        ],
    ),
    (KernelOops, &[SoftLockup, RcuStall, HungTask]),
    (
        SoftLockup,
        &[
            RcuStall,
            WorkqueueLockup,
            HungTask,
            NicTxTimeout,
            NodeUnreachable,
        ],
    ),
    (RcuStall, &[WorkqueueLockup, HungTask]),
    (WorkqueueLockup, &[HungTask]),
    // Everything that waits in the kernel makes the runtime and kubelet wait.
    (HungTask, RUNTIME_WAITS),
    (SoftLockup, RUNTIME_WAITS),
    (UnregisterNetdevice, &[HungTask]),
    (UnregisterNetdevice, RUNTIME_WAITS),
    (
        NfsHung,
        &[
            HungTask,
            VolumeTeardownFailed,
            VolumeMountTimeout,
            DiskIoSlow,
            DiskIoSaturated,
        ],
    ),
    (NfsHung, RUNTIME_WAITS),
    // What is frozen or dead waits for ever, and so does whoever asks it.
    (
        DiskIoFrozen,
        &[
            HungTask,
            DiskIoSlow,
            DiskIoSaturated,
            KubeletFrozen,
            KubeletCrashed,
            RuntimeStartFailed,
            Pid1Hung,
        ],
    ),
    (DiskIoFrozen, RUNTIME_WAITS),
    (NfsHung, &[KubeletFrozen, Pid1Hung]),
    (HungTask, &[KubeletFrozen, Pid1Hung]),
    // A lost session fails everything above it, and none of that is a disk.
    (
        IscsiSessionLost,
        &[
            DiskIoError,
            DiskBadSector,
            NvmeFailed,
            NvmeTimeout,
            BtrfsError,
            RaidFailed,
            VolumeMountTimeout,
            VolumeTeardownFailed,
            DiskIoFrozen,
        ],
    ),
    (IscsiSessionLost, DEVICE_FAILS),
    (IscsiSessionLost, RUNTIME_WAITS),
    (DiskIoError, &[BtrfsError]),
    (NvmeFailed, &[BtrfsError]),
    (DiskBadSector, &[BtrfsError]),
    (DiskSmartFailed, &[BtrfsError]),
    (RaidFailed, &[BtrfsError]),
    (BtrfsError, &[FsReadonly]),
    (BtrfsError, RUNTIME_WAITS),
    (
        PcieFatalError,
        &[
            NvmeFailed,
            NvmeTimeout,
            NicHardware,
            GpuXid79,
            NicTxTimeout,
            NicLinkDown,
            DiskIoError,
        ],
    ),
    (MceFatal, &[PcieFatalError]),
    // Disks: device, then file system, then whoever uses it.
    (
        NvmeFailed,
        &[NvmeTimeout, DiskIoError, DiskBadSector, RaidFailed],
    ),
    (NvmeTimeout, &[DiskIoError]),
    (DiskSmartFailed, &[DiskBadSector, DiskIoError]),
    (DiskBadSector, &[DiskIoError]),
    (DiskIoError, DEVICE_FAILS),
    (DiskBadSector, DEVICE_FAILS),
    (DiskSmartFailed, DEVICE_FAILS),
    (NvmeFailed, DEVICE_FAILS),
    (NvmeTimeout, DEVICE_FAILS),
    (RaidFailed, DEVICE_FAILS),
    (DiskIoError, RUNTIME_WAITS),
    (NvmeFailed, RUNTIME_WAITS),
    (NvmeTimeout, RUNTIME_WAITS),
    (RaidFailed, RUNTIME_WAITS),
    (Ext4Error, &[FsReadonly]),
    (XfsShutdown, &[FsReadonly, HungTask]),
    (XfsShutdown, RUNTIME_WAITS),
    (FsReadonly, RUNTIME_WAITS),
    (
        FsReadonly,
        &[RuntimeStartFailed, RuntimeDown, KubeletCrashed],
    ),
    (
        XfsAllocDeadlock,
        &[
            HungTask,
            RuncSetnsFailed,
            MemoryFragmentation,
            RuncInitDstate,
        ],
    ),
    (XfsAllocDeadlock, RUNTIME_WAITS),
    (InodeExhausted, &[DiskFull, DiskPressure]),
    (
        DiskFull,
        &[
            DiskPressure,
            RuntimeStartFailed,
            RuntimeDown,
            KubeletCrashed,
            KubeletCheckpointInvalid,
        ],
    ),
    (DiskFull, RUNTIME_WAITS),
    (InodeExhausted, RUNTIME_WAITS),
    (DiskIoSaturated, &[DiskIoSlow, HungTask]),
    (DiskIoSaturated, RUNTIME_WAITS),
    (DiskIoSlow, &[PlegUnhealthy, CriDeadlineExceeded]),
    (DiskIoError, &[DiskIoFrozen, KubeletCrashed]),
    (NvmeFailed, &[DiskIoFrozen, KubeletCrashed]),
    (NvmeTimeout, &[DiskIoFrozen]),
    // Kernel tables.
    (
        KmemCgroupLeak,
        &[RuncSetnsFailed, MemoryFragmentation, CriDeadlineExceeded],
    ),
    (MemoryFragmentation, &[RuncSetnsFailed, CriDeadlineExceeded]),
    (PidExhausted, RUNTIME_WAITS),
    (
        PidExhausted,
        &[
            RuncSetnsFailed,
            KubeletCrashed,
            RuntimeDown,
            RuntimeStartFailed,
            VolumeMountTimeout,
        ],
    ),
    (ServiceTasksLimit, RUNTIME_WAITS),
    (
        ServiceTasksLimit,
        &[
            RuncSetnsFailed,
            KubeletCrashed,
            RuntimeDown,
            RuntimeStartFailed,
            VolumeMountTimeout,
        ],
    ),
    (FdExhausted, RUNTIME_WAITS),
    (
        FdExhausted,
        &[KubeletApiserverUnreachable, KubeletCrashed, RuntimeDown],
    ),
    (InotifyExhausted, &[KubeletCrashed, CniNotInitialized]),
    (CpuStarved, RUNTIME_WAITS),
    (
        CpuStarved,
        &[SoftLockup, NodeFlapping, NodeUnreachable, RcuStall],
    ),
    (CpuStarved, &[KubeletFrozen, Pid1Hung, DbusHung, HungTask]),
    (PidExhausted, &[KubeletFrozen, Pid1Hung]),
    (
        SystemOom,
        &[
            MemoryPressure,
            NodeUnreachable,
            NodeFlapping,
            RuntimeDown,
            KubeletCrashed,
        ],
    ),
    (
        KernelKeysExhausted,
        &[CriDeadlineExceeded, RuncSetnsFailed, DiskFull],
    ),
    (BpfJitExhausted, &[CriDeadlineExceeded, RuncSetnsFailed]),
    (MemoryPressure, &[KubeletFrozen, Pid1Hung]),
    // systemd and its bus.
    (
        Pid1Hung,
        &[AppCrash, SystemdDbusHung, DbusHung, VolumeMountTimeout],
    ),
    (Pid1Hung, RUNTIME_WAITS),
    (DbusHung, &[SystemdDbusHung, VolumeMountTimeout]),
    (DbusHung, RUNTIME_WAITS),
    (SystemdDbusCookieOverflow, &[SystemdDbusHung]),
    (SystemdDbusCookieOverflow, RUNTIME_WAITS),
    (SystemdDbusHung, RUNTIME_WAITS),
    (SystemdDbusHung, &[VolumeMountTimeout]),
    (SystemdDbusCookieOverflow, &[VolumeMountTimeout]),
    // The runtime.
    (CgroupFrozen, &[RuncInitDstate, ShimHung, HungTask]),
    (CgroupFrozen, RUNTIME_WAITS),
    (ShimHung, RUNTIME_SYMPTOMS),
    (
        ShimHung,
        &[RuntimeHungDocker, RuntimeHungContainerd, RuntimeHungCrio],
    ),
    (RuncInitDstate, RUNTIME_WAITS),
    (RuncHung, RUNTIME_SYMPTOMS),
    (
        RuncHung,
        &[RuntimeHungDocker, RuntimeHungContainerd, RuntimeHungCrio],
    ),
    (
        RuntimeVersionMismatch,
        &[
            RuntimeStartFailed,
            RuntimeDown,
            KubeletCrashed,
            PlegUnhealthy,
        ],
    ),
    (RuntimeOverlayCorrupt, RUNTIME_ENDS),
    (RuntimeConfigInvalid, RUNTIME_ENDS),
    (RuntimeExecFailed, RUNTIME_ENDS),
    (
        KernelModuleMissing,
        &[
            RuntimeStartFailed,
            RuntimeDown,
            KubeletCrashed,
            CniNotInitialized,
        ],
    ),
    (
        SandboxImageUnavailable,
        &[CriDeadlineExceeded, CniNotInitialized, NodeDnsFailed],
    ),
    (RuntimeHungDocker, RUNTIME_SYMPTOMS),
    (RuntimeHungContainerd, RUNTIME_SYMPTOMS),
    (RuntimeHungCrio, RUNTIME_SYMPTOMS),
    (
        RuntimeDown,
        &[
            PlegUnhealthy,
            CriDeadlineExceeded,
            CniNotInitialized,
            KubeletCrashed,
            KubeletSyncloopStuck,
        ],
    ),
    (ContainerNameReserved, &[CriDeadlineExceeded]),
    (ContainerRemoveFailedBusy, &[PodStuckTerminating]),
    (ContainerRemoveFailedImmutable, &[PodStuckTerminating]),
    (PodMemoryLimitTooSmall, &[RuncSetnsFailed, ContainerOom]),
    // Kubelet.
    (
        KubeletStopped,
        &[NodeUnreachable, NodeFlapping, PodStuckTerminating],
    ),
    (
        KubeletFrozen,
        &[NodeUnreachable, NodeFlapping, PodStuckTerminating],
    ),
    (
        KubeletCrashed,
        &[NodeUnreachable, NodeFlapping, PodStuckTerminating],
    ),
    (InotifyExhausted, &[NodeUnreachable]),
    (
        ClockSkew,
        &[
            KubeletCertExpired,
            KubeletCertExpiring,
            KubeletUnauthorized,
            ClockUnsynced,
        ],
    ),
    (
        KubeletCertExpired,
        &[
            KubeletUnauthorized,
            KubeletCrashed,
            NodeUnreachable,
            KubeletApiserverUnreachable,
        ],
    ),
    (KubeletUnauthorized, &[NodeUnreachable, KubeletCrashed]),
    (
        ControlPlaneCertExpired,
        &[
            KubeletUnauthorized,
            KubeletCaMismatch,
            KubeletCrashed,
            NodeUnreachable,
            KubeletApiserverUnreachable,
        ],
    ),
    (
        KubeletCaMismatch,
        &[
            KubeletUnauthorized,
            KubeletCrashed,
            NodeUnreachable,
            KubeletApiserverUnreachable,
        ],
    ),
    (ClockSkew, &[ControlPlaneCertExpired, KubeletCaMismatch]),
    (KubeletExecFailed, &[KubeletCrashed, NodeUnreachable]),
    (KubeletPortInUse, &[KubeletCrashed, NodeUnreachable]),
    (CgroupControllerMissing, &[KubeletCrashed, NodeUnreachable]),
    (NoDefaultRoute, &[KubeletCrashed]),
    (DnsForwardLoop, &[UpstreamDnsTimeout, NodeDnsFailed]),
    (CloudRouteQuota, &[CniNotInitialized]),
    (KubeletSwapOn, &[KubeletCrashed, NodeUnreachable]),
    (KubeletConfigInvalid, &[KubeletCrashed, NodeUnreachable]),
    (KubeletCheckpointInvalid, &[KubeletCrashed, NodeUnreachable]),
    (NodeAllocatableFailed, &[KubeletCrashed]),
    (
        NodeDnsFailed,
        &[KubeletApiserverUnreachable, NodeUnreachable],
    ),
    (
        KubeletApiserverConnStale,
        &[KubeletApiserverUnreachable, NodeUnreachable, NodeFlapping],
    ),
    (
        KubeletApiserverUnreachable,
        &[NodeUnreachable, NodeFlapping],
    ),
    // Network.
    (NicHardware, &[NicLinkDown, NicTxTimeout]),
    (NicLinkDown, &[NicTxTimeout, NoDefaultRoute]),
    (NoDefaultRoute, NETWORK_FAILS),
    (ConntrackFull, NETWORK_FAILS),
    (ArpTableOverflow, NETWORK_FAILS),
    (NicHardware, NETWORK_FAILS),
    (NicLinkDown, NETWORK_FAILS),
    (NicTxTimeout, NETWORK_FAILS),
    (TcpMemExhausted, NETWORK_FAILS),
    (CniIpExhausted, &[CriDeadlineExceeded, CniNotInitialized]),
    (CniBridgeConflict, &[CriDeadlineExceeded, CniNotInitialized]),
    (CniNotInitialized, &[CriDeadlineExceeded]),
    // Volumes.
    (
        CsiDriverUnregistered,
        &[VolumeMountTimeout, VolumeTeardownFailed],
    ),
    (VolumeTeardownFailed, &[PodStuckTerminating]),
    (
        FuseMountDead,
        &[
            VolumeMountTimeout,
            VolumeTeardownFailed,
            PodStuckTerminating,
        ],
    ),
    (MountHelperMissing, &[VolumeMountTimeout]),
    // Hardware.
    (GpuXid154, GPU),
    (GpuXid79, GPU),
    (GpuNvlinkFatal, GPU),
    (NvswitchSxidFatal, GPU),
    // The machine.
    (
        HostShuttingDown,
        &[
            NodeNotReady,
            NodeUnreachable,
            KubeletStopped,
            KubeletCrashed,
            RuntimeDown,
            HostSilent,
        ],
    ),
    (HostSilent, &[NodeUnreachable, PodStuckTerminating]),
    (HostRebooted, &[NodeUnreachable, NodeFlapping]),
    // A symptom that is behind another.
    (NodeUnreachable, &[PodStuckTerminating]),
    (PlegUnhealthy, &[CriDeadlineExceeded, NodeFlapping]),
    (RuntimeStartFailed, &[RuntimeDown]),
    (KubeletSyncloopStuck, &[NodeFlapping]),
];

/// Calls to the runtime wait, for whatever reason.
const RUNTIME_WAITS: &[Cause] = &[
    PlegUnhealthy,
    CriDeadlineExceeded,
    RuntimeHungDocker,
    RuntimeHungContainerd,
    RuntimeHungCrio,
    RuncHung,
    ContainerNameReserved,
    PodStuckTerminating,
    KubeletSyncloopStuck,
    NodeFlapping,
    RuntimeDown,
    NodeNotReady,
];

/// What a runtime that cannot start brings about.
const RUNTIME_ENDS: &[Cause] = &[
    RuntimeStartFailed,
    RuntimeDown,
    KubeletCrashed,
    PlegUnhealthy,
    CriDeadlineExceeded,
];

/// What a runtime that does not answer brings about.
const RUNTIME_SYMPTOMS: &[Cause] = &[
    PlegUnhealthy,
    CriDeadlineExceeded,
    ContainerNameReserved,
    PodStuckTerminating,
    KubeletSyncloopStuck,
    NodeFlapping,
    VolumeTeardownFailed,
    RuntimeDown,
    NodeNotReady,
];

/// What a failing device brings about.
const DEVICE_FAILS: &[Cause] = &[
    FsReadonly,
    Ext4Error,
    XfsShutdown,
    HungTask,
    DiskIoSlow,
    DiskIoSaturated,
];

/// What a network that drops packets brings about.
const NETWORK_FAILS: &[Cause] = &[
    KubeletApiserverUnreachable,
    KubeletApiserverConnStale,
    NodeDnsFailed,
    UpstreamDnsTimeout,
    NodeFlapping,
    NodeUnreachable,
];

/// Xids that follow from a graver one.
const GPU: &[Cause] = &[
    GpuXidApp,
    GpuXidOther,
    GpuXidEccContained,
    NvswitchSxidNonfatal,
];

/// Causes that explain this one, the strongest first.
pub(crate) fn explainers(cause: Cause) -> impl Iterator<Item = Cause> {
    CHAINS
        .iter()
        .filter(move |(_, consequences)| consequences.contains(&cause))
        .map(|(root, _)| *root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_explains_itself() {
        for start in Cause::ALL {
            let mut reach: Vec<Cause> = explainers(*start).collect();
            let mut at = 0;
            while at < reach.len() {
                for next in explainers(reach[at]) {
                    if !reach.contains(&next) {
                        reach.push(next);
                    }
                }
                at += 1;
            }
            assert!(!reach.contains(start), "{start} is on a circle");
        }
    }
}
