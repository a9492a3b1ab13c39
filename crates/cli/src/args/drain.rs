//! Flags of `drain` and `plan`: kubectl's, with its names, defaults and forms, then ours.

use api::DrainBody;
use clap::{ArgAction, Args, ValueEnum};
use model::Selector;
use operations::drain::{Deadlines, Escalation, HandoverMode, Limits, Options};

use super::{Bad, Which, duration, go_bool, selector};

/// kubectl's `--dry-run`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    #[default]
    #[value(aliases = ["false", "False", "FALSE", "f", "F", "0"])]
    None,
    Client,
    Server,
    /// `--dry-run` without a value, or true, as it once was: as `client`, with a note.
    #[value(hide = true, aliases = ["true", "True", "TRUE", "t", "T", "1"])]
    Unchanged,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Handover {
    #[default]
    Auto,
    Never,
    Always,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OnTimeout {
    #[default]
    Stop,
    Uncordon,
    Delete,
    Wait,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[arg(long, value_name = "none|client|server", num_args = 0..=1, require_equals = true, default_missing_value = "unchanged", default_value = "none", hide_default_value = true)]
    pub(crate) dry_run: DryRun,
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) which: Which,

    // kubectl's.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "true|false", value_parser = go_bool, action = ArgAction::Set)]
    force: bool,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "true|false", value_parser = go_bool, action = ArgAction::Set)]
    ignore_daemonsets: bool,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "true|false", value_parser = go_bool, action = ArgAction::Set)]
    delete_emptydir_data: bool,
    #[arg(long, value_name = "SECONDS", value_parser = grace, default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    #[arg(long, value_name = "DURATION", value_parser = duration::milliseconds, default_value = "0s")]
    timeout: u64,
    #[arg(long, value_name = "LABELS", value_parser = selector::parse)]
    pod_selector: Option<Selector>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "true|false", value_parser = go_bool, action = ArgAction::Set)]
    pub(crate) disable_eviction: bool,
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    skip_wait_for_delete_timeout: i64,
    /// Accepted and of no effect: lists are streamed.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 500,
        allow_negative_numbers = true,
        hide_default_value = true
    )]
    chunk_size: i64,

    // Ours.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    #[arg(long, value_name = "ID")]
    ticket: Option<String>,
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    handover: Handover,
    #[arg(long, value_name = "WHAT", value_enum, default_value = "stop")]
    on_timeout: OnTimeout,
    #[arg(long, value_name = "DURATION", value_parser = duration::milliseconds)]
    evict_timeout: Option<u64>,
    #[arg(long, value_name = "DURATION", value_parser = duration::milliseconds)]
    terminate_timeout: Option<u64>,
    #[arg(long, value_name = "DURATION", value_parser = duration::milliseconds)]
    handover_timeout: Option<u64>,
    #[arg(long, value_name = "NODES")]
    parallel: Option<u32>,
    #[arg(long, value_name = "NODES")]
    max_per_zone: Option<u32>,
    #[arg(long, value_name = "NODES")]
    max_per_pool: Option<u32>,
    #[arg(long)]
    pub(crate) verify: bool,
}

