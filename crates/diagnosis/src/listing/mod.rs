//! Listings: what tools print of a host's state (`ps`, `iostat`, `mdadm`, `kubectl get nodes`, …). One is known by its
//! header or its shape, wherever in a text it stands; its figures become the facts that a look would have found, so that
//! the same rules judge them. What is read here is taken out of the text: a column is no message.
//!
//! Columns are found by their names, never by their place: versions of a tool differ in that.

mod cluster;
mod columns;
mod disk;
mod document;
mod files;
mod hardware;
mod load;
mod network;
mod process;
mod time;
mod unit;

use std::sync::OnceLock;

use ::host::{HostFacts, Outcome, Probe, Reading};
use aho_corasick::AhoCorasick;
use model::ConditionStatus;

use crate::facts::{Facts, Hint, Says};
use crate::rule::Rules;
use crate::told::{Line, Told};
use crate::{Cause, Confidence, Source};

/// Reads a listing whose mark stands in line `at`; how many lines from there on were of it, 0 where it is none.
type Reader = fn(&Page<'_>, usize, &mut Gathered) -> usize;

/// What the header of a listing, or a line that no other text has, contains.
const MARKS: &[(&str, Reader)] = &[
    ("PID", process::table),
    ("[<", process::stack),
    ("State:\t", process::status),
    ("load average:", load::averages),
    ("CPU(s):", load::cpus),
    ("Cpu(s):", load::time_of_cpus),
    ("total ", load::free),
    ("总计", load::free),
    ("swpd", load::vmstat),
    ("%util", load::devices),
    ("| busy", load::atop),
    ("avg-cpu:", load::iowait),
    ("Raid Level :", disk::mdadm),
    ("Personalities :", disk::mdstat),
    ("ATTRIBUTE_NAME", disk::attributes),
    ("ritical", disk::nvme),
    ("edia", disk::nvme),
    ("vailable", disk::nvme),
    ("grown defect list:", disk::grown_defects),
    ("Completed: read failure", disk::self_test),
    ("MOUNTPOINT", disk::block_devices),
    ("Label", hardware::error_count),
    ("DIMM", hardware::summary),
    ("rrected Errors", hardware::edac_util),
    ("Active: ", unit::status),
    (".service", unit::listed),
    ("NAME", cluster::table),
    ("Live Restore Enabled:", cluster::live_restore),
    ("> mtu ", network::link),
    ("sockstat", network::heading),
    ("TCP: inuse", network::sockets),
    ("insert_failed=", network::conntrack),
    ("ip r", network::routes),
    ("of NTP time", time::tracking),
    ("LastRx", time::sources),
    ("refid", time::peers),
    ("506 Cannot talk to daemon", time::silent),
    ("MemTotal:", files::meminfo),
    ("zone", files::buddyinfo),
    ("#subsys_name", files::cgroups),
    (" avg10=", files::pressure),
    ("/proc/", files::file),
    ("nf_conntrack_", files::sysctl),
    ("tcp_mem", files::sysctl),
    ("file-nr", files::sysctl),
    ("pid_max", files::sysctl),
    ("threads-max", files::sysctl),
    ("gc_thresh3", files::sysctl),
    ("kind: ", document::kind),
    ("conditions:", document::conditions),
];

/// The lines of a text.
pub(crate) struct Page<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Page<'a> {
    /// A line without blanks around it; nothing behind the end.
    fn line(&self, at: usize) -> &'a str {
        self.lines.get(at).map_or("", |line| line.trim())
    }

    /// The lines from there on, up to the next empty one, each with its place.
    fn block(&self, at: usize) -> impl Iterator<Item = (usize, &'a str)> + '_ {
        let lines = self.lines.get(at..).unwrap_or_default();
        let lines = lines.iter().enumerate();
        lines
            .map(move |(offset, line)| (at + offset, line.trim()))
            .take_while(|(_, line)| !line.is_empty())
    }

    /// The line as a ground of what it shows.
    fn quote(&self, at: usize) -> Line {
        Line::new(at + 1, self.lines.get(at).copied().unwrap_or_default())
    }
}

/// A condition of a node, or a message, in a document.
#[derive(Debug)]
struct Said {
    /// Type and status of a condition.
    condition: Option<(String, ConditionStatus)>,
    words: String,
    at: Line,
}

