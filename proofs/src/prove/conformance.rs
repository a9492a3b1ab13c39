//! refloat drains like kubectl, but for what is listed.
//!
//! Each case of `tests/conformance/kubectl-drain.toml` is a small world. It is made twice, one for each program, and both
//! run the same command on theirs. What a program writes, which pods it evicts or deletes, which are left and which nodes
//! it makes unschedulable must be what the case says; where the case says something else for each, that is a deliberate
//! difference with a reason in `docs/kubectl.md`.

mod case;
mod contest;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use serde_json::json;
use testkit::{FakeNode, Options, apply, builders};

use self::case::{Case, Who};
use self::contest::{Contest, Seen};
use super::rig::Rig;
use super::{Args, Proof, Verdict};
use xtask::{output, run};

pub(super) const PROOF: Proof = Proof {
    name: "kubectl-conformance",
    what: "drain, cordon and uncordon do what kubectl's do on the same objects; deliberate differences are listed",
    time: ["3 min", "3 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

const CASES: &str = "tests/conformance/kubectl-drain.toml";
const REASONS: &str = "docs/kubectl.md";
/// kubectl mostly waits; refloat reads the whole cluster each time.
const AT_ONCE: usize = 6;
/// May do everything but patch nodes; see the cases with `--as`.
const NO_CORDON: &str = "nocordon";

async fn run(args: Args) -> Result<Verdict> {
    let only = args
        .rest
        .iter()
        .find_map(|flag| flag.strip_prefix("--only="));
    let show = args.rest.iter().any(|flag| flag == "--show");
    let text = fs::read_to_string(run::root().join(CASES)).with_context(|| CASES)?;
    let mut cases = case::parse(&text)?;
    let reasons = reasons_are_listed(&cases)?;
    if let Some(only) = only {
        cases.retain(|case| case.name.contains(only));
    }
    let refloat = super::command::refloat()?;
    let rig = start(&cases).await?;
    let home = tempfile::tempdir()?;
    let contest = Contest::new(&rig, refloat, home.path());
    let outcomes: Vec<_> = futures::stream::iter(&cases)
        .map(async |case| (case, both(&contest, case).await))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (mut rows, mut wrong) = (Vec::new(), 0);
    for (case, outcome) in outcomes {
        let (codes, findings) = match outcome {
            Ok([kubectl, refloat]) => {
                if show {
                    show_seen(case, &kubectl, &refloat);
                }
                let mut findings = case.judge(Who::Kubectl, &kubectl);
                findings.extend(case.judge(Who::Refloat, &refloat));
                (format!("{} {}", kubectl.exit, refloat.exit), findings)
            }
            Err(error) => (String::new(), vec![format!("{error:#}")]),
        };
        wrong += usize::from(!findings.is_empty());
        let verdict = if findings.is_empty() { "ok" } else { "SHORT" };
        let differs = case.differs.clone().unwrap_or_default();
        rows.push(vec![case.name.clone(), codes, verdict.to_owned(), differs]);
        for finding in findings {
            output::line(&format!("  {}: {finding}", case.name));
        }
    }
    let heading = ["CASE", "EXIT (KUBECTL, REFLOAT)", "", "DIFFERS BY"];
    output::line(output::table(&heading, &rows).trim_end());
    let figure = format!("{} cases, {reasons} deliberate differences", rows.len());
    Ok(if wrong == 0 {
        Verdict::new(true, figure)
    } else {
        Verdict::new(false, format!("{wrong} of {figure}"))
    })
}

/// Both programs on their own worlds, at the same time.
async fn both(contest: &Contest<'_>, case: &Case) -> Result<[Seen; 2]> {
    let (kubectl, refloat) = tokio::join!(
        contest.run(Who::Kubectl, case),
        contest.run(Who::Refloat, case)
    );
    Ok([kubectl.context("kubectl")?, refloat.context("refloat")?])
}

fn show_seen(case: &Case, kubectl: &Seen, refloat: &Seen) {
    output::line(&format!("== {}\n$ {}", case.name, case.run));
    for (who, seen) in [("kubectl", kubectl), ("refloat", refloat)] {
        output::line(&format!("-- {who}: {seen:#?}"));
    }
}

/// Every reason has a row in the document, and every row a case. How many there are.
fn reasons_are_listed(cases: &[Case]) -> Result<usize> {
    let text = fs::read_to_string(run::root().join(REASONS)).with_context(|| REASONS)?;
    let listed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|key| !key.starts_with('-'))
        .collect();
    let used: BTreeSet<&str> = cases
        .iter()
        .filter_map(|case| case.differs.as_deref())
        .collect();
    ensure!(
        listed == used,
        "{REASONS} lists {:?} without a case, and lacks {:?}",
        listed.difference(&used).collect::<Vec<_>>(),
        used.difference(&listed).collect::<Vec<_>>()
    );
    Ok(used.len())
}

/// A control plane with all nodes of all worlds and without garbage collection, so that pods can have owners that do not
/// exist; with a policy that denies evictions where the namespace says so, and somebody who may not patch nodes.
async fn start(cases: &[Case]) -> Result<Rig> {
    let options = Options {
        controllers: Some("*,-garbage-collector-controller".to_owned()),
        ..Options::default()
    };
    let nodes = cases.iter().flat_map(|case| {
        let worlds = Who::BOTH.map(|who| case.nodes(who));
        worlds.into_iter().flatten().collect::<Vec<FakeNode>>()
    });
    let rig = Rig::start(options, nodes.collect()).await?;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-evictions"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"],
            }]},
            "validations": [{"expression": "false", "message": "the owners say no", "reason": "Forbidden"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-evictions"},
        "spec": {
            "policyName": "no-evictions", "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"evictions": "denied"}}},
        },
    });
    let verbs = |verbs: &[&str]| json!(verbs);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": NO_CORDON},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": verbs(&["get", "list", "watch"])},
            {"apiGroups": [""], "resources": ["pods", "pods/eviction"], "verbs": verbs(&["create", "delete", "patch"])},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs(&["create", "update", "patch", "delete"])},
        ],
    });
    let subject =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NO_CORDON});
    let role_ref =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NO_CORDON});
    let bound = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": NO_CORDON},
        "subjects": [subject], "roleRef": role_ref,
    });
    apply(&rig.client, &[policy, binding, role, bound]).await?;
    apply(&rig.client, &[builders::namespace("medik8s-leases")]).await?;
    Ok(rig)
}

