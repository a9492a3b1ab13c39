//! Order of package versions by the rules of the real tools, and which builds of systemd lose their bus.

use std::cmp::Ordering;

use serde::Serialize;

/// rpm's order of `[EPOCH:]VERSION[-RELEASE]` (lib/rpmver.c, rpm 4.18: a missing epoch is 0, a missing release is
/// older than any).
pub fn compare_rpm(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of_rpm(a), Parts::of_rpm(b));
    segments(a.epoch, b.epoch)
        .then_with(|| segments(a.version, b.version))
        .then_with(|| match (a.release, b.release) {
            (Some(a), Some(b)) => segments(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        })
}

struct Parts<'a> {
    epoch: &'a str,
    version: &'a str,
    release: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of_rpm(text: &'a str) -> Self {
        let (epoch, rest) = split_epoch(text);
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release)),
            None => (rest, None),
        };
        Self {
            epoch,
            version,
            release,
        }
    }
}

fn split_epoch(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
            (if epoch.is_empty() { "0" } else { epoch }, rest)
        }
        _ => ("0", text),
    }
}

/// `rpmvercmp` (rpmio/rpmvercmp.c): runs of digits or letters; `~` before everything, even the end; `^` after the end
/// but before a further segment.
fn segments(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let separator = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'~' && *byte != b'^';
        a = skip(a, separator);
        b = skip(b, separator);
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) | (None, Some(b'^')) => return Ordering::Less,
            (_, Some(b'~')) | (Some(b'^'), None) => return Ordering::Greater,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) => match (x.is_ascii_digit(), y.is_ascii_digit()) {
                (true, false) => return Ordering::Greater,
                (false, true) => return Ordering::Less,
                (true, true) => {
                    let (x, rest_a) = run(a, u8::is_ascii_digit);
                    let (y, rest_b) = run(b, u8::is_ascii_digit);
                    let order = numbers(x, y);
                    if order.is_ne() {
                        return order;
                    }
                    (a, b) = (rest_a, rest_b);
                }
                (false, false) => {
                    let (x, rest_a) = run(a, u8::is_ascii_alphabetic);
                    let (y, rest_b) = run(b, u8::is_ascii_alphabetic);
                    let order = x.cmp(y);
                    if order.is_ne() {
                        return order;
                    }
                    (a, b) = (rest_a, rest_b);
                }
            },
        }
    }
}

fn skip(text: &[u8], what: impl Fn(&u8) -> bool) -> &[u8] {
    let at = text.iter().position(|byte| !what(byte));
    &text[at.unwrap_or(text.len())..]
}

fn run(text: &[u8], what: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let at = text.iter().position(|byte| !what(byte));
    text.split_at(at.unwrap_or(text.len()))
}

/// Decimal numbers of any length.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (skip(a, |byte| *byte == b'0'), skip(b, |byte| *byte == b'0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// dpkg's order of `[EPOCH:]UPSTREAM[-REVISION]` (deb-version(7); lib/dpkg/version.c `verrevcmp`).
pub fn compare_debian(a: &str, b: &str) -> Ordering {
    let split = |text| {
        let (epoch, rest): (&str, &str) = split_epoch(text);
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
    };
    let (a, b) = (split(a), split(b));
    numbers(a.0, b.0)
        .then_with(|| debian_part(a.1, b.1))
        .then_with(|| debian_part(a.2, b.2))
}

fn debian_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) if !byte.is_ascii_digit() => i32::from(*byte) + 256,
        _ => 0,
    };
    while !a.is_empty() || !b.is_empty() {
        let (mut x, rest_a) = run(a, |byte| !byte.is_ascii_digit());
        let (mut y, rest_b) = run(b, |byte| !byte.is_ascii_digit());
        while !x.is_empty() || !y.is_empty() {
            let order = weight(x.first()).cmp(&weight(y.first()));
            if order.is_ne() {
                return order;
            }
            (x, y) = (x.get(1..).unwrap_or(&[]), y.get(1..).unwrap_or(&[]));
        }
        let (x, rest_a) = run(rest_a, u8::is_ascii_digit);
        let (y, rest_b) = run(rest_b, u8::is_ascii_digit);
        let order = numbers(x, y);
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// Whether a build of systemd stops answering on the bus after 2^32 messages (`failures.md` §0.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum SystemdGate {
    /// It does.
    Affected {
        /// The first fixed build of its branch.
        fixed_in: &'static str,
    },
    /// It has the fix.
    Fixed,
    /// Not a build the rule speaks of (another distribution, another major version).
    Unknown,
}