/// What the listings of a text say.
#[derive(Default)]
pub(crate) struct Gathered {
    told: Told,
    /// Files of `/proc` in the form of [`Probe::Files`].
    files: String,
    /// The file of `/proc` that was named last.
    file: Option<String>,
    /// CPUs, and the share of their time the hypervisor takes.
    cpus: Option<u32>,
    steal: Option<f64>,
    /// The last load average.
    load: Option<([f64; 3], Line)>,
    /// Reports of disks, the oldest first.
    devices: Vec<Vec<load::Device>>,
    /// Time spent waiting for disks, percent.
    iowait: Option<(f64, Line)>,
    /// Pages that TCP has, and may have at most.
    tcp: (Option<(u64, Line)>, Option<u64>),
    /// What the document is that is being read, and how far it is indented.
    kind: Option<(usize, String)>,
    said: Vec<Said>,
    /// A look that a bundle holds.
    pub(crate) look: Option<HostFacts>,
}

impl Gathered {
    /// Something may be so; what decides is a probe.
    fn suspect(&mut self, cause: Cause, subject: &str, number: f64, lines: &[Line]) {
        let says = Says::Hint(Hint::Suspects(cause));
        let told = &mut self.told;
        told.say(says, Confidence::Low, subject, number, lines);
    }

    /// A file of the host.
    fn file(&mut self, name: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        self.files.push('@');
        self.files.push_str(name);
        self.files.push('\n');
        for line in lines {
            self.files.push(' ');
            self.files.push_str(line.as_ref());
            self.files.push('\n');
        }
    }

    /// Brings together what stands in several listings.
    fn finish(&mut self) {
        load::judge(self);
        network::judge(self);
        let files = Reading {
            probe: Probe::Files,
            outcome: Outcome::Done { code: 0 },
            millis: 0,
            text: std::mem::take(&mut self.files),
        };
        let read = HostFacts::from_readings(&[files]);
        let facts = &mut self.told.facts;
        facts.memory = read.memory;
        facts.limits = read.limits;
        facts.pressure = read.pressure;
        facts.load = read.load;
        facts.cpus = self.cpus;
        facts.steal = self.steal;
    }

    /// Adds what they say.
    pub(crate) fn judge(&self, facts: &mut Facts) {
        self.told.judge(Source::Listing, facts);
        for said in &self.said {
            let Line { number, text } = &said.at;
            match &said.condition {
                Some((kind, status)) => crate::condition::Row {
                    kind,
                    status: *status,
                    words: &said.words,
                }
                .read(Source::Text, *number, text, facts),
                None => Rules::get().read_line(&said.words, Source::Text, *number, text, facts),
            }
        }
    }
}

fn marks() -> &'static AhoCorasick {
    static MARKED: OnceLock<AhoCorasick> = OnceLock::new();
    MARKED.get_or_init(|| {
        // The words are literals of this file; the builder fails only on gigabytes of them.
        #[expect(clippy::expect_used, reason = "constant input, built by every test")]
        AhoCorasick::new(MARKS.iter().map(|(mark, _)| mark)).expect("the marks make an automaton")
    })
}

/// The listings in a text, and what else is in it, each line in its place; nothing where there are none.
pub(crate) fn split(text: &str) -> Option<(Gathered, String)> {
    let documents = document::may_hold(text);
    if !documents && marks().find(text).is_none() {
        return None;
    }
    let page = Page {
        lines: text.lines().collect(),
    };
    let mut taken = vec![false; page.lines.len()];
    let mut gathered = Gathered::default();
    let mut at = 0;
    while at < page.lines.len() {
        let read = if documents && document::begins(page.lines[at]) {
            document::json(&page, at, &mut gathered)
        } else {
            0
        };
        let read = if read > 0 {
            read
        } else {
            marks()
                .find_overlapping_iter(page.lines[at])
                .map(|mark| MARKS[mark.pattern().as_usize()].1(&page, at, &mut gathered))
                .max()
                .unwrap_or(0)
        };
        let end = page.lines.len().min(at + read);
        taken[at..end].fill(true);
        at = end.max(at + 1);
    }
    gathered.finish();
    let mut rest = String::with_capacity(text.len());
    for (line, taken) in page.lines.iter().zip(taken) {
        if !taken {
            rest.push_str(line);
        }
        rest.push('\n');
    }
    Some((gathered, rest))
}