/// For messages: a list of what was expected and is not there, and of what is there and was not expected.
fn difference<T: Ord + std::fmt::Debug>(
    what: &str,
    wanted: &BTreeSet<T>,
    seen: &BTreeSet<T>,
) -> Option<String> {
    let parts: BTreeMap<&str, Vec<&T>> = [
        ("lacks", wanted.difference(seen).collect()),
        ("has besides", seen.difference(wanted).collect()),
    ]
    .into();
    let parts: Vec<_> = parts
        .iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(word, items)| format!("{word} {items:?}"))
        .collect();
    (!parts.is_empty()).then(|| format!("{what} {}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_can_be_read_and_their_reasons_are_listed() {
        let text = fs::read_to_string(run::root().join(CASES)).unwrap();
        let cases = case::parse(&text).unwrap();
        assert!(cases.len() >= 45 && reasons_are_listed(&cases).unwrap() > 0);
    }

    #[test]
    fn a_difference_without_a_reason_is_refused() {
        let same = "[[case]]\nname = 'x'\nrun = 'drain'\nkubectl = { stderr = ['a'] }\n";
        assert!(case::parse(same).is_ok());
        for differs in ["exit = 1", "evicted = ['x']", "stdout = []"] {
            let text = same.replace("stderr = ['a']", differs);
            assert!(case::parse(&text).is_err(), "{text}");
            let text = text.replace("run =", "differs = 'why'\nrun =");
            assert!(case::parse(&text).is_ok(), "{text}");
        }
    }
}
