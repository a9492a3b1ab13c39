//! What each probe does, in a child of its own. The texts are those that [`host::HostFacts::from_readings`] reads; their
//! form is told there, and the script of [`host::script`] prints the same.

mod cgroups;
mod containerd;
pub(crate) mod daemons;
mod docker;
mod kubelet;
mod processes;
mod services;
mod storage;

use std::fs;
use std::io::{self, Read as _, Write};

use host::{Probe, sources};

pub(crate) use processes::{counts as process_counts, is_alive};

/// Runs a probe; what it finds goes to `out` as soon as it is found, since it may be killed.
pub(crate) fn run(probe: Probe, out: &mut dyn Write) -> io::Result<()> {
    match probe {
        Probe::Files => files(out),
        Probe::Processes => processes::processes(out),
        Probe::Descriptors => processes::descriptors(out),
        Probe::Mounts => storage::mounts(out),
        Probe::Write => storage::write_trials(out),
        Probe::DiskActivity => storage::activity(out),
        Probe::Units => services::units(out),
        Probe::Bus => services::bus(out),
        Probe::Docker => docker::probe(out),
        Probe::Containerd => containerd::probe(out),
        Probe::Kubelet => kubelet::healthz(out),
        Probe::Certificates => kubelet::certificates(out),
        Probe::ApiServer => kubelet::api_server(out),
        Probe::Clock => services::clock(out),
        Probe::Freezer => cgroups::frozen(out),
        Probe::Packages => services::packages(out),
        Probe::KernelLog => services::kernel_log(out),
        Probe::KubeletLog => services::journal(out, "kubelet.service"),
        Probe::DockerLog => services::journal(out, "docker.service"),
        Probe::ContainerdLog => services::journal(out, "containerd.service"),
    }
}

/// The most of a small file that is read, in bytes.
const SMALL: u64 = 1 << 20;

/// A small file, or what can be read of it.
pub(crate) fn read(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    let read = file.take(SMALL).read_to_end(&mut bytes);
    (read.is_ok() || !bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// A section's lines.
fn indent(out: &mut dyn Write, text: &str) -> io::Result<()> {
    text.lines().try_for_each(|line| writeln!(out, " {line}"))
}

/// Constant files; the only probe that needs no child, because none of them can hang.
pub(crate) fn files(out: &mut dyn Write) -> io::Result<()> {
    for pattern in sources::FILES {
        for path in expand(pattern) {
            let Some(text) = read(&path) else {
                continue;
            };
            writeln!(out, "@{path}")?;
            for line in text.lines().filter(|line| sources::is_wanted(&path, line)) {
                writeln!(out, " {line}")?;
            }
        }
    }
    Ok(())
}

/// One `*`, for one name.
fn expand(pattern: &str) -> Vec<String> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![pattern.to_owned()];
    };
    let mut names: Vec<String> = names(before);
    names.sort();
    names
        .iter()
        .map(|name| format!("{before}{name}{after}"))
        .collect()
}

/// Names in a directory; none when it cannot be read.
fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Numbers in a directory: processes, threads, descriptors.
fn numbers(directory: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = names(directory)
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}
