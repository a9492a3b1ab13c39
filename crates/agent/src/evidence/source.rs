//! What each source prints. Runs in a child of the agent.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use host::{Probe, Redactor, sources};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};

use crate::command::{prepare, run};
use crate::probes;

/// The files of a bundle.
pub(super) const NAMES: &[&str] = &[
    "kernel.log",
    "kubelet.log",
    "docker.log",
    "containerd.log",
    "goroutines.txt",
    "blocked-tasks.txt",
    "pressure.txt",
    "mounts.txt",
    "space.txt",
    "processes.txt",
    "versions.txt",
    "units.txt",
    "kubelet-config.txt",
];

/// A line longer than this is cut: a secret in it could not be seen whole.
const LINE: usize = 256 << 10;
/// Journal lines of a bundle; the latest.
const LINES: &str = "200000";

/// Prints a source: its name, seconds, `follow` perhaps. `None`: there is no such source.
pub(crate) fn print(words: &[String], out: &mut dyn Write) -> Option<io::Result<()>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, since, follow) = match words.as_slice() {
        [name, since] => (*name, since.parse().ok()?, false),
        [name, since, "follow"] => (*name, since.parse().ok()?, true),
        _ => return None,
    };
    let out = &mut Redacted::new(out);
    let done = match name {
        "kernel.log" => journal(&["-k"], since, follow, out),
        "kubelet.log" => journal(&["-u", "kubelet.service"], since, follow, out),
        "docker.log" => journal(&["-u", "docker.service"], since, follow, out),
        "containerd.log" => journal(&["-u", "containerd.service"], since, follow, out),
        "goroutines.txt" => goroutines(out),
        "blocked-tasks.txt" => probes::run(Probe::Processes, out).and_then(|()| stacks(out)),
        "pressure.txt" => files(PRESSURE, out),
        "mounts.txt" => files(&["/proc/self/mountinfo"], out),
        "space.txt" => [
            Probe::Mounts,
            Probe::Write,
            Probe::DiskActivity,
            Probe::Descriptors,
        ]
        .into_iter()
        .try_for_each(|probe| probes::run(probe, out)),
        "processes.txt" => processes(out),
        "versions.txt" => files(&["/proc/version", "/etc/os-release"], out)
            .and_then(|()| probes::run(Probe::Packages, out)),
        "units.txt" => units(out),
        "kubelet-config.txt" => files(CONFIGS, out),
        _ => return None,
    };
    Some(done.and_then(|()| out.finish()))
}

const PRESSURE: &[&str] = &[
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/vmstat",
    "/proc/buddyinfo",
    "/proc/cgroups",
    "/proc/swaps",
    "/proc/interrupts",
    "/proc/net/sockstat",
    "/proc/sys/fs/file-nr",
];

const CONFIGS: &[&str] = &[
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/default/kubelet",
    "/etc/sysconfig/kubelet",
    "/etc/docker/daemon.json",
    "/etc/containerd/config.toml",
];

/// Takes secrets out line by line.
struct Redacted<'a> {
    out: &'a mut dyn Write,
    redactor: Redactor,
    line: Vec<u8>,
}

impl<'a> Redacted<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            redactor: Redactor::default(),
            line: Vec::new(),
        }
    }

    fn pass(&mut self, end: usize) -> io::Result<()> {
        let rest = self.line.split_off(end);
        let line = std::mem::replace(&mut self.line, rest);
        let mut clean = String::new();
        self.redactor
            .line(&String::from_utf8_lossy(&line), &mut clean);
        self.out.write_all(clean.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.pass(self.line.len())?;
        self.out.flush()
    }
}

impl Write for Redacted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            self.pass(end + 1)?;
        }
        if self.line.len() > LINE {
            self.line.truncate(LINE);
            self.line.push(b'\n');
            self.pass(self.line.len())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// As it comes, so that a long one needs no memory and a followed one no waiting.
fn journal(which: &[&str], since: u64, follow: bool, out: &mut dyn Write) -> io::Result<()> {
    let since = format!("--since=-{since}s");
    let mut words = vec!["journalctl", "--no-pager", "-q", "-o", "short-iso", &since];
    words.extend(if follow {
        ["-f", "--no-tail"]
    } else {
        ["-n", LINES]
    });
    words.extend(which);
    let missing = || io::Error::other("no journalctl");
    let mut child = prepare(&words).ok_or_else(missing)?.spawn()?;
    let mut lines = BufReader::with_capacity(64 << 10, child.stdout.take().ok_or_else(missing)?);
    loop {
        let count = {
            let bytes = lines.fill_buf()?;
            out.write_all(bytes)?;
            bytes.len()
        };
        if count == 0 {
            break;
        }
        lines.consume(count);
        out.flush()?;
    }
    let status = child.wait()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| io::Error::other("journalctl failed"))
}

