//! Arrows between crates point down only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// The crates from the ground up. A crate may use those of lower layers, and those before it in its own.
pub(crate) const LAYERS: [&[&str]; 4] = [
    &[
        "model",
        "host",
        "diagnosis",
        "placement",
        "operations",
        "phrases",
    ],
    &["engine", "kubernetes", "store", "hosts", "service"],
    &["api", "agent", "server", "cli"],
    &["sandbox", "testkit", "xtask", "proofs"],
];

/// What layer 1 must not reach, through whatever dependency: with these it would no longer be a function.
const IMPURE: &[&str] = &["tokio", "kube", "reqwest", "rusqlite"];

/// The crates of the workspace, and what the normal dependencies of every package are.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    members: BTreeMap<String, PathBuf>,
    /// Package id -> ids of its normal dependencies.
    edges: BTreeMap<String, Vec<String>>,
    /// Package id -> name.
    names: BTreeMap<String, String>,
}

impl Workspace {
    pub(super) fn from_metadata(metadata: &Value) -> Result<Self> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .context("cargo metadata has another form")
        };
        let members: BTreeSet<String> = list(&metadata["workspace_members"])
            .iter()
            .map(text)
            .collect::<Result<_>>()?;
        let mut workspace = Self::default();
        for package in list(&metadata["packages"]) {
            let (id, name) = (text(&package["id"])?, text(&package["name"])?);
            if members.contains(&id) {
                let targets = list(&package["targets"]);
                let root = targets
                    .iter()
                    .find(|target| target["kind"][0] == "lib")
                    .or(targets.first());
                let root = root.context("a crate without targets")?;
                workspace
                    .members
                    .insert(name.clone(), PathBuf::from(text(&root["src_path"])?));
            }
            workspace.names.insert(id, name);
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let normal = list(&node["deps"]).into_iter().filter(|dep| {
                list(&dep["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            });
            let targets = normal.map(|dep| text(&dep["pkg"])).collect::<Result<_>>()?;
            workspace.edges.insert(text(&node["id"])?, targets);
        }
        Ok(workspace)
    }

    /// The crates' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// The crates' first source files.
    pub(super) fn roots(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.members
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_path()))
    }

    fn name(&self, id: &str) -> &str {
        self.names.get(id).map_or("", String::as_str)
    }

    /// The way from a package to one of these names, over normal dependencies.
    fn path_to(&self, from: &str, goals: &[&str]) -> Option<Vec<String>> {
        let mut seen = BTreeSet::from([from.to_owned()]);
        let mut paths = vec![vec![from.to_owned()]];
        while let Some(path) = paths.pop() {
            for next in path
                .last()
                .and_then(|last| self.edges.get(last))
                .into_iter()
                .flatten()
            {
                if !seen.insert(next.clone()) {
                    continue;
                }
                let longer: Vec<String> = path.iter().chain([next]).cloned().collect();
                if goals.contains(&self.name(next)) {
                    return Some(longer.iter().map(|id| self.name(id).to_owned()).collect());
                }
                paths.push(longer);
            }
        }
        None
    }
}

/// What is wrong with the arrows.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let order: Vec<&str> = LAYERS.concat();
    let place = |name: &str| order.iter().position(|other| *other == name);
    let mut findings: Vec<String> = workspace
        .names()
        .filter(|name| place(name).is_none())
        .map(|name| format!("{name}: has no layer, see xtask/src/tidy/layers.rs"))
        .collect();
    let members = workspace
        .edges
        .iter()
        .filter(|(id, _)| workspace.members.contains_key(workspace.name(id)));
    for (id, targets) in members {
        let name = workspace.name(id);
        for target in targets.iter().map(|target| workspace.name(target)) {
            if let (Some(from), Some(to)) = (place(name), place(target))
                && to >= from
            {
                findings.push(format!("{name}: depends on {target}, which is above it"));
            }
        }
        if LAYERS[0].contains(&name)
            && let Some(path) = workspace.path_to(id, IMPURE)
        {
            findings.push(format!(
                "{name}: must be pure, but reaches {}",
                path[1..].join(" -> ")
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A workspace of these crates, each with its normal and its dev-dependencies.
    fn findings(crates: &[(&str, &[&str], &[&str])], others: &[(&str, &[&str])]) -> Vec<String> {
        let dep = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let node = |name: &str, normal: &[&str], dev: &[&str]| {
            let normal = normal.iter().map(|name| dep(name, Value::Null));
            let deps: Vec<Value> = normal
                .chain(dev.iter().map(|name| dep(name, json!("dev"))))
                .collect();
            json!({"id": name, "deps": deps})
        };
        let mut nodes: Vec<Value> = crates
            .iter()
            .map(|(name, normal, dev)| node(name, normal, dev))
            .collect();
        nodes.extend(others.iter().map(|(name, normal)| node(name, normal, &[])));
        let names = crates
            .iter()
            .map(|(name, ..)| name)
            .chain(others.iter().map(|(name, _)| name));
        let package = |name: &&str| json!({"id": name, "name": name, "targets": [{"kind": ["lib"], "src_path": "lib.rs"}]});
        let metadata = json!({
            "workspace_members": crates.iter().map(|(name, ..)| name).collect::<Vec<_>>(),
            "packages": names.map(package).collect::<Vec<_>>(),
            "resolve": {"nodes": nodes},
        });
        check(&Workspace::from_metadata(&metadata).unwrap())
    }

    #[test]
    fn down_and_back_within_a_layer_is_fine() {
        let crates: &[(&str, &[&str], &[&str])] = &[
            ("model", &[], &["proptest"]),
            ("operations", &["model"], &[]),
            ("kubernetes", &["operations"], &[]),
            ("service", &["kubernetes", "model"], &["testkit"]),
            ("testkit", &["kube"], &[]),
            ("proofs", &["testkit"], &[]),
        ];
        assert!(
            findings(
                crates,
                &[("kube", &["tokio"]), ("tokio", &[]), ("proptest", &[])]
            )
            .is_empty()
        );
    }

    #[test]
    fn up_and_forward_is_not() {
        let up = findings(&[("model", &["service"], &[]), ("service", &[], &[])], &[]);
        assert_eq!(up, ["model: depends on service, which is above it"]);
        let forward = findings(
            &[("kubernetes", &["service"], &[]), ("service", &[], &[])],
            &[],
        );
        assert_eq!(
            forward,
            ["kubernetes: depends on service, which is above it"]
        );
        let testkit = findings(&[("cli", &["testkit"], &[]), ("testkit", &[], &[])], &[]);
        assert_eq!(testkit, ["cli: depends on testkit, which is above it"]);
    }

    #[test]
    fn layer_one_reaches_nothing_impure_by_any_way() {
        let found = findings(
            &[("model", &["helper"], &["tokio"])],
            &[("helper", &["tokio"]), ("tokio", &[])],
        );
        assert_eq!(found, ["model: must be pure, but reaches helper -> tokio"]);
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(
            findings(&[("new", &[], &[])], &[]),
            ["new: has no layer, see xtask/src/tidy/layers.rs"]
        );
    }
}
