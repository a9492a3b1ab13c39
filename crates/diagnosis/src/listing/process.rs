//! Processes: `ps`, `top`, stacks and states of `/proc`.

use ::host::{BlockedTask, ContainerId, OldProcess, ProcessId, UnitFacts};

use super::columns::{Columns, Row};
use super::{Gathered, Page};
use crate::Cause::{self, *};
use crate::look::{Waits, waits};
use crate::told::Line;
use crate::{Action, Confidence, Param};

/// Whoever works with containers is done in seconds.
const OLD: u64 = 120;

/// A process in state D for a moment is one that writes; one that began long ago may still be in it for a moment.
const MANY: usize = 3;

/// Programs that others wait for, and those that ask mounts: in state D they are worth a look, alone as well.
const TELLING: &[&str] = &[
    "systemd",
    "dockerd",
    "containerd",
    "kubelet",
    "crio",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "df",
    "umount",
    "mount.nfs",
];

/// `ps` with any columns, and the table of `top`.
pub(super) fn table(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    let named = ["COMMAND", "CMD", "COMM", "ARGS"].contains(&columns.last());
    if !named || !columns.has("PID") {
        return 0;
    }
    let mut read = 1;
    let mut blocked = Vec::new();
    for (at, line) in page.block(at + 1) {
        let row = columns.row(line);
        let Some(process) = Process::of(&row, &columns) else {
            break;
        };
        read += 1;
        process.judge(page.quote(at), gathered);
        if process.state == Some('D') && !process.is_init() {
            blocked.push((
                process.named(),
                process.is_telling(),
                process.waits(),
                page.quote(at),
            ));
        }
    }
    let told = blocked.len() >= MANY || blocked.iter().any(|(_, telling, ..)| *telling);
    if told {
        for (name, _, waits, line) in blocked.iter().take(MANY) {
            let cause = match waits {
                Waits::NetworkMount => NfsHung,
                Waits::Freezer => CgroupFrozen,
                _ => HungTask,
            };
            gathered.suspect(cause, name, 0.0, std::slice::from_ref(line));
        }
    }
    read
}

/// A row.
struct Process<'a> {
    pid: u32,
    state: Option<char>,
    age: Option<u64>,
    channel: Option<&'a str>,
    command: &'a str,
}

impl<'a> Process<'a> {
    fn of(row: &Row<'a>, columns: &Columns<'_>) -> Option<Self> {
        let pid = row.cell(&["PID"])?.parse().ok()?;
        let state = row.cell(&["STAT", "S", "ST", "STATE"]);
        Some(Self {
            pid,
            state: state.and_then(|state| state.chars().next()),
            age: row
                .cell(&["ELAPSED", "ETIME", "ETIMES"])
                .and_then(elapsed)
                .or_else(|| row.cell(&["START", "STIME", "STARTED"]).and_then(days)),
            channel: row.cell(&["WCHAN"]).filter(|channel| *channel != "-"),
            command: row.cell(&[columns.last()])?,
        })
    }

    /// The program, without its path.
    fn program(&self) -> &'a str {
        let first = self.command.split_whitespace().next().unwrap_or_default();
        first.rsplit('/').next().unwrap_or(first)
    }

    fn named(&self) -> String {
        format!("{}:{}", self.program(), self.pid)
    }

    fn is_telling(&self) -> bool {
        TELLING.contains(&self.program()) || self.pid == 1
    }

    /// The child of runc that becomes the container's first process.
    fn is_init(&self) -> bool {
        self.command.contains("runc init") || self.command.contains("runc:[")
    }

    fn waits(&self) -> Waits {
        waits(&BlockedTask {
            task: ProcessId {
                pid: self.pid,
                start: 0,
            },
            pid: self.pid,
            comm: String::new(),
            stack: self.channel.map(str::to_owned).into_iter().collect(),
        })
    }

    /// runc at work for longer than its work takes.
    fn is_old_runc(&self) -> bool {
        let verbs = [
            "create", "exec", "kill", "delete", "state", "events", "start", "run", "pause",
            "update",
        ];
        let runc = ["runc", "docker-runc", "crun"].contains(&self.program());
        let verb = self.command.split_whitespace().skip(1);
        let works = verb.clone().any(|word| verbs.contains(&word));
        runc && works && self.age.is_some_and(|age| age >= OLD)
    }

    fn judge(&self, line: Line, gathered: &mut Gathered) {
        let stopped = matches!(self.state, Some('T' | 't'));
        let id = self
            .command
            .split(|c: char| !c.is_ascii_hexdigit())
            .find_map(|word| ContainerId::new(word).ok());
        let told = &mut gathered.told;
        let is_old = self.age.is_none_or(|age| age >= OLD);
        let grounds: &'static [Cause] = match () {
            () if self.is_init() && self.state == Some('D') && is_old => &[RuncInitDstate],
            () if self.is_init() => return,
            () if self.is_old_runc() && self.state == Some('D') => &[RuncInitDstate],
            () if self.is_old_runc() => &[RuncHung],
            () if stopped && self.program().starts_with("containerd-shim") => &[ShimHung],
            () if stopped && ["kubelet", "dockerd", "containerd"].contains(&self.program()) => {
                let name = match self.program() {
                    "dockerd" => "docker",
                    name => name,
                };
                let unit = UnitFacts {
                    active: "active".to_owned(),
                    sub: "running".to_owned(),
                    pid: Some(self.pid),
                    process_state: self.state,
                    ..UnitFacts::default()
                };
                told.facts.units.insert(name.to_owned(), unit);
                const FROZEN: &[Cause] = &[KubeletFrozen, RuntimeHungDocker, RuntimeHungContainerd];
                told.ground(FROZEN, name, vec![line]);
                return;
            }
            () => return,
        };
        let comm = if self.is_init() {
            "runc:[2:INIT]"
        } else {
            self.program()
        };
        told.facts.old_processes.push(OldProcess {
            process: ProcessId {
                pid: self.pid,
                start: 0,
            },
            comm: comm.to_owned(),
            age: self.age.unwrap_or(OLD),
            state: self.state.unwrap_or('S'),
            container: id,
        });
        told.ground(grounds, &self.pid.to_string(), vec![line]);
    }
}

