//! Whatever is wrong with what refloat is given: it says what, names the object and a way out, in both languages and as
//! JSON, does not panic, and has done nothing.

mod cases;
mod kubeconfigs;
mod records;
mod rights;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::builders::{self, Template};
use testkit::{FakeNode, Options, User, apply};
use tokio::process::Command;

use super::rig::Rig;
use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "bad-input",
    what: "bad nodes, flags, rights, credentials, kubeconfigs, servers, records and disks: a clear error and a way out",
    time: ["1 min", "1 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

const NAMESPACE: &str = "shop";
/// A command that takes longer than this hangs.
const STUCK: Duration = Duration::from_secs(90);

/// Something wrong, and what is to come of it.
struct Case {
    name: String,
    args: Vec<String>,
    env: Vec<(&'static str, OsString)>,
    /// A shell script that ends in running `"$@"`.
    wrapper: Option<String>,
    exit: i32,
    says: Says,
    /// What stderr must name, whatever the language.
    names: Vec<String>,
    /// Nothing may have been written to the cluster.
    untouched: bool,
}

/// How it is said under `-o json`.
enum Says {
    /// As an error with this code.
    Error(&'static str),
    /// Not as an error: it goes on, and says this in the plan.
    Warning(&'static str),
    /// Not at all: it goes on, and does this instead.
    Nothing(&'static str),
}

impl Case {
    fn new(name: impl Into<String>, args: &str, exit: i32, code: &'static str) -> Self {
        Self {
            name: name.into(),
            args: args.split_whitespace().map(str::to_owned).collect(),
            env: Vec::new(),
            wrapper: None,
            exit,
            says: Says::Error(code),
            names: Vec::new(),
            untouched: true,
        }
    }

    /// What stderr must name.
    fn naming(mut self, names: &[&str]) -> Self {
        self.names
            .extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    fn kubeconfig(self, path: &Path) -> Self {
        self.arg("--kubeconfig").arg(path.display().to_string())
    }

    fn record(self, path: &Path) -> Self {
        self.arg("--record").arg(path.display().to_string())
    }

    fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }
}

/// What the cases are made of.
struct Place<'a> {
    rig: &'a Rig,
    refloat: PathBuf,
    home: &'a Path,
}

async fn run(args: Args) -> Result<Verdict> {
    let only = args
        .rest
        .iter()
        .find_map(|flag| flag.strip_prefix("--only="));
    let show = args.rest.iter().any(|flag| flag == "--show");
    let refloat = super::command::refloat()?;
    let nodes = ["worker-1", "worker-2", "spare"].map(FakeNode::new);
    let users = rights::DENIED
        .iter()
        .map(|denied| User::named(&denied.user()));
    let options = Options {
        users: users.collect(),
        ..Options::default()
    };
    let rig = Rig::start(options, nodes.into()).await?;
    let web = Template::new("web")
        .spec(
            "nodeSelector",
            json!({"kubernetes.io/hostname": "worker-1"}),
        )
        .deployment(NAMESPACE, "web", 2);
    apply(&rig.client, &[builders::namespace(NAMESPACE), web]).await?;
    apply(&rig.client, &[builders::namespace("medik8s-leases")]).await?;
    rig.wait_ready(NAMESPACE, "web", 2).await?;
    let home = tempfile::tempdir()?;
    let place = Place {
        rig: &rig,
        refloat,
        home: home.path(),
    };
    let mut cases = cases::all(&place).await?;
    if let Some(only) = only {
        cases.retain(|case| case.name.contains(only));
    }
    let (mut rows, mut fine) = (Vec::new(), 0);
    for case in &cases {
        let (findings, seen) = match place.judge(case).await {
            Ok(judged) => judged,
            Err(error) => (vec![format!("{error:#}")], String::new()),
        };
        fine += usize::from(findings.is_empty());
        let code = match case.says {
            Says::Error(code) | Says::Warning(code) | Says::Nothing(code) => code,
        };
        rows.push(vec![
            case.name.clone(),
            case.exit.to_string(),
            code.to_owned(),
            if findings.is_empty() { "ok" } else { "SHORT" }.to_owned(),
        ]);
        for finding in &findings {
            output::line(&format!("  {}: {finding}", case.name));
        }
        if show || !findings.is_empty() {
            output::line(seen.trim_end());
        }
    }
    output::line(output::table(&["WHAT IS WRONG", "EXIT", "CODE", ""], &rows).trim_end());
    Ok(Verdict::new(
        fine == cases.len(),
        format!("{fine} of {}", cases.len()),
    ))
}

struct Ran {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place<'_> {
    /// What is wrong about how a case is answered, and what was answered.
    async fn judge(&self, case: &Case) -> Result<(Vec<String>, String)> {
        let mut findings = Vec::new();
        let mut seen = String::new();
        let mark = self.rig.plane.audit_mark();
        for (form, extra) in [
            ("en", &["--lang=en"][..]),
            ("zh-CN", &["--lang=zh-CN"]),
            ("json", &["--lang=en", "-o", "json"]),
        ] {
            let ran = self.run(case, extra).await.context(form)?;
            seen.push_str(&format!("-- {form}\n{}{}", ran.stdout, ran.stderr));
            let mut find = |what: String| findings.push(format!("{form}: {what}"));
            if ran.exit != Some(case.exit) {
                find(format!("exit {:?}, not {}", ran.exit, case.exit));
            }
            for word in ["panicked at", "RUST_BACKTRACE", "stack backtrace"] {
                if ran.stderr.contains(word) {
                    find(format!("{word:?}"));
                }
            }
            let told = format!("{}{}", ran.stdout, ran.stderr);
            for name in &case.names {
                // An object has its name, or is a parameter of the JSON.
                if !told.contains(name) && !told.replace('\\', "").contains(name) {
                    find(format!("does not name {name:?}"));
                }
            }
            match form {
                "json" => json(case, &ran).into_iter().for_each(&mut find),
                _ => text(case, form, &ran).into_iter().for_each(&mut find),
            }
        }
        if case.untouched {
            findings.extend(self.writes(mark)?);
        }
        Ok((findings, seen))
    }

    async fn run(&self, case: &Case, extra: &[&str]) -> Result<Ran> {
        let mut command = match &case.wrapper {
            Some(script) => {
                let mut command = Command::new("unshare");
                command.args([
                    "--user",
                    "--map-root-user",
                    "--mount",
                    "sh",
                    "-c",
                    script,
                    "sh",
                ]);
                command.arg(&self.refloat);
                command
            }
            None => Command::new(&self.refloat),
        };
        command.args(&case.args).args(extra);
        command.env_remove("KUBECONFIG").env("HOME", self.home);
        command.env("XDG_STATE_HOME", self.home.join("state"));
        command.envs(case.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(STUCK, command.output())
            .await
            .context("it does not end")??;
        Ok(Ran {
            exit: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What was written to the cluster since, but for questions about rights.
    fn writes(&self, mark: u64) -> Result<Vec<String>> {
        let entries = self.rig.plane.audit_since(mark)?;
        let writes = entries.into_iter().filter(|entry| {
            let asks = entry.uri.contains("authorization.k8s.io")
                || entry.uri.contains("authentication.k8s.io");
            let reads = matches!(entry.verb.as_str(), "get" | "list" | "watch");
            // The garbage collector and its like go on all the time.
            !asks && !reads && !entry.user.starts_with("system:") && entry.succeeded()
        });
        Ok(writes
            .map(|entry| format!("wrote to the cluster: {} {}", entry.verb, entry.uri))
            .collect())
    }
}

/// In a language: an error and a way out, each on lines of their own.
fn text(case: &Case, language: &str, ran: &Ran) -> Vec<String> {
    let mut findings = Vec::new();
    if !matches!(case.says, Says::Error(_)) {
        return findings;
    }
    let (error, hint) = if language == "en" {
        ("error:", "hint:")
    } else {
        ("错误:", "建议:")
    };
    for word in [error, hint] {
        let says = ran.stderr.lines().any(|line| {
            line.strip_prefix(word)
                .is_some_and(|rest| !rest.trim().is_empty())
        });
        if !says {
            findings.push(format!("no line {word:?}"));
        }
    }
    // A placeholder, or the name of a sentence, in place of words.
    for line in ran.stderr.lines() {
        let raw = ["error.", "hint.", "refusal.", "{path", "{reason"];
        if raw.iter().any(|word| line.contains(word)) {
            findings.push(format!("not said in words: {line}"));
        }
    }
    findings
}

/// As JSON: the code, the sentence and the way out.
fn json(case: &Case, ran: &Ran) -> Vec<String> {
    let parse = |text: &str| -> Vec<Value> {
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    match case.says {
        Says::Error(code) => {
            let errors = parse(&ran.stderr);
            let Some(error) = errors.iter().rev().find_map(|line| line.get("error")) else {
                return vec!["no JSON error on stderr".to_owned()];
            };
            let mut findings = Vec::new();
            if error["code"] != code {
                findings.push(format!("code {}, not {code}", error["code"]));
            }
            for field in ["message", "hint"] {
                if error[field].as_str().is_none_or(str::is_empty) {
                    findings.push(format!("no {field}"));
                }
            }
            if error["exit"] != case.exit {
                findings.push(format!("says exit {}", error["exit"]));
            }
            findings
        }
        Says::Nothing(_) => vec![],
        Says::Warning(code) => {
            if ran.stdout.contains(&format!("\"{code}\"")) {
                vec![]
            } else {
                vec![format!("{code} is not in the JSON")]
            }
        }
    }
}
