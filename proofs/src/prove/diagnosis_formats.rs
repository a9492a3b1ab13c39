//! Messages that are known, in every wrapper a message comes in; lines of healthy hosts, many at a time.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use diagnosis::{Cause, Confidence, diagnose_text};

use super::random::Random;
use super::{Args, Proof, Size, Verdict};
use xtask::{output, run};

pub(super) const PROOF: Proof = Proof {
    name: "diagnosis-formats",
    what: "known messages get their cause in whatever wrapper they come, and the lines of healthy hosts decide nothing",
    time: ["5 s", "3 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

async fn run(args: Args) -> Result<Verdict> {
    let mut random = Random::new(args.seed);
    let (share, all) = known(&mut random)?;
    let wanted = if args.size == Size::Full {
        400_000
    } else {
        10_000
    };
    let (lines, alarms) = healthy(&mut random, wanted)?;
    Ok(Verdict::new(
        share >= 99.0 && alarms == 0 && lines >= wanted,
        format!("{share:.2} % of {all} texts right, {alarms} alarms on {lines} healthy lines"),
    ))
}

/// A file of texts beside the tests of the rules.
pub(super) fn data(name: &str) -> Result<String> {
    let path = run::root().join("crates/diagnosis/tests/data").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// A text, and what it shows.
struct Known {
    cause: Option<Cause>,
    undetermined: bool,
    text: String,
}

/// The texts of a file in blocks: `== cause`, `?` where probes decide.
fn blocks(file: &str) -> Vec<Known> {
    let (mut cause, mut undetermined) = (None, false);
    let mut blocks = Vec::new();
    for block in file.split("\n\n").map(|block| block.trim_matches('\n')) {
        let (head, text) = match block.strip_prefix("== ") {
            Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
            None => ("", block),
        };
        if let Some(label) = head.split(' ').next().filter(|label| !label.is_empty()) {
            cause = Cause::from_label(label);
            undetermined = head.split(' ').any(|word| word == "?");
        }
        if !text.is_empty() && !text.starts_with('#') {
            let text = text.to_owned();
            blocks.push(Known {
                cause,
                undetermined,
                text,
            });
        }
    }
    blocks
}

/// The share of known texts that are right in their wrappers, percent, and how many there are.
fn known(random: &mut Random) -> Result<(f64, usize)> {
    let mut by_wrapper: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut right, mut all) = (0, 0);
    for file in ["variants.txt", "mechanisms.txt"] {
        for known in blocks(&data(file)?) {
            for (wrapper, text) in wrapped(&known.text, random) {
                let fits = fits(&known, &text);
                let tally = by_wrapper.entry(wrapper).or_default();
                *tally = (tally.0 + usize::from(fits), tally.1 + 1);
                (right, all) = (right + usize::from(fits), all + 1);
                if !fits {
                    let cause = known.cause.map_or("silent", Cause::label);
                    output::line(&format!("missed {cause} in {wrapper}: {text:.300}"));
                }
            }
        }
    }
    for (wrapper, (right, all)) in &by_wrapper {
        output::line(&format!("{wrapper:<20} {right:>6} of {all}"));
    }
    Ok((right as f64 * 100.0 / all.max(1) as f64, all))
}

fn fits(known: &Known, text: &str) -> bool {
    let report = diagnose_text(text);
    match (known.cause, report.top()) {
        (None, top) => top.is_none(),
        (Some(cause), Some(top)) => top.cause == cause && top.is_decided() != known.undetermined,
        (Some(_), None) => false,
    }
}

/// Who wrote a line that has no name of its own before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Kernel,
    Kubelet,
    Runtime(&'static str),
    Systemd,
    /// Its lines have their writer, or nobody's prefix.
    Named,
}

/// A text in each of the wrappers its lines may come in.
fn wrapped(text: &str, random: &mut Random) -> Vec<(&'static str, String)> {
    let writers: Vec<(Writer, &str)> = text.lines().map(writer).collect();
    let first = writers.first().map_or(Writer::Named, |(writer, _)| *writer);
    let writer = if writers.iter().all(|(writer, _)| *writer == first) {
        first
    } else {
        Writer::Named
    };
    let at = Moment::new(random);
    let wrap = |wrapper: &&'static str| {
        let lines = writers
            .iter()
            .zip(text.lines())
            .map(|((_, message), line)| {
                let line = if writer == Writer::Named {
                    line
                } else {
                    message
                };
                at.wrap(wrapper, writer, line)
            });
        (*wrapper, lines.collect::<Vec<_>>().join("\n"))
    };
    writer.wrappers().iter().map(wrap).collect()
}

/// The writer by the line's own prefix, and what is behind it.
fn writer(line: &str) -> (Writer, &str) {
    let bytes = line.as_bytes();
    let klog = bytes.len() > 21
        && b"IWEF".contains(&bytes[0])
        && bytes[1..5].iter().all(u8::is_ascii_digit)
        && bytes[8] == b':';
    if klog {
        return (Writer::Kubelet, line);
    }
    if let Some(message) = line.strip_prefix("kernel: ") {
        return (Writer::Kernel, message);
    }
    let uptime = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "));
    match uptime {
        Some((time, message)) if time.trim().parse::<f64>().is_ok() => (Writer::Kernel, message),
        _ => (Writer::Named, line),
    }
}

impl Writer {
    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Kubelet => "kubelet",
            Self::Runtime(name) => name,
            Self::Systemd => "systemd",
            Self::Named => "",
        }
    }

    fn wrappers(self) -> &'static [&'static str] {
        match self {
            Self::Kernel => &[
                "dmesg",
                "dmesg -T",
                "dmesg -x",
                "raw",
                "syslog",
                "syslog with uptime",
                "short-iso",
                "json",
            ],
            Self::Kubelet => &[
                "plain",
                "syslog",
                "short-iso",
                "json",
                "export",
                "kubectl logs",
                "cri",
            ],
            Self::Runtime(_) => &["plain", "syslog", "short-iso", "json", "export"],
            Self::Systemd => &["syslog", "short-iso", "json"],
            Self::Named => &["plain", "crlf", "indented"],
        }
    }
}