/// Seconds of `[[DD-]HH:]MM:SS`, or of a bare number.
fn elapsed(text: &str) -> Option<u64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (days.parse::<u64>().ok()?, rest),
        None => (0, text),
    };
    let mut seconds = 0_u64;
    for part in rest.split(':') {
        seconds = seconds
            .checked_mul(60)?
            .checked_add(part.parse::<u64>().ok()?)?;
    }
    days.checked_mul(86_400)?.checked_add(seconds)
}

/// `START` of `ps aux` is a time of day for what began within a day, else a date: then it is a day old at least.
fn days(text: &str) -> Option<u64> {
    let dated = text.starts_with(|c: char| c.is_alphabetic()) && !text.contains(':')
        || text.len() == 4 && text.parse::<u16>().is_ok();
    dated.then_some(86_400)
}

/// A stack as `/proc/PID/stack` shows it: `[<0>] function+0x1/0x2`.
pub(super) fn stack(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let frames: Vec<String> = page.block(at).map_while(|(_, line)| frame(line)).collect();
    if frames.is_empty() {
        return 0;
    }
    let task = BlockedTask {
        task: ProcessId { pid: 0, start: 0 },
        pid: 0,
        comm: String::new(),
        stack: frames,
    };
    // Who it is stands above: a heading with the path, or `Name:` and `State:` of its status.
    let above: Vec<&str> = (at.saturating_sub(8)..at).map(|at| page.line(at)).collect();
    let runc = above
        .iter()
        .any(|line| line.contains("runc:[") || line.contains("runc init"));
    let number = |line: &&str| {
        let (_, rest) = line.split_once("/proc/")?;
        rest.split('/').next()?.parse::<u32>().ok()
    };
    let pid = above.iter().rev().find_map(number);
    let subject = pid.map_or(String::new(), |pid| format!("pid {pid}"));
    let telling = page.quote(at + telling(&task));
    let told = &mut gathered.told;
    let mut show = |cause: Cause, waits: &str| {
        told.show(
            cause,
            Confidence::Medium,
            &subject,
            0.0,
            std::slice::from_ref(&telling),
        );
        if !waits.is_empty() {
            told.with(Param::WaitsFor, waits);
        }
    };
    match waits(&task) {
        Waits::Freezer => show(CgroupFrozen, ""),
        Waits::NetworkMount => show(NfsHung, ""),
        Waits::FrozenFilesystem => {
            show(DiskIoFrozen, "");
            told.remedy(Action::UnfreezeFilesystem);
        }
        _ if runc => show(RuncInitDstate, ""),
        Waits::NetworkLock => show(HungTask, "network-lock"),
        Waits::Memory => show(HungTask, "memory"),
        Waits::Disk => show(HungTask, "disk"),
        Waits::Other => {}
    }
    task.stack.len()
}

/// The first frame that tells what is waited for.
fn telling(task: &BlockedTask) -> usize {
    let alone = |frame: &String| {
        waits(&BlockedTask {
            stack: vec![frame.clone()],
            ..task.clone()
        })
    };
    let whole = waits(task);
    let found = task.stack.iter().position(|frame| alone(frame) == whole);
    found.unwrap_or(0)
}

/// `[<0>] nfs_wait_bit_killable+0x24/0x40 [nfs]`; addresses of older kernels as well.
fn frame(line: &str) -> Option<String> {
    let (address, rest) = line.strip_prefix("[<")?.split_once(">]")?;
    let hex = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = rest.trim_start().split(['+', ' ']).next()?;
    (hex && !name.is_empty()).then(|| name.to_owned())
}

/// `/proc/PID/status` of a `runc init` that waits in the kernel.
pub(super) fn status(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    if !page.line(at).contains("D (disk sleep)") {
        return 0;
    }
    let name = (at.saturating_sub(3)..at)
        .map(|at| page.line(at))
        .find_map(|line| line.strip_prefix("Name:"))
        .unwrap_or_default()
        .trim();
    let line = [page.quote(at)];
    if name.starts_with("runc:[") {
        gathered
            .told
            .show(RuncInitDstate, Confidence::Medium, name, 0.0, &line);
    } else {
        gathered.suspect(HungTask, name, 0.0, &line);
    }
    1
}
