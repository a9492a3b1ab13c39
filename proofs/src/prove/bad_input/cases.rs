//! All cases: nodes and flags here, the rest in files of their own.

use anyhow::Result;

use super::{Case, Place, kubeconfigs, records, rights};

pub(super) async fn all(place: &Place<'_>) -> Result<Vec<Case>> {
    let admin = place.rig.plane.kubeconfig();
    let mut cases = Vec::new();
    for command in ["drain", "plan", "cordon", "uncordon", "nodes"] {
        let case = Case::new(
            format!("{command}: an unknown node"),
            &format!("{command} worker-1 worker-3"),
            1,
            "unknown_nodes",
        );
        cases.push(case.naming(&["worker-3", "worker-2"]).kubeconfig(admin));
    }
    cases.push(
        Case::new(
            "labels that no node has",
            "drain -l zone=nowhere",
            1,
            "nothing_selected",
        )
        .naming(&["zone=nowhere"])
        .kubeconfig(admin),
    );
    for (name, args, code, names) in [
        ("no node", "drain", "no_nodes", &[][..]),
        (
            "names and labels",
            "drain worker-1 -l a=b",
            "both_names_and_selector",
            &[],
        ),
        (
            "no node but a pod",
            "drain pod/web",
            "not_a_node",
            &["pod/web"],
        ),
        (
            "--timeout without a unit",
            "drain worker-1 --timeout=5",
            "duration_invalid",
            &["5", "--timeout"],
        ),
        (
            "--timeout below zero",
            "drain worker-1 --timeout=-5s",
            "duration_invalid",
            &["-5s"],
        ),
        (
            "--grace-period is no number",
            "drain worker-1 --grace-period=x",
            "grace_invalid",
            &["x", "--grace-period"],
        ),
        (
            "--grace-period beyond all measure",
            "drain worker-1 --grace-period=99999999999",
            "grace_invalid",
            &["99999999999"],
        ),
        (
            "a bad selector",
            "drain -l a,,b",
            "selector_invalid",
            &["a,,b"],
        ),
        (
            "a bad --pod-selector",
            "drain worker-1 --pod-selector=a~b",
            "selector_invalid",
            &["a~b"],
        ),
        (
            "--dry-run of a kind that is none",
            "drain worker-1 --dry-run=all",
            "value_invalid",
            &["all", "server"],
        ),
        (
            "--force neither true nor false",
            "drain worker-1 --force=maybe",
            "bool_invalid",
            &["maybe"],
        ),
        (
            "-o of a form that is none",
            "drain worker-1 --output=yaml",
            "value_invalid",
            &["yaml"],
        ),
        (
            "an unknown flag",
            "drain worker-1 --delete-local-data",
            "argument_unknown",
            &["--delete-local-data"],
        ),
        (
            "an unknown command",
            "drian worker-1",
            "command_unknown",
            &["drian"],
        ),
        (
            "an operation is missing",
            "ops show",
            "usage",
            &["refloat ops"],
        ),
    ] {
        cases.push(Case::new(name, args, 2, code).naming(names));
    }
    cases.extend(rights::cases(place).await?);
    cases.extend(kubeconfigs::cases(place)?);
    cases.extend(records::cases(place).await?);
    Ok(cases)
}