/// When and where a line was written.
struct Moment {
    host: &'static str,
    pid: u64,
    second: u64,
    micro: u64,
    uptime: u64,
}

impl Moment {
    fn new(random: &mut Random) -> Self {
        let hosts = [
            "w1",
            "node-7.shop.example",
            "ip-10-0-3-17",
            "cn-hangzhou.10.0.0.9",
            "aks-pool1-3-vmss00000a",
        ];
        Self {
            host: hosts[random.below(hosts.len() as u64) as usize],
            pid: 300 + random.below(60_000),
            second: random.below(60),
            micro: random.below(1_000_000),
            uptime: 3_000 + random.below(90_000_000),
        }
    }

    fn wrap(&self, wrapper: &str, writer: Writer, line: &str) -> String {
        let Self {
            host,
            pid,
            second,
            micro,
            uptime,
        } = self;
        let name = writer.name();
        let process = match writer {
            Writer::Kernel => name.to_owned(),
            _ => format!("{name}[{pid}]"),
        };
        match wrapper {
            "dmesg" => format!("[{uptime:>5}.{micro:06}] {line}"),
            "raw" => format!("<3>[{uptime:>5}.{micro:06}] {line}"),
            "dmesg -x" => format!("kern  :err   : [{uptime:>5}.{micro:06}] {line}"),
            "dmesg -T" => format!("[Mon Mar  4 10:07:{second:02} 2024] {line}"),
            "syslog" => format!("Mar  4 10:07:{second:02} {host} {process}: {line}"),
            "syslog with uptime" => {
                format!("Mar  4 10:07:{second:02} {host} kernel: [{uptime:>5}.{micro:06}] {line}")
            }
            "short-iso" => format!("2024-03-04T10:07:{second:02}+0800 {host} {process}: {line}"),
            "json" => serde_json::json!({
                "__REALTIME_TIMESTAMP": format!("17095180{second:02}{micro:06}"),
                "SYSLOG_IDENTIFIER": name,
                "_PID": pid.to_string(),
                "MESSAGE": line,
            })
            .to_string(),
            "export" => format!("_HOSTNAME={host}\nSYSLOG_IDENTIFIER={name}\nMESSAGE={line}\n"),
            "kubectl logs" => format!("[pod/{name}-{host}/{name}] {line}"),
            "cri" => format!("2024-03-04T10:07:{second:02}.{micro:06}Z stderr F {line}"),
            "crlf" => format!("{line}\r"),
            "indented" => format!("  {line}"),
            _ => line.to_owned(),
        }
    }
}

