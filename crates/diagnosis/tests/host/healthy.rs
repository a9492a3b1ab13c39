//! What programs write on healthy hosts (`data/healthy.txt`) is no trouble: alone it decides nothing, and where a look
//! shows that all is well it says nothing at all.

use diagnosis::{Report, diagnose_text};
use host::{HostFacts, Journal};

use crate::hosts::{Api, NOW, containerd_host, docker_host, log};
use crate::{by_both, by_host};

/// A line, who writes it, and whether it is trouble when nobody looks.
struct Line {
    by: &'static str,
    waits: bool,
    text: String,
}

fn lines() -> Vec<Line> {
    let mut by = "";
    let mut lines = Vec::new();
    for line in include_str!("../data/healthy.txt").lines() {
        if let Some(writer) = line.strip_prefix("== ") {
            by = writer;
        } else if !line.is_empty() && !line.starts_with("# ") {
            let (waits, text) = match line.strip_prefix("~ ") {
                Some(text) => (true, text),
                None => (false, line),
            };
            let text = fill(text);
            lines.push(Line { by, waits, text });
        }
    }
    lines
}

/// Values for what differs from host to host.
fn fill(line: &str) -> String {
    [
        ("{uuid}", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
        (
            "{id}",
            "5b1e0c7a9d3f5b1e0c7a9d3f5b1e0c7a9d3f5b1e0c7a9d3f5b1e0c7a9d3f5b1e",
        ),
        ("{hex}", "3fa9c21d"),
        ("{ip}", "10.20.30.40"),
        ("{n}", "48213"),
        ("{disk}", "sdb"),
    ]
    .iter()
    .fold(line.to_owned(), |line, (name, value)| {
        line.replace(name, value)
    })
}

impl Line {
    /// As `journalctl -o short-iso` prints it, a few minutes before the look.
    fn journalled(&self) -> String {
        let time = jiff::Timestamp::from_second(NOW - 300).unwrap();
        let time = time.strftime("%Y-%m-%dT%H:%M:%S+0000");
        let text = &self.text;
        match self.by {
            "kubelet" => format!("{time} n kubelet[801]: W0115 07:55:00.000000     801 {text}"),
            "containerd" | "dockerd" | "cri-dockerd" if !text.starts_with("level=") => {
                format!("{time} n {}", text.replacen(": ", "[101]: ", 1))
            }
            "containerd" | "dockerd" | "cri-dockerd" => {
                format!(
                    "{time} n {}[802]: time=\"2027-01-15T07:55:00Z\" {text}",
                    self.by
                )
            }
            "kernel" => format!("{time} n kernel: {text}"),
            "systemd" => format!("{time} n systemd[1]: {text}"),
            _ => format!("{time} n {text}"),
        }
    }

    /// The same, and that systemd started kubelet anew where it was its last word.
    fn got_over(&self) -> String {
        let last = [
            "\"command failed\"",
            "Failed to run kubelet",
            "Failed to listen and serve",
        ];
        let line = self.journalled();
        if !last.iter().any(|mark| self.text.contains(mark)) {
            return line;
        }
        let time = line.split(' ').next().unwrap_or_default();
        format!("{line}\n{time} n systemd[1]: Started kubelet: The Kubernetes Node Agent.\n")
    }

    /// In whose journals it may stand.
    fn journals(&self) -> &'static [Journal] {
        match self.by {
            "kernel" => &[Journal::Kernel],
            "kubelet" => &[Journal::Kubelet],
            "containerd" => &[Journal::Containerd],
            "dockerd" | "cri-dockerd" => &[Journal::Docker],
            "systemd" => &[Journal::Kubelet, Journal::Containerd, Journal::Docker],
            _ => &[],
        }
    }
}

fn said(report: &Report) -> Vec<String> {
    let findings = report.findings.iter();
    findings
        .map(|one| {
            let decided = one.is_decided();
            format!(
                "{} {} decided={decided} ({})",
                one.cause, one.confidence, one.remedy
            )
        })
        .collect()
}

fn assert_none(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_healthy_line_decides_nothing() {
    let mut wrong = Vec::new();
    for line in lines().iter().filter(|line| !line.waits) {
        for text in [line.text.clone(), line.journalled()] {
            let report = diagnose_text(&text);
            if report.top().is_some() {
                wrong.push(format!("{:?}\n    {text}", said(&report)));
            }
        }
    }
    assert_none(&wrong);
}

/// Kubelet and runtimes that have run for days, and that were started a moment before the look.
fn ages() -> [(&'static str, Option<u64>); 2] {
    [("old", Some(90_000)), ("young", Some(20))]
}

#[test]
fn a_healthy_host_is_silent_whatever_its_logs_tell() {
    let mut wrong = Vec::new();
    for (era, facts) in [("containerd", containerd_host()), ("docker", docker_host())] {
        for (age, seconds) in ages() {
            let mut facts = facts.clone();
            for unit in facts.units.values_mut() {
                unit.active_seconds = seconds;
            }
            let mut all = HostFacts {
                logs: Vec::new(),
                ..facts.clone()
            };
            for line in lines() {
                for journal in line.journals() {
                    let mut with = facts.clone();
                    with.logs.push(log(*journal, &line.got_over()));
                    all.logs.push(log(*journal, &line.got_over()));
                    let report = by_both(&with, Api::Ready);
                    if !report.is_silent() {
                        wrong.push(format!(
                            "{era}, {age}: {:?}\n    {}",
                            said(&report),
                            line.text
                        ));
                    }
                    // Where nobody asked the API a start that waits may not be over.
                    let report = by_host(&with);
                    if !line.waits && report.findings.iter().any(|one| one.is_decided()) {
                        wrong.push(format!(
                            "{era}, {age}, host alone: {:?}\n    {}",
                            said(&report),
                            line.text
                        ));
                    }
                }
            }
            let report = by_both(&all, Api::Ready);
            if !report.is_silent() {
                wrong.push(format!("{era}, {age}, all lines: {:?}", said(&report)));
            }
        }
    }
    assert_none(&wrong);
}