/// The rule of Red Hat's Insights `OCP_SYSTEMD_DBUS_REGRESSION`: branch 7.6 is fixed from 219-62.el7_6.9 on, everything
/// older from 219-67.el7 on; RHEL 8 from 239-16 on (bug 1694999; of its older update branches nothing is known). Gated on the distribution tag, since letters compare
/// (`219-67.alios7` is older than `219-67.el7`). Takes `rpm -q` output, with or without name, epoch and architecture.
pub fn systemd_gate(package: &str) -> SystemdGate {
    let version = package.trim();
    let version = version.strip_prefix("systemd-").unwrap_or(version);
    let version = ["x86_64", "aarch64", "i686", "ppc64le", "s390x", "noarch"]
        .iter()
        .find_map(|arch| version.strip_suffix(arch)?.strip_suffix('.'))
        .unwrap_or(version);
    let below = |fixed: &str| compare_rpm(version, fixed).is_lt();
    match dist_tag(version) {
        Some("el7") if below("219-62.el7") => SystemdGate::Affected {
            fixed_in: "219-67.el7",
        },
        Some("el7") if below("219-67.el7") && below("219-62.el7_6.9") => SystemdGate::Affected {
            fixed_in: "219-62.el7_6.9",
        },
        Some("el8") if version.ends_with(".el8") && below("239-16.el8") => SystemdGate::Affected {
            fixed_in: "239-16.el8",
        },
        Some("el8") if below("239-16.el8") => SystemdGate::Unknown,
        Some("el7" | "el8") => SystemdGate::Fixed,
        _ => SystemdGate::Unknown,
    }
}

/// `el7` of `67.el7`, `62.el7_6.9` and `67.el7.centos`; nothing of another vendor's rebuild.
fn dist_tag(version: &str) -> Option<&str> {
    let release = version.rsplit_once('-')?.1;
    let at = release.find(".el")? + 1;
    let (tag, rest) = release[at..].split_at(3.min(release.len() - at));
    let own = rest.is_empty() || rest.starts_with('_') || rest.starts_with(".centos");
    (own && tag.len() == 3).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rpm_order_is_that_of_rpm_4_18() {
        let table = include_str!("../tests/data/rpm-version-order.tsv");
        let mut pairs = 0;
        for row in table.lines().skip(1) {
            let [a, b, cmp] = row.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let expected = cmp.parse::<i8>().unwrap().cmp(&0);
            assert_eq!(compare_rpm(a, b), expected, "{a} against {b}");
            pairs += 1;
        }
        assert_eq!(pairs, 1024);
    }

    #[test]
    fn debian_order_is_that_of_dpkg() {
        // Answers of dpkg --compare-versions 1.21, and the examples of deb-version(7).
        let ascending = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0",
            "1.0a",
            "1.0+b1",
            "1.0.1",
            "1.2",
            "1.10",
            "237-3ubuntu10",
            "237-3ubuntu10.31",
            "245.4-4ubuntu3",
            "247.3-7+deb11u4",
            "252.22-1~deb12u1",
            "252.22-1",
            "252.22-1+b1",
            "257~rc1-1",
            "257-1",
            "1:0.1-1",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare_debian(a, b), i.cmp(&j), "{a} against {b}");
            }
        }
        assert_eq!(compare_debian("0:1.0-1", "1.0-1"), Ordering::Equal);
        assert_eq!(compare_debian("1.0", "1.0-0"), Ordering::Equal);
        assert_eq!(compare_debian("1.00", "1.0"), Ordering::Equal);
    }

    #[test]
    fn the_fixed_branch_of_7_6_is_not_affected() {
        let affected = |fixed_in| SystemdGate::Affected { fixed_in };
        for (package, gate) in [
            ("systemd-219-57.el7.x86_64", affected("219-67.el7")),
            ("219-57.el7_5.5", affected("219-67.el7")),
            ("219-42.el7_4.1", affected("219-67.el7")),
            ("systemd-219-62.el7", affected("219-62.el7_6.9")),
            ("219-62.el7_6.5", affected("219-62.el7_6.9")),
            ("219-62.el7_6.9", SystemdGate::Fixed),
            ("219-62.el7_6.10", SystemdGate::Fixed),
            ("219-67.el7", SystemdGate::Fixed),
            ("219-78.el7_9.9", SystemdGate::Fixed),
            ("0:219-57.el7", affected("219-67.el7")),
            ("219-67.alios7", SystemdGate::Unknown),
            ("219-62.6.alios7.8", SystemdGate::Unknown),
            ("219-57.amzn2.0.12", SystemdGate::Unknown),
            ("219-67.el7.cgslv5.0.14.g2212dcb.lite", SystemdGate::Unknown),
            ("239-13.el8", affected("239-16.el8")),
            ("239-13.el8_0.5", SystemdGate::Unknown),
            ("239-82.el8", SystemdGate::Fixed),
            ("252-14.el9", SystemdGate::Unknown),
            ("245.4-4ubuntu3.22", SystemdGate::Unknown),
        ] {
            assert_eq!(systemd_gate(package), gate, "{package}");
        }
    }
}