/// Lines of healthy hosts in all their wrappers, with other values each time.
pub(super) fn healthy_lines(random: &mut Random) -> Result<Vec<String>> {
    let mut writer = Writer::Named;
    let mut lines = Vec::new();
    for line in data("healthy.txt")?.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            writer = match name {
                "kernel" => Writer::Kernel,
                "kubelet" => Writer::Kubelet,
                "containerd" => Writer::Runtime("containerd"),
                "dockerd" => Writer::Runtime("dockerd"),
                "cri-dockerd" => Writer::Runtime("cri-dockerd"),
                "systemd" => Writer::Systemd,
                _ => Writer::Named,
            };
        } else if !line.is_empty() && !line.starts_with("# ") && !line.starts_with("~ ") {
            let at = Moment::new(random);
            let line = filled(line, random);
            let own = match writer {
                Writer::Kubelet => format!(
                    "W0304 10:07:{:02}.{:06} {:>7} {line}",
                    at.second, at.micro, at.pid
                ),
                Writer::Runtime(_) => format!("time=\"2024-03-04T10:07:{:02}Z\" {line}", at.second),
                _ => line,
            };
            let wrappers = writer.wrappers().iter();
            lines.extend(wrappers.map(|wrapper| at.wrap(wrapper, writer, &own)));
        }
    }
    Ok(lines)
}

/// Other values for what differs from host to host.
fn filled(line: &str, random: &mut Random) -> String {
    let mut hex = |digits: usize| -> String {
        let digit = |_| char::from_digit(random.below(16) as u32, 16);
        (0..digits).filter_map(digit).collect()
    };
    let uuid = [8, 4, 4, 4, 12].map(&mut hex).join("-");
    let (id, short) = (hex(64), hex(8));
    let disks = ["sda", "sdb", "sdc", "sdk"];
    let disk = disks[random.below(disks.len() as u64) as usize].to_owned();
    let ip = format!("10.{}.{}.7", random.below(256), random.below(256));
    let number = (10 + random.below(90_000)).to_string();
    [
        ("{uuid}", uuid),
        ("{id}", id),
        ("{hex}", short),
        ("{ip}", ip),
        ("{n}", number),
        ("{disk}", disk),
    ]
    .iter()
    .fold(line.to_owned(), |line, (name, value)| {
        line.replace(name, value)
    })
}

/// At least so many lines of healthy hosts, hundreds at a time: a day has many, and whatever they say together counts.
fn healthy(random: &mut Random, wanted: usize) -> Result<(usize, usize)> {
    let (mut lines, mut alarms) = (0, 0);
    while lines < wanted && alarms < 20 {
        let day = healthy_lines(random)?;
        lines += day.len();
        for hours in day.chunks(500) {
            let report = diagnose_text(&hours.join("\n"));
            let decided = report.findings.iter().filter(|one| one.is_decided());
            for finding in decided.filter(|one| one.confidence > Confidence::Low) {
                alarms += 1;
                let quote = finding.evidence.first().map(|one| one.quote.as_str());
                let quote = quote.unwrap_or_default();
                output::line(&format!("alarm {}: {quote}", finding.cause));
            }
        }
    }
    output::line(&format!("healthy lines {lines}, alarms {alarms}"));
    Ok((lines, alarms))
}
