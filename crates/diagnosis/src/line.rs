//! A text as records: one per line, freed of the prefixes that journald, syslog, dmesg, klog, logrus, zap and container
//! runtimes put before a message, so that rules see the message whoever carried it.

use serde_json::Value;

/// The program that wrote a line, as far as a rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// The kernel.
    Kernel,
    /// Kubelet.
    Kubelet,
    /// docker, containerd, CRI-O, cri-dockerd, their shims and runc.
    Runtime,
    /// systemd, logind, D-Bus.
    Systemd,
    /// Any other named program.
    Other,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Record<'a> {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// As written.
    pub(crate) raw: &'a str,
    /// The message: prefixes gone, quotes unescaped.
    pub(crate) message: String,
    /// The program of the prefix.
    pub(crate) program: Option<String>,
    /// Who that is.
    pub(crate) unit: Option<Unit>,
    /// It has a prefix of its own, so it does not continue the line before.
    pub(crate) starts: bool,
}

/// The records of a text. Empty lines are dropped.
pub(crate) fn records(text: &str) -> impl Iterator<Item = Record<'_>> {
    text.lines()
        .enumerate()
        .filter(|(_, raw)| !raw.trim().is_empty())
        .map(|(at, raw)| record(at + 1, raw))
}

/// Longer lines are cut: rules look at messages, not at dumps.
const LONGEST: usize = 16 * 1024;

fn record(number: usize, raw: &str) -> Record<'_> {
    let mut rest = cut(raw, LONGEST).trim();
    let mut writer: Option<String> = None;
    let mut starts = false;
    if let Some((program, message)) = json(rest) {
        return Record {
            number,
            raw,
            unit: program.as_deref().map(unit_of),
            program,
            message: clean(&message),
            starts: true,
        };
    }
    let mut klogged = false;
    loop {
        let before = rest;
        klogged |= klog(rest).is_some();
        for strip in [
            priority,
            brackets,
            iso_time,
            syslog_time,
            container_stream,
            klog,
            logrus,
            field,
        ] {
            if let Some(after) = strip(rest) {
                (rest, starts) = (after.trim_start(), true);
            }
        }
        if let Some((program, after)) = program(rest, starts) {
            (rest, starts) = (after.trim_start(), true);
            writer = writer.or_else(|| Some(program.to_owned()));
        }
        if rest.len() == before.len() {
            break;
        }
    }
    Record {
        number,
        raw,
        message: clean(rest),
        // A wrapper script that passes on the log of a component of Kubernetes is not the writer.
        unit: writer
            .as_deref()
            .map(unit_of)
            .filter(|unit| !klogged || *unit != Unit::Other),
        program: writer,
        starts,
    }
}

/// At most `limit` bytes, ending at a character.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn unit_of(program: &str) -> Unit {
    let program = program.rsplit('/').next().unwrap_or(program);
    let program = program.strip_suffix(".service").unwrap_or(program);
    match program {
        "kernel" | "kern" => Unit::Kernel,
        "kubelet" | "kubelet-wrapper" | "hyperkube" | "origin-node" | "kubenswrapper" | "k3s"
        | "rke2" | "k0s" | "microk8s" => Unit::Kubelet,
        "docker"
        | "dockerd"
        | "dockerd-current"
        | "containerd"
        | "crio"
        | "cri-o"
        | "runc"
        | "cri-dockerd"
        | "containerd-shim"
        | "containerd-shim-runc-v2"
        | "docker-containerd"
        | "conmon" => Unit::Runtime,
        _ if program.starts_with("systemd")
            || program.starts_with("dbus")
            || program == "crond" =>
        {
            Unit::Systemd
        }
        _ => Unit::Other,
    }
}

/// `<4>` of the kernel's ring buffer and of syslog's wire format.
fn priority(text: &str) -> Option<&str> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    (!number.is_empty() && number.len() <= 3 && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some(rest)
}

/// `[  480.096044]`, `[Tue Nov 20 22:30:22 2018]`, `[T1234]`; not `[ERROR Swap]` or `[-]syncloop`.
fn brackets(text: &str) -> Option<&str> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let inside = inside.trim();
    let time = inside.contains(|c: char| c.is_ascii_digit())
        && inside.len() <= 40
        && (inside
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
            || inside.contains(':') && inside.ends_with(|c: char| c.is_ascii_digit())
            || inside.starts_with(['T', 'C'])
                && inside[1..].bytes().all(|byte| byte.is_ascii_digit()));
    time.then_some(rest)
}

