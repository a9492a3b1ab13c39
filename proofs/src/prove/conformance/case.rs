//! A case as the file has it, and whether what was seen is what it says.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use testkit::FakeNode;

use super::contest::Seen;
use super::difference;
use super::world::Item;

/// The two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Kubectl,
    Refloat,
}

impl Who {
    pub(super) const BOTH: [Self; 2] = [Self::Kubectl, Self::Refloat];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kubectl => "kubectl",
            Self::Refloat => "refloat",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// A world, a command, and what both programs do with it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Case {
    #[serde(skip)]
    number: usize,
    pub(super) name: String,
    /// Key of the reason for which the two differ, in `docs/kubectl.md`.
    pub(super) differs: Option<String>,
    #[serde(default)]
    pub(super) world: Vec<String>,
    /// Commands that the program runs before; they must succeed.
    #[serde(default)]
    pub(super) before: Vec<String>,
    pub(super) run: String,
    /// What happens while it runs.
    #[serde(default)]
    pub(super) during: Option<During>,
    #[serde(default)]
    both: Expect,
    #[serde(default)]
    kubectl: Expect,
    #[serde(default)]
    refloat: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct During {
    /// When the program has written one of these.
    pub(super) when: Vec<String>,
    pub(super) then: Vec<String>,
}

/// What is expected. What is not said has the default of [`Wanted`].
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Expect {
    exit: Option<i32>,
    stdout: Option<Vec<String>>,
    stderr: Vec<String>,
    not_stderr: Vec<String>,
    evicted: Option<Vec<String>>,
    deleted: Option<Vec<String>>,
    left: Option<Vec<String>>,
    cordoned: Option<Vec<String>>,
    rejected: Option<bool>,
    most_seconds: Option<u64>,
}

impl Expect {
    fn is_hard(&self) -> bool {
        self.stdout.is_some()
            || self.evicted.is_some()
            || self.deleted.is_some()
            || self.left.is_some()
            || self.cordoned.is_some()
            || self.rejected.is_some()
    }
}

/// All cases, checked.
pub(super) fn parse(text: &str) -> Result<Vec<Case>> {
    let file: File = toml::from_str(text).context("the cases")?;
    let mut cases = file.case;
    let mut names = BTreeSet::new();
    for (number, case) in cases.iter_mut().enumerate() {
        case.number = number;
        ensure!(names.insert(case.name.clone()), "two cases {}", case.name);
        for item in &case.world {
            Item::parse(item).with_context(|| case.name.clone())?;
        }
        let own = [&case.kubectl, &case.refloat];
        let hard = own.iter().any(|expect| expect.is_hard());
        let classes = own.map(|expect| expect.exit.or(case.both.exit).unwrap_or(0) == 0);
        let differs = hard || classes[0] != classes[1];
        // Words on stderr and the code of a failure may differ without a reason, what is done may not.
        ensure!(
            !differs || case.differs.is_some(),
            "{}: the two differ, and no reason is given",
            case.name
        );
        let said = |expect: &Expect| !expect.stderr.is_empty() || !expect.not_stderr.is_empty();
        ensure!(
            case.differs.is_none() || differs || own.iter().any(|expect| said(expect)),
            "{}: a reason, and the two do not differ",
            case.name
        );
    }
    Ok(cases)
}

impl Case {
    /// Begins the names of what belongs to this world.
    pub(super) fn prefix(&self, who: Who) -> String {
        let letter = match who {
            Who::Kubectl => 'k',
            Who::Refloat => 'r',
        };
        format!("{letter}{:02}", self.number)
    }

    /// The world, as parsed; [`parse`] has seen that it can be.
    pub(super) fn items(&self) -> Vec<Item> {
        let items = self.world.iter().map(|item| Item::parse(item));
        items.filter_map(Result::ok).collect()
    }

    pub(super) fn nodes(&self, who: Who) -> Vec<FakeNode> {
        let prefix = self.prefix(who);
        let items = self.items();
        items.iter().filter_map(|item| item.node(&prefix)).collect()
    }

