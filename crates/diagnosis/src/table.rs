//! Figures: output of `df`, pressure stall information, kernel counters, `/proc/mdstat`. Thresholds are those of the
//! node_exporter mixin, kubelet's eviction defaults and NPD (`failures.md` §1, §4), each with its own evidence line.

use crate::facts::{Says, Signal};
use crate::line::{Record, cut};
use crate::rule::{leading_number, number_after};
use crate::{Cause, Confidence, Source};

/// What one line of figures says.
pub(crate) fn read(record: &Record<'_>, source: Source, inodes: &mut bool) -> Option<Signal> {
    let text = record.message.trim();
    if text.contains("Use%") {
        *inodes = text.contains("IUse%");
    }
    let says = df(text, *inodes)
        .or_else(|| pressure(text))
        .or_else(|| counter(text))
        .or_else(|| mdstat(text));
    says.map(|(cause, confidence, subject, number)| Signal {
        confidence,
        subject,
        number,
        line: record.number,
        ..Signal::of(
            Says::Shows(cause),
            source,
            cut(record.raw.trim(), 400).to_owned(),
        )
    })
}

type Says4 = (Cause, Confidence, String, f64);

/// File systems that are always full, or not the host's.
const NOT_A_DISK: &[&str] = &[
    "squashfs",
    "/snap/",
    "iso9660",
    "/dev/loop",
    "/dev/sr",
    "udev",
    "devtmpfs",
    "/boot/efi",
    "tmpfs",
    "shm",
];

/// Where kubelet, the runtime and the system write.
const OF_THE_NODE: &[&str] = &["/", "/var", "/var/lib", "/var/log", "/data", "/tmp", "/run"];

/// `df`: device, sizes, use in percent, mount point; `inodes` after the header of `df -i`.
fn df(text: &str, inodes: bool) -> Option<Says4> {
    if NOT_A_DISK.iter().any(|word| text.contains(word)) {
        return None;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| word.ends_with('%'))?;
    let percent = leading_number(words[at]).filter(|_| at >= 4 && words.len() == at + 2)?;
    let mount = words[at + 1];
    let sizes = words[at - 3..at]
        .iter()
        .all(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    if !sizes || !mount.starts_with('/') {
        return None;
    }
    let node = OF_THE_NODE.contains(&mount)
        || ["/var/lib/", "/data/", "/mnt/"]
            .iter()
            .any(|path| mount.starts_with(path))
            && !mount.contains("/pods/");
    match percent {
        _ if !node => None,
        99.0.. if inodes => Some((
            Cause::InodeExhausted,
            Confidence::High,
            mount.to_owned(),
            percent,
        )),
        99.0.. => Some((Cause::DiskFull, Confidence::High, mount.to_owned(), percent)),
        90.0.. => Some((
            Cause::DiskPressure,
            Confidence::Medium,
            mount.to_owned(),
            percent,
        )),
        _ => None,
    }
}

/// `/proc/pressure/cpu:some avg10=92.00 …`; the resource must be in the line.
fn pressure(text: &str) -> Option<Says4> {
    let resource = ["cpu", "io", "memory"]
        .into_iter()
        .find(|resource| text.contains(&format!("pressure/{resource}")))?;
    let avg60 = number_after(text, "avg60=").or_else(|| number_after(text, "avg10="))?;
    let full = text.contains("full ");
    let (cause, limit) = match (resource, full) {
        ("cpu", _) => (Cause::CpuStarved, 80.0),
        ("io", true) => (Cause::DiskIoSaturated, 40.0),
        ("memory", true) => (Cause::MemoryPressure, 20.0),
        _ => return None,
    };
    (avg60 >= limit).then(|| (cause, Confidence::Medium, resource.to_owned(), avg60))
}

/// `/proc/sys/fs/file-nr: 1000000 0 1000000`, `nf_conntrack: 262144 / 262144`.
fn counter(text: &str) -> Option<Says4> {
    let numbers = |text: &str| -> Vec<f64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    if let Some((_, rest)) = text.split_once("file-nr") {
        let [used, _, max] = numbers(rest)[..] else {
            return None;
        };
        return (used >= 0.9 * max)
            .then(|| (Cause::FdExhausted, Confidence::High, String::new(), used));
    }
    let (_, rest) = text.split_once("nf_conntrack_count")?;
    let [used, max] = numbers(rest)[..] else {
        return None;
    };
    (used >= 0.9 * max).then(|| (Cause::ConntrackFull, Confidence::High, String::new(), used))
}

/// `12345 blocks super 1.2 [2/1] [U_]`.
fn mdstat(text: &str) -> Option<Says4> {
    let (_, rest) = text.split_once(" blocks ")?;
    let disks = rest.rsplit_once('[')?.1.strip_suffix(']')?;
    let degraded =
        disks.len() >= 2 && disks.contains('_') && disks.bytes().all(|b| b == b'U' || b == b'_');
    degraded.then(|| (Cause::RaidFailed, Confidence::High, String::new(), 0.0))
}

#[cfg(test)]
mod tests {
    use crate::{Cause, diagnose_text};

    #[test]
    fn figures_are_read() {
        let table: &[(&str, Option<Cause>)] = &[
            (
                "/dev/vda1   41151808 41151808 0 100% /",
                Some(Cause::DiskFull),
            ),
            (
                "/dev/vdb1   200G 199G 1G 100% /var/lib/docker",
                Some(Cause::DiskFull),
            ),
            (
                "/dev/mapper/vg-lv 50G 46G 4.0G 92% /var",
                Some(Cause::DiskPressure),
            ),
            ("/dev/vda1 40G 20G 20G 50% /", None),
            ("/dev/loop3 56M 56M 0 100% /snap/core18/2284", None),
            (
                "Filesystem Inodes IUsed IFree IUse% Mounted on\n/dev/vda1 2621440 2621440 0 100% /",
                Some(Cause::InodeExhausted),
            ),
            ("tmpfs 3.9G 3.9G 0 100% /dev/shm", None),
            (
                "/dev/vdc 20G 20G 0 100% /var/lib/kubelet/pods/x/volumes/kubernetes.io~csi/pv/mount",
                None,
            ),
            (
                "/proc/pressure/io:full avg10=85.10 avg60=70.00 avg300=41.00 total=1",
                Some(Cause::DiskIoSaturated),
            ),
            (
                "/proc/pressure/io:full avg10=0.10 avg60=0.00 avg300=0.00 total=1",
                None,
            ),
            (
                "/proc/pressure/cpu:some avg10=97.10 avg60=95.00 avg300=41.00 total=1",
                Some(Cause::CpuStarved),
            ),
            (
                "/proc/pressure/memory:full avg10=60.10 avg60=35.00 avg300=1.00 total=1",
                Some(Cause::MemoryPressure),
            ),
            ("fs.file-nr = 812000 0 812000", Some(Cause::FdExhausted)),
            ("fs.file-nr = 8120 0 812000", None),
            (
                "nf_conntrack_count 65536 of 65536",
                Some(Cause::ConntrackFull),
            ),
            (
                "      976630336 blocks super 1.2 [2/1] [U_]",
                Some(Cause::RaidFailed),
            ),
            ("      976630336 blocks super 1.2 [2/2] [UU]", None),
        ];
        for (text, cause) in table {
            let report = diagnose_text(text);
            assert_eq!(report.top().map(|top| top.cause), *cause, "{text}");
        }
    }
}