/// `2023-05-10 15:40:35`, `2025-01-21T04:41:44,285060+00:00`, also after dmesg's `kern  :warn  : `.
fn iso_time(text: &str) -> Option<&str> {
    let text = match text.split_once(" : ") {
        Some((facility, rest)) if facility.len() <= 16 && facility.contains(':') => rest,
        _ => text,
    };
    let bytes = text.as_bytes();
    let date = bytes.len() > 19
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && (bytes[4] == b'-' || bytes[4] == b'/')
        && bytes[10..19].iter().filter(|byte| **byte == b':').count() == 2;
    let end = text.get(11..)?.find(' ')? + 11;
    date.then(|| &text[end..])
}

/// `Mar 13 16:02:43 host ` or `Message from syslogd@host at …`: the time and the host.
fn syslog_time(text: &str) -> Option<&str> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = text.get(..3)?;
    if MONTHS.find(month)? % 3 != 0 {
        return None;
    }
    let mut words = text.split_once(' ')?.1.trim_start().splitn(3, ' ');
    let (day, time) = (words.next()?, words.next()?);
    if day.parse::<u8>().is_err() || time.matches(':').count() != 2 {
        return None;
    }
    words.next()
}

/// The message in `journalctl -o export` and `-o verbose`; in `-o json-pretty` with its key.
fn field(text: &str) -> Option<&str> {
    if let Some(message) = text.strip_prefix("MESSAGE=") {
        return Some(message);
    }
    let value = text.strip_prefix("\"MESSAGE\"")?.trim_start();
    let value = value.strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(value.trim_end_matches([',', '"']))
}

/// CRI log files: `2024-05-01T10:00:00.0Z stderr F message` (the time is gone already).
fn container_stream(text: &str) -> Option<&str> {
    let rest = text
        .strip_prefix("stderr ")
        .or_else(|| text.strip_prefix("stdout "))?;
    rest.strip_prefix("F ").or_else(|| rest.strip_prefix("P "))
}

/// `E0623 03:14:45.912484   22255 file.go:402] `; the file stays, it tells one message from another.
fn klog(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let header = bytes.len() > 21
        && b"IWEF".contains(&bytes[0])
        && bytes[1..5].iter().all(u8::is_ascii_digit)
        && bytes[5] == b' '
        && bytes[8] == b':';
    if !header {
        return None;
    }
    let rest = text.get(6..)?.split_once(' ')?.1.trim_start();
    let (pid, message) = rest.split_once(' ')?;
    pid.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(message)
}

/// `time="…" level=error msg=…` and `ERRO[2021-04-12T16:04:16+08:00] …` of logrus: the time and the level.
fn logrus(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix("time=\"") {
        let rest = rest.split_once('"')?.1.trim_start();
        return Some(match rest.strip_prefix("level=") {
            Some(rest) => rest.split_once(' ')?.1,
            None => rest,
        });
    }
    let level = text.get(..5)?;
    if ["ERRO[", "WARN[", "INFO[", "FATA[", "DEBU["].contains(&level) {
        return Some(text[5..].split_once(']')?.1);
    }
    None
}

/// `kubelet[1450]: `, `kernel: `, `systemd: `, after a host name or not. Without a prefix before it only known programs
/// count, since `word: ` begins many messages.
fn program(text: &str, starts: bool) -> Option<(&str, &str)> {
    let kernel = text
        .split_once(':')
        .filter(|(head, _)| head.ends_with("kernel"));
    let (head, rest) = kernel.or_else(|| text.split_once(": "))?;
    let mut words = head.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    let levels = [
        "err", "warn", "warning", "info", "notice", "crit", "emerg", "alert",
    ];
    let name = match (second, words.next()) {
        (None, _) => first,
        (Some(second), None) if levels.contains(&second) => first,
        (Some(second), None) if starts => second,
        (Some(second), Some(level)) if starts && levels.contains(&level) => second,
        _ => return None,
    };
    let (name, pid) = match name.split_once('[') {
        Some((name, pid)) => (name, pid.ends_with(']')),
        None => (name, false),
    };
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_./()".contains(&byte));
    if name.ends_with(".service") {
        return None; // what systemd speaks of, not who speaks
    }
    let known = unit_of(name) != Unit::Other;
    (plain && !name.is_empty() && (pid || known && name != "docker")).then_some((name, rest))
}

