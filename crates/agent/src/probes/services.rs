//! systemd, the bus, the clock, packages and journals: by their own programs, since these speak with every version of
//! their daemons.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host::sources;

use super::{indent, read};
use crate::command::{End, Printed, find, run, run_both};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A program's section, and how it ended.
fn section(out: &mut dyn Write, name: &str, words: &[&str]) -> io::Result<Printed> {
    writeln!(out, "@{name}")?;
    out.flush()?;
    let printed = run(seconds(4), words);
    indent(out, &printed.text)?;
    writeln!(out, "@exit {name} {}", printed.end.code())?;
    out.flush()?;
    Ok(printed)
}

pub(super) fn units(out: &mut dyn Write) -> io::Result<()> {
    let uptime = read("/proc/uptime").unwrap_or_default();
    writeln!(
        out,
        "@uptime\n {}",
        uptime.split(' ').next().unwrap_or_default()
    )?;
    let exe = std::fs::read_link("/proc/1/exe").unwrap_or_default();
    writeln!(out, "@exe\n {}", exe.display())?;
    section(
        out,
        "manager",
        &["systemctl", "show", "-p", sources::MANAGER_PROPERTIES],
    )?;
    let mut words = vec!["systemctl", "show", "-p", sources::UNIT_PROPERTIES];
    words.extend(sources::UNITS);
    let units = section(out, "units", &words)?;
    for pid in units
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("MainPID="))
    {
        let stat = read(&format!("/proc/{pid}/stat")).and_then(|text| host::stat(&text));
        if let Some(stat) = stat {
            writeln!(out, "@process {pid}\n {}", stat.state)?;
        }
    }
    Ok(())
}

/// Who, object, interface, method, arguments (strings).
type Call = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const BUS: Call = (
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus",
    "GetId",
    &[],
);
/// A property and not only a ping: what must work is an answer of the manager, which is what runc waits for.
const SYSTEMD: Call = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.DBus.Properties",
    "Get",
    &["org.freedesktop.systemd1.Manager", "Version"],
);
/// Asked first, because a call would start it.
const LOGIND_RUNS: Call = (
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus",
    "NameHasOwner",
    &["org.freedesktop.login1"],
);
const LOGIND: Call = (
    "org.freedesktop.login1",
    "/org/freedesktop/login1",
    "org.freedesktop.DBus.Properties",
    "Get",
    &["org.freedesktop.login1.Manager", "IdleSinceHint"],
);

fn call((who, object, interface, method, arguments): Call) -> &'static str {
    let printed = if find("dbus-send").is_some() {
        let destination = format!("--dest={who}");
        let method = format!("{interface}.{method}");
        let strings: Vec<String> = arguments
            .iter()
            .map(|text| format!("string:{text}"))
            .collect();
        let mut words = vec![
            "dbus-send",
            "--system",
            "--print-reply",
            "--reply-timeout=3500",
            &destination,
            object,
            &method,
        ];
        words.extend(strings.iter().map(String::as_str));
        run_both(seconds(4), &words)
    } else {
        let signature = "s".repeat(arguments.len());
        let mut words = vec!["busctl", "call", who, object, interface, method];
        if !arguments.is_empty() {
            words.push(&signature);
            words.extend(arguments);
        }
        run_both(seconds(4), &words)
    };
    let text = printed.text.as_str();
    match printed.end {
        End::Exit(0) if text.contains("false") => "absent",
        End::Exit(0) => "ok",
        End::TimedOut => "hangs",
        _ if text.contains("NoReply") || text.contains("imed out") => "hangs",
        _ => "no",
    }
}

pub(super) fn bus(out: &mut dyn Write) -> io::Result<()> {
    if find("dbus-send").or(find("busctl")).is_none() {
        return Ok(());
    }
    let logind = || match call(LOGIND_RUNS) {
        "ok" => call(LOGIND),
        other => other,
    };
    // Side by side: each may take its whole time.
    let (bus, systemd, logind) = std::thread::scope(|scope| {
        let bus = scope.spawn(|| call(BUS));
        let systemd = scope.spawn(|| call(SYSTEMD));
        let logind = logind();
        (
            bus.join().unwrap_or("no"),
            systemd.join().unwrap_or("no"),
            logind,
        )
    });
    writeln!(out, "bus {bus}\nsystemd {systemd}\nlogind {logind}")
}

pub(super) fn clock(out: &mut dyn Write) -> io::Result<()> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    writeln!(out, "@now\n {}.{:09}", now.as_secs(), now.subsec_nanos())?;
    out.flush()?;
    let printed = run(seconds(2), &["timedatectl"]);
    let synchronised = printed
        .text
        .lines()
        .find_map(|line| line.split_once("synchronized: "));
    if let Some((_, word)) = synchronised {
        writeln!(out, "@synchronised\n {}", word.trim())?;
    }
    let properties = "Id,LoadState,ActiveState,UnitFileState";
    let mut words = vec!["systemctl", "show", "-p", properties];
    words.extend(sources::TIME_UNITS);
    writeln!(out, "@units")?;
    let printed = run(seconds(2), &words);
    indent(out, &printed.text)?;
    writeln!(out, "@exit units {}", printed.end.code())
}

pub(super) fn packages(out: &mut dyn Write) -> io::Result<()> {
    let mut words = if find("rpm").is_some() {
        vec![
            "rpm",
            "-q",
            "--qf",
            "%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n",
        ]
    } else {
        vec!["dpkg-query", "-W", "-f", "${Package} ${Version}\\n"]
    };
    words.extend(sources::PACKAGES);
    let printed = run(seconds(5), &words);
    let lines = printed
        .text
        .lines()
        .filter(|line| line.split_ascii_whitespace().count() == 2);
    lines
        .into_iter()
        .try_for_each(|line| writeln!(out, "{line}"))
}

fn log_words<'a>(lines: &'a str, which: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec![
        "journalctl",
        "--no-pager",
        "-q",
        "-o",
        "short-iso",
        "-n",
        lines,
    ];
    words.extend(which);
    words
}

/// Copied as it is: the parent cuts and redacts.
fn log(out: &mut dyn Write, which: &[&str]) -> io::Result<End> {
    let lines = sources::LOG_LINES.to_string();
    let printed = run(seconds(5), &log_words(&lines, which));
    out.write_all(printed.text.as_bytes())?;
    Ok(printed.end)
}

pub(super) fn journal(out: &mut dyn Write, unit: &str) -> io::Result<()> {
    log(out, &["-u", unit]).map(|_| ())
}

pub(super) fn kernel_log(out: &mut dyn Write) -> io::Result<()> {
    if log(out, &["-k"])?.is_ok() {
        return Ok(());
    }
    let printed = run(seconds(3), &["dmesg"]);
    let lines: Vec<&str> = printed.text.lines().collect();
    let from = lines.len().saturating_sub(sources::LOG_LINES as usize);
    lines[from..]
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
}