impl PlanArgs {
    /// What is asked for, of these nodes.
    pub(crate) fn body(&self, nodes: Vec<String>) -> Result<DrainBody, Bad> {
        let grace_seconds = match self.grace_period {
            ..0 => None,
            seconds => Some(
                u32::try_from(seconds)
                    .map_err(|_| Bad::new("grace_invalid").with("text", seconds))?,
            ),
        };
        // 0 waits for ever, as with kubectl's --timeout.
        let deadline = |given: Option<u64>, default: Option<u64>| {
            given.map_or(default, |ms| (ms > 0).then_some(ms))
        };
        let defaults = Deadlines::default();
        let options = Options {
            force: self.force,
            ignore_daemonsets: self.ignore_daemonsets,
            delete_emptydir_data: self.delete_emptydir_data,
            grace_seconds,
            pod_selector: self.pod_selector.clone(),
            disable_eviction: self.disable_eviction,
            skip_wait_for_delete_seconds: u32::try_from(self.skip_wait_for_delete_timeout)
                .ok()
                .filter(|seconds| *seconds > 0),
            handover: match self.handover {
                Handover::Auto => HandoverMode::Auto,
                Handover::Never => HandoverMode::Never,
                Handover::Always => HandoverMode::Always,
            },
            deadlines: Deadlines {
                node_ms: deadline(Some(self.timeout), None),
                evict_ms: deadline(self.evict_timeout, defaults.evict_ms),
                terminate_ms: deadline(self.terminate_timeout, defaults.terminate_ms),
                handover_ms: deadline(self.handover_timeout, defaults.handover_ms),
                ..defaults
            },
            escalation: match self.on_timeout {
                OnTimeout::Stop => Escalation::Stop,
                OnTimeout::Uncordon => Escalation::Uncordon,
                OnTimeout::Delete => Escalation::Delete,
                OnTimeout::Wait => Escalation::Wait,
            },
            limits: Limits {
                nodes: self.parallel,
                per_zone: self.max_per_zone,
                per_pool: self.max_per_pool,
            },
        };
        Ok(DrainBody {
            nodes,
            options,
            reason: self.reason.clone(),
            ticket: self.ticket.clone(),
            verify: self.verify,
        })
    }
}

/// A number of seconds, or less than none for the pod's own.
fn grace(text: &str) -> Result<i64, Bad> {
    let seconds: Option<i64> = text.parse().ok();
    seconds
        .filter(|seconds| *seconds <= i64::from(u32::MAX))
        .ok_or_else(|| Bad::new("grace_invalid").with("text", text))
}

/// The command that asks for the same, with what differs from the defaults.
pub(crate) fn command_of(body: &DrainBody) -> Vec<String> {
    let mut words: Vec<String> = vec!["drain".to_owned()];
    words.extend(body.nodes.iter().map(|node| quote(node)));
    let options = &body.options;
    let flags = [
        (options.force, "--force"),
        (options.ignore_daemonsets, "--ignore-daemonsets"),
        (options.delete_emptydir_data, "--delete-emptydir-data"),
        (options.disable_eviction, "--disable-eviction"),
    ];
    words.extend(
        flags
            .iter()
            .filter(|(given, _)| *given)
            .map(|(_, flag)| (*flag).to_owned()),
    );
    let mut value = |flag: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{flag}={}", quote(&value))));
    };
    value(
        "--grace-period",
        options.grace_seconds.map(|n| n.to_string()),
    );
    value(
        "--pod-selector",
        options.pod_selector.as_ref().map(selector::text),
    );
    value(
        "--skip-wait-for-delete-timeout",
        options.skip_wait_for_delete_seconds.map(|n| n.to_string()),
    );
    let (defaults, deadlines) = (Deadlines::default(), &options.deadlines);
    let deadline =
        |ms: Option<u64>, default| (ms != default).then(|| duration::text(ms.unwrap_or(0)));
    value("--timeout", deadline(deadlines.node_ms, defaults.node_ms));
    value(
        "--evict-timeout",
        deadline(deadlines.evict_ms, defaults.evict_ms),
    );
    value(
        "--terminate-timeout",
        deadline(deadlines.terminate_ms, defaults.terminate_ms),
    );
    value(
        "--handover-timeout",
        deadline(deadlines.handover_ms, defaults.handover_ms),
    );
    value(
        "--handover",
        match options.handover {
            HandoverMode::Auto => None,
            HandoverMode::Never => Some("never".to_owned()),
            HandoverMode::Always => Some("always".to_owned()),
        },
    );
    value(
        "--on-timeout",
        match options.escalation {
            Escalation::Stop => None,
            Escalation::Uncordon => Some("uncordon".to_owned()),
            Escalation::Delete => Some("delete".to_owned()),
            Escalation::Wait => Some("wait".to_owned()),
        },
    );
    value("--parallel", options.limits.nodes.map(|n| n.to_string()));
    value(
        "--max-per-zone",
        options.limits.per_zone.map(|n| n.to_string()),
    );
    value(
        "--max-per-pool",
        options.limits.per_pool.map(|n| n.to_string()),
    );
    value(
        "--reason",
        (!body.reason.is_empty()).then(|| body.reason.clone()),
    );
    value("--ticket", body.ticket.clone());
    words
}

