//! Kubelet itself (`failures.md` §1, §2 B): does its unit run, does its process, does it answer.

use ::host::{Probe as HostProbe, UnitFacts};

use super::{Fine, Look, Out, process, quote, say};
use crate::Cause::*;
use crate::{Action, Confidence, Param, Source};

/// Kubelet answers healthz seconds after its start; a minute is long.
const STARTED: u64 = 60;

/// Restarts within the minute: EKS counts more than three.
const LOOP: u64 = 4;

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    if look.facts.memory.total.is_some() && look.facts.memory.swaps.is_empty() {
        out.fine(Fine::Gone, &[KubeletSwapOn]);
    }
    let Some(unit) = look.facts.unit("kubelet") else {
        healthz(look, None, out);
        return;
    };
    if matches!(unit.process_state, Some('T' | 't')) {
        let quote = quote::stopped_process("kubelet", unit);
        out.say(say(KubeletFrozen, Source::Units, quote).subject("kubelet"));
        return;
    }
    let young = unit.active_seconds.is_some_and(|seconds| seconds < STARTED);
    let quote = || quote::unit("kubelet", unit);
    let many = unit.restarts.is_some_and(|restarts| restarts >= LOOP);
    match unit.active.as_str() {
        "active" | "reloading" if many && young && look.facts.kubelet.healthy != Some(true) => {
            ends(look, quote(), out);
        }
        "active" | "reloading" => healthz(look, Some(unit), out),
        "inactive" if look.is_starting() || look.is_stopping() => {}
        "inactive" if unit.enabled == "masked" => {
            out.say(say(KubeletStopped, Source::Units, quote()).remedy(Action::FixConfig))
        }
        "inactive" => out.say(say(KubeletStopped, Source::Units, quote())),
        "failed" => ends(look, quote(), out),
        "activating" if unit.sub == "auto-restart" || many => ends(look, quote(), out),
        "activating" if look.is_starting() => {}
        "activating" | "deactivating" => {
            out.say(say(KubeletFrozen, Source::Units, quote()).medium())
        }
        _ => {}
    }
}

/// Kubelet ends. Its journal tells why; where it does not, the host may.
fn ends(look: &Look<'_>, quote: String, out: &mut Out) {
    out.say(say(KubeletCrashed, Source::Units, quote));
    // With `failSwapOn: false` kubelet runs with swap; then something else ends it.
    let refuses = look.facts.kubelet.fail_swap_on;
    if let Some(swap) = look
        .facts
        .memory
        .swaps
        .first()
        .filter(|_| refuses != Some(false))
    {
        let quote = format!("/proc/swaps: {swap}");
        let sure = if refuses == Some(true) {
            Confidence::High
        } else {
            Confidence::Medium
        };
        out.say(say(KubeletSwapOn, Source::Files, quote).sure(sure));
    }
}

fn healthz(look: &Look<'_>, unit: Option<&UnitFacts>, out: &mut Out) {
    let kubelet = &look.facts.kubelet;
    let body = kubelet.healthz.as_deref();
    let young =
        unit.is_none_or(|unit| unit.active_seconds.is_some_and(|seconds| seconds < STARTED));
    if kubelet.healthy == Some(true) {
        out.fine(Fine::Gone, &[KubeletSyncloopStuck]);
        // Its unit tells since when; without it a healthy moment is between two ends perhaps.
        if unit.is_none() || !young {
            out.fine(
                if unit.is_some() {
                    Fine::Gone
                } else {
                    Fine::Past
                },
                &[
                    KubeletCrashed,
                    KubeletSwapOn,
                    KubeletConfigInvalid,
                    KubeletCheckpointInvalid,
                    NodeAllocatableFailed,
                    KubeletCertExpired,
                    KubeletExecFailed,
                    KubeletPortInUse,
                    CgroupControllerMissing,
                ],
            );
            out.fine(Fine::Past, &[NodeFlapping]);
        }
        if look.heard.is_some_and(|heard| heard.ready) {
            out.fine(Fine::Past, &[NodeNotReady, HostShuttingDown]);
        }
        return;
    }
    if body.is_some_and(|body| body.contains("[-]syncloop")) {
        let line = body.and_then(|body| body.lines().find(|line| line.contains("[-]syncloop")));
        let quote = format!("healthz: {}", line.unwrap_or_default());
        out.say(say(KubeletSyncloopStuck, Source::Healthz, quote));
        return;
    }
    // A kubelet whose healthz port is off refuses, and so does one that has just started.
    let silent = body == Some("timeout") || body.is_none() && look.timed_out(HostProbe::Kubelet);
    if !silent || young && unit.is_some() {
        return;
    }
    let quote = "healthz: no answer in time".to_owned();
    let sure = if unit.is_some() {
        Confidence::High
    } else {
        Confidence::Medium
    };
    out.say(
        say(KubeletFrozen, Source::Healthz, quote)
            .sure(sure)
            .subject("kubelet"),
    );
    if let Some(task) = process::blocked(look, unit.and_then(|unit| unit.pid)) {
        out.say(
            say(HungTask, Source::Processes, process::quote(task))
                .medium()
                .subject(&task.comm)
                .param(Param::Process, task.pid.to_string()),
        );
    }
}