/// The message fields of a JSON log line (zap, journald's export, docker's json-file), with who wrote it.
fn json(text: &str) -> Option<(Option<String>, String)> {
    let object = text.find('{').map(|at| &text[at..])?;
    if !text.ends_with('}') || text.len() - object.len() > 64 {
        return None;
    }
    let Value::Object(fields) = serde_json::from_str(object).ok()? else {
        return None;
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let mut parts: Vec<&str> = ["caller", "msg", "message", "MESSAGE", "log", "err", "error"]
        .into_iter()
        .filter_map(text)
        .collect();
    // journald gives what is no UTF-8, or has control characters in it, as numbers.
    let numbers = fields.get("MESSAGE").and_then(Value::as_array);
    let bytes = numbers.map(|numbers| {
        let bytes = numbers.iter().filter_map(Value::as_u64);
        let bytes: Vec<u8> = bytes.filter_map(|byte| u8::try_from(byte).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    parts.extend(bytes.as_deref());
    if parts.is_empty() {
        return None;
    }
    let program = text("SYSLOG_IDENTIFIER").or_else(|| text("_COMM"));
    Some((program.map(str::to_owned), parts.join(" ")))
}

/// Quotes unescaped however deep, escaped newlines and rsyslog's `#011` as spaces.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '#', '\t']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let (gone, with) = if tail.starts_with("#011") {
            (4, " ")
        } else if tail.starts_with('\t') {
            (1, " ")
        } else if tail.starts_with('\\') {
            let run = tail.len() - tail.trim_start_matches('\\').len();
            match tail.as_bytes().get(run) {
                Some(b'n' | b't') => (run + 1, " "),
                _ => (run, ""),
            }
        } else {
            (1, "#")
        };
        out.push_str(with);
        rest = &tail[gone..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(raw: &str) -> (Option<Unit>, String, bool) {
        let record = record(1, raw);
        (record.unit, record.message, record.starts)
    }

    #[test]
    fn prefixes_go_and_the_writer_stays() {
        let table = [
            (
                "Mar 13 16:02:43 vk kubelet[1450]: I0313 16:02:43.934473    1450 kubelet.go:1778] skipping",
                Some(Unit::Kubelet),
                "kubelet.go:1778] skipping",
            ),
            (
                "Nov 14 17:36:57 ip-10 sh[1327]: E1114 06:36:57.967933    1327 reflector.go:205] Failed",
                None,
                "reflector.go:205] Failed",
            ),
            ("[8643296.448116] SLUB: Unable", None, "SLUB: Unable"),
            ("<0>[2315424.098863] Kernel panic", None, "Kernel panic"),
            (
                "[Tue Nov 20 22:30:22 2018] nf_conntrack: x",
                None,
                "nf_conntrack: x",
            ),
            (
                "[Sun Dec  1 14:54:40 2024] hostname kernel: mlx5: x",
                Some(Unit::Kernel),
                "mlx5: x",
            ),
            (
                "Mar 21 23:01:54 e2e kernel: [  480.096044] INFO: task a:1 b",
                Some(Unit::Kernel),
                "INFO: task a:1 b",
            ),
            (
                "2023-05-10 15:40:35 in4 kernel[-] err: [  245.356952] INFO: task",
                Some(Unit::Kernel),
                "INFO: task",
            ),
            (
                "2024-05-10T15:40:35+0800 in4 containerd[12]: time=\"2024-05-10T15:40:35Z\" level=error msg=\"a \\\"b\\\"\"",
                Some(Unit::Runtime),
                "msg=\"a \"b\"\"",
            ),
            (
                "kern  :warn  : 2025-01-21T04:41:44,285060+00:00 VFS: file-max",
                None,
                "VFS: file-max",
            ),
            ("[-]syncloop failed: x", None, "[-]syncloop failed: x"),
            ("[ERROR Swap]: running", None, "[ERROR Swap]: running"),
            (
                r#"10.2.1.3: {"ts":1,"caller":"a.go:1","msg":"m","err":"e \"q\""}"#,
                None,
                "a.go:1 m e \"q\"",
            ),
            (
                r#"{"MESSAGE":"hello","SYSLOG_IDENTIFIER":"kubelet"}"#,
                Some(Unit::Kubelet),
                "hello",
            ),
            (
                r#"{"MESSAGE":[104,105,27],"_COMM":"dockerd"}"#,
                Some(Unit::Runtime),
                "hi\u{1b}",
            ),
            (
                "MESSAGE=E0501 10:00:00.123456       1 a.go:1] m",
                None,
                "a.go:1] m",
            ),
            ("\t\"MESSAGE\" : \"XFS (sda1): x\",", None, "XFS (sda1): x"),
            (
                " kernel:unregister_netdevice: x",
                Some(Unit::Kernel),
                "unregister_netdevice: x",
            ),
            (
                "2024-05-01T10:00:00.123Z stderr F E0501 10:00:00.123456       1 a.go:1] m",
                None,
                "a.go:1] m",
            ),
            (
                "ERRO[2021-04-12T16:04:16+08:00] containerd did",
                None,
                "containerd did",
            ),
        ];
        for (raw, unit, message) in table {
            let (got_unit, got, starts) = one(raw);
            assert_eq!((got_unit, got.as_str()), (unit, message), "{raw}");
            assert_eq!(
                starts,
                !raw.starts_with("[-]") && !raw.starts_with("[ERR"),
                "{raw}"
            );
        }
    }
}