    fn wanted(&self, who: Who) -> Wanted {
        let own = match who {
            Who::Kubectl => &self.kubectl,
            Who::Refloat => &self.refloat,
        };
        let both = &self.both;
        let set = |pick: fn(&Expect) -> &Option<Vec<String>>| {
            let list = pick(own).as_ref().or(pick(both).as_ref());
            list.map(|list| list.iter().cloned().collect::<BTreeSet<_>>())
        };
        let exit = own.exit.or(both.exit).unwrap_or(0);
        let dry = self.run.contains("--dry-run");
        let evicted = set(|expect| &expect.evicted).unwrap_or_default();
        let deleted = set(|expect| &expect.deleted).unwrap_or_default();
        let pods: BTreeSet<_> = self.items().iter().flat_map(Item::pods).collect();
        let left = set(|expect| &expect.left).unwrap_or_else(|| {
            let goes = |pod: &&String| !evicted.contains(*pod) && !deleted.contains(*pod);
            pods.iter().filter(goes).cloned().collect()
        });
        let cordoned = set(|expect| &expect.cordoned).unwrap_or_else(|| {
            let drains = self.run.starts_with("drain") && !dry;
            drains.then(|| "a".to_owned()).into_iter().collect()
        });
        let stdout = set(|expect| &expect.stdout).unwrap_or_else(|| {
            let mut lines: BTreeSet<String> = cordoned
                .iter()
                .map(|node| format!("node/{node} cordoned"))
                .collect();
            for pod in &evicted {
                lines.insert(format!("evicting pod ns/{pod}"));
                if !left.contains(pod) {
                    lines.insert(format!("pod/{pod} evicted"));
                }
            }
            lines.extend(deleted.iter().map(|pod| format!("pod/{pod} deleted")));
            if exit == 0 {
                lines.extend(cordoned.iter().map(|node| format!("node/{node} drained")));
            }
            lines
        });
        let list = |pick: fn(&Expect) -> &Vec<String>| {
            [pick(both), pick(own)]
                .into_iter()
                .flatten()
                .cloned()
                .collect()
        };
        Wanted {
            exit,
            exact_exit: who == Who::Refloat && own.exit.is_some() || exit == 0,
            stdout,
            stderr: list(|expect| &expect.stderr),
            not_stderr: list(|expect| &expect.not_stderr),
            evicted,
            deleted,
            left,
            cordoned,
            rejected: own.rejected.or(both.rejected),
            most_seconds: own.most_seconds.or(both.most_seconds),
        }
    }

    /// What of it is not as the case says.
    pub(super) fn judge(&self, who: Who, seen: &Seen) -> Vec<String> {
        let wanted = self.wanted(who);
        let mut findings = Vec::new();
        if wanted.exact_exit && seen.exit != wanted.exit || seen.exit == 0 && wanted.exit != 0 {
            findings.push(format!("exit {}, not {}", seen.exit, wanted.exit));
        }
        let stdout: BTreeSet<_> = seen.stdout.iter().cloned().collect();
        findings.extend(difference("stdout", &wanted.stdout, &stdout));
        findings.extend(order(&seen.stdout));
        for phrase in &wanted.stderr {
            if !seen.stderr.contains(phrase) {
                findings.push(format!("stderr lacks {phrase:?}: {}", seen.stderr.trim()));
            }
        }
        for phrase in &wanted.not_stderr {
            if seen.stderr.contains(phrase) {
                findings.push(format!("stderr has {phrase:?}: {}", seen.stderr.trim()));
            }
        }
        findings.extend(difference("evicted", &wanted.evicted, &seen.evicted));
        findings.extend(difference("deleted", &wanted.deleted, &seen.deleted));
        findings.extend(difference("left", &wanted.left, &seen.left));
        findings.extend(difference("cordoned", &wanted.cordoned, &seen.cordoned));
        if wanted
            .rejected
            .is_some_and(|rejected| rejected != (seen.rejected > 0))
        {
            findings.push(format!("{} evictions rejected", seen.rejected));
        }
        if wanted
            .most_seconds
            .is_some_and(|most| seen.took.as_secs_f64() > most as f64)
        {
            findings.push(format!("took {:.1} s", seen.took.as_secs_f64()));
        }
        if !findings.is_empty() {
            findings.push(format!(
                "stdout {:?}; stderr {:?}",
                seen.stdout, seen.stderr
            ));
        }
        findings
            .into_iter()
            .map(|finding| format!("{}: {finding}", who.name()))
            .collect()
    }
}

struct Wanted {
    exit: i32,
    /// Else any failure will do.
    exact_exit: bool,
    stdout: BTreeSet<String>,
    stderr: Vec<String>,
    not_stderr: Vec<String>,
    evicted: BTreeSet<String>,
    deleted: BTreeSet<String>,
    left: BTreeSet<String>,
    cordoned: BTreeSet<String>,
    rejected: Option<bool>,
    most_seconds: Option<u64>,
}

/// A node is cordoned before the first eviction, a pod is evicted after its eviction began, and what is drained is last.
fn order(lines: &[String]) -> Option<String> {
    let place = |text: &str| lines.iter().position(|line| line == text);
    let first_eviction = lines.iter().position(|line| line.starts_with("evicting"));
    let first_cordon = lines.iter().position(|line| line.contains("cordoned"));
    if first_eviction.is_some() && first_eviction < first_cordon {
        return Some("an eviction before the first cordon".to_owned());
    }
    for (at, line) in lines.iter().enumerate() {
        let began = line
            .strip_prefix("pod/")
            .and_then(|rest| rest.strip_suffix(" evicted"));
        let begin = began.and_then(|name| place(&format!("evicting pod ns/{name}")));
        if begin.is_some_and(|begin| begin > at) {
            return Some(format!("{line:?} before its eviction"));
        }
    }
    let drained = lines.iter().position(|line| line.contains(" drained"));
    let one_node = lines
        .iter()
        .filter(|line| line.contains(" drained"))
        .count()
        == 1;
    let last = lines.len().saturating_sub(1);
    (one_node && drained.is_some_and(|at| at != last)).then(|| "drained, and not last".to_owned())
}