/// For a POSIX shell.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn drain(args: &[&str]) -> Result<DrainArgs, clap::Error> {
        let words = ["refloat", "drain"].iter().chain(args);
        match Cli::try_parse_from(words)?.command {
            Command::Drain(args) => Ok(*args),
            _ => unreachable!(),
        }
    }

    fn body(args: &[&str]) -> DrainBody {
        let args = drain(args).unwrap();
        args.plan.body(args.plan.which.nodes.clone()).unwrap()
    }

    #[test]
    fn defaults_are_kubectls() {
        let body = body(&["n1"]);
        assert_eq!(body.options, Options::default());
        assert_eq!(drain(&["n1"]).unwrap().dry_run, DryRun::None);
    }

    #[test]
    fn forms_of_flags() {
        let on = body(&[
            "node/n1",
            "n2",
            "--force=true",
            "--ignore-daemonsets",
            "--delete-emptydir-data=false",
            "--grace-period=30",
            "--timeout=1m30s",
        ]);
        assert_eq!(on.nodes, ["n1", "n2"]);
        assert!(
            on.options.force && on.options.ignore_daemonsets && !on.options.delete_emptydir_data
        );
        assert_eq!(on.options.grace_seconds, Some(30));
        assert_eq!(on.options.deadlines.node_ms, Some(90_000));
        let off = body(&[
            "n1",
            "--grace-period=-1",
            "--timeout",
            "0s",
            "--handover-timeout=0",
            "--grace-period",
            "-1",
            "--skip-wait-for-delete-timeout=-5",
        ]);
        assert_eq!(
            (
                off.options.grace_seconds,
                off.options.deadlines.node_ms,
                off.options.deadlines.handover_ms
            ),
            (None, None, None)
        );
        assert_eq!(off.options.skip_wait_for_delete_seconds, None);
        assert_eq!(
            drain(&["n1", "--dry-run"]).unwrap().dry_run,
            DryRun::Unchanged
        );
        assert_eq!(
            drain(&["--dry-run=server", "n1"]).unwrap().dry_run,
            DryRun::Server
        );
        // As with kubectl, a value after a space is the name of a node.
        assert_eq!(drain(&["--force", "n1"]).unwrap().plan.which.nodes, ["n1"]);
        for wrong in [
            &["n1", "--timeout=8"][..],
            &["n1", "--force=maybe"],
            &["n1", "--dry-run=all"],
            &["pod/x"],
            &["-l", "a b"],
            &["n1", "--no-such-flag"],
        ] {
            assert_eq!(drain(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn the_equivalent_command_asks_for_the_same() {
        for args in [
            &["n1"][..],
            &[
                "n1",
                "n2",
                "--force",
                "--grace-period=0",
                "--pod-selector=a in (x,y)",
                "--timeout=90s",
                "--handover=never",
            ],
            &[
                "n1",
                "--on-timeout=wait",
                "--parallel=3",
                "--reason=disk full, don't touch",
                "--ticket=C-1",
                "--evict-timeout=300ms",
                "--handover-timeout=0s",
            ],
        ] {
            let asked = body(args);
            let command = command_of(&asked);
            // The shell takes the quotes off.
            let words: Vec<_> = command[1..]
                .iter()
                .map(|word| {
                    word.replace(r"'\''", "\u{1}")
                        .replace('\'', "")
                        .replace('\u{1}', "'")
                })
                .collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            assert_eq!(body(&words), asked, "{command:?}");
        }
    }
}
