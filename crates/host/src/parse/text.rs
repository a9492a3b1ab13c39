//! What the parsers share.

/// A section: its head's words, and its lines.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// The first word of its head.
    pub(super) name: &'a str,
    /// What follows it there.
    pub(super) rest: &'a str,
    /// Its lines.
    pub(super) lines: Vec<&'a str>,
}

impl<'a> Section<'a> {
    pub(super) fn first(&self) -> Option<&'a str> {
        self.lines.first().map(|line| line.trim())
    }

    /// Lines of `NAME=VALUE`.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The sections of a text. Lines that are neither head nor indented are passed over.
pub(super) fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix('@') {
            let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
            sections.push(Section {
                name,
                rest,
                lines: Vec::new(),
            });
        } else if let Some(line) = line.strip_prefix(' ')
            && let Some(section) = sections.last_mut()
        {
            section.lines.push(line);
        }
    }
    sections
}

/// A finite number: Rust would also read `inf` and `nan`, which no kernel prints and JSON cannot say.
pub(super) fn float(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

pub(super) fn whole(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `systemctl show` separates units by an empty line.
pub(super) fn blocks<'a>(section: &Section<'a>) -> Vec<Section<'a>> {
    let pieces = section.lines.split(|line| line.trim().is_empty());
    let blocks = pieces.filter(|lines| !lines.is_empty());
    blocks
        .map(|lines| Section {
            name: section.name,
            rest: section.rest,
            lines: lines.to_vec(),
        })
        .collect()
}

/// `/proc/PID/stat`, as far as anybody here needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Pid or thread id.
    pub pid: u32,
    /// Name, at most 15 bytes.
    pub comm: String,
    /// State letter.
    pub state: char,
    /// Its process group.
    pub group: i32,
    /// Start in clock ticks since boot.
    pub start: u64,
}

/// Reads it. The name may hold anything, also spaces and parentheses, so the last parenthesis ends it
/// (`fs/proc/array.c`).
pub fn stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Fields 5 and 22; the state is field 3.
    let group = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    Some(Stat {
        pid: pid.trim().parse().ok()?,
        comm: comm.to_owned(),
        state,
        group,
        start,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_host_prints_is_taken_for_a_head() {
        let text = "noise\n@a b c\n @x\n y\n\n@d\n";
        let found = sections(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name, found[0].rest), ("a", "b c"));
        assert_eq!(found[0].lines, ["@x", "y"]);
        assert!(found[1].lines.is_empty());
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let line = "42 (a) R (b) S 1 42 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987 1 1";
        let expected = Stat {
            pid: 42,
            comm: "a) R (b".to_owned(),
            state: 'S',
            group: 42,
            start: 987,
        };
        assert_eq!(stat(line), Some(expected));
        assert_eq!(stat("42 (a) S 1"), None);
    }
}