fn files(paths: &[&str], out: &mut dyn Write) -> io::Result<()> {
    for path in paths {
        if let Some(text) = probes::read(path) {
            writeln!(out, "== {path}\n{text}")?;
        }
    }
    Ok(())
}

fn numbers(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whole stacks of all tasks in state D at this moment, with addresses.
fn stacks(out: &mut dyn Write) -> io::Result<()> {
    for pid in numbers("/proc") {
        for tid in numbers(&format!("/proc/{pid}/task")) {
            let directory = format!("/proc/{pid}/task/{tid}");
            let stat =
                probes::read(&format!("{directory}/stat")).and_then(|text| host::stat(&text));
            if let Some(stat) = stat.filter(|stat| stat.state == 'D') {
                let stack = probes::read(&format!("{directory}/stack")).unwrap_or_default();
                writeln!(out, "== {tid} of {pid} {}\n{stack}", stat.comm)?;
            }
        }
    }
    Ok(())
}

fn processes(out: &mut dyn Write) -> io::Result<()> {
    for pid in numbers("/proc") {
        let stat = probes::read(&format!("/proc/{pid}/stat")).unwrap_or_default();
        let cgroup = probes::read(&format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let cgroup = cgroup.lines().last().unwrap_or_default();
        if !stat.is_empty() {
            writeln!(out, "{} {cgroup}", stat.trim_end())?;
        }
    }
    Ok(())
}

fn units(out: &mut dyn Write) -> io::Result<()> {
    let limit = Duration::from_secs(4);
    let listed = run(limit, &["systemctl", "--no-pager", "list-units", "--all"]);
    writeln!(out, "{}", listed.text)?;
    let mut words = vec!["systemctl", "--no-pager", "show"];
    words.extend(sources::UNITS);
    writeln!(out, "{}", run(limit, &words).text)
}

/// The daemons' own stacks. dockerd and containerd write them to a file when they get SIGUSR1; any other process would die
/// of it, so it is sent to these two alone, known by name and by program.
fn goroutines(out: &mut dyn Write) -> io::Result<()> {
    let began = SystemTime::now();
    let mut asked = 0;
    for (pid, comm) in probes::daemons::running() {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let program = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let takes_it =
            matches!(comm.as_str(), "dockerd" | "containerd") && program.starts_with(&comm);
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| takes_it) {
            asked += usize::from(rustix::process::kill_process(pid, Signal::USR1).is_ok());
        }
    }
    let until = Instant::now() + Duration::from_secs(4);
    let mut dumps = dumps(began);
    while asked > 0 && dumps.len() < asked && Instant::now() < until {
        // They appear when the daemons come to it; nothing tells when.
        std::thread::sleep(Duration::from_millis(100));
        dumps = self::dumps(began);
    }
    for path in dumps {
        writeln!(out, "== {}", path.display())?;
        // What was looked at by its name may be another by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut dump: fs::File = rustix::fs::open(&path, flags, Mode::empty())?.into();
        let known = dump.metadata()?;
        if known.is_file() && known.uid() == 0 {
            io::copy(&mut dump, out)?;
        }
    }
    Ok(())
}

/// Dumps of the daemons that were written since: plain files of root with their names.
fn dumps(since: SystemTime) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in ["/run/docker", "/tmp"] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_dump = name.starts_with("goroutine-stacks-")
                || name.starts_with("containerd.") && name.ends_with(".stacks.log");
            // Not through a link: `/tmp` is everybody's.
            let Ok(known) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            let is_new = known.modified().is_ok_and(|at| at >= since);
            if is_dump && is_new && known.is_file() && known.uid() == 0 && known.len() > 0 {
                found.push(entry.path());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_get_through_whatever_the_cuts() {
        let text = b"a\npassword=hunter2\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nlast token=abc";
        for cut in 1..text.len() {
            let mut clean = Vec::new();
            let mut out = Redacted::new(&mut clean);
            for piece in text.chunks(cut) {
                out.write_all(piece).unwrap();
            }
            out.finish().unwrap();
            let clean = String::from_utf8(clean).unwrap();
            assert_eq!(
                clean,
                host::redact(std::str::from_utf8(text).unwrap()),
                "cut every {cut} bytes"
            );
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut clean = Vec::new();
        let mut out = Redacted::new(&mut clean);
        out.write_all(&vec![b'x'; 3 * LINE]).unwrap();
        out.write_all(b"y\nnext\n").unwrap();
        out.finish().unwrap();
        assert!(clean.len() < 2 * LINE && clean.ends_with(b"next\n"));
    }

    #[test]
    fn only_sources_of_the_list() {
        let print = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            print(&words, &mut Vec::new())
        };
        assert!(print(&["sshd.log", "5"]).is_none());
        assert!(print(&["kernel.log", "x"]).is_none());
        assert!(print(&["kernel.log"]).is_none());
        assert!(print(&["mounts.txt", "5"]).unwrap().is_ok());
    }
}
