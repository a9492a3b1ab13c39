//! CRC-32 over length-prefixed fields.

use model::{OperationId, Time};

use crate::rows::{AuditRow, OperationRow};

struct Sum(crc32fast::Hasher);

impl Sum {
    fn new() -> Self {
        Self(crc32fast::Hasher::new())
    }

    fn number(mut self, number: i64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self.number(bytes.len() as i64);
        sum.0.update(bytes);
        sum
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn done(self) -> i64 {
        i64::from(self.0.finalize())
    }
}

/// What never changes of an operation; seed of its chain of events.
pub(crate) fn identity(row: &OperationRow) -> i64 {
    let sum = Sum::new()
        .text(row.id.as_str())
        .text(row.cluster.as_str())
        .text(&row.kind)
        .text(&row.by)
        .number(nanoseconds(row.created))
        .number(row.nodes.len() as i64);
    let sum = row.nodes.iter().fold(sum, |sum, node| sum.text(node));
    // Records of version 2 know only operations of this form, and their sums stay valid.
    let plain = row.version == 1 && row.parent.is_none() && row.occupies;
    if plain {
        return sum.done();
    }
    let parent = row.parent.as_ref().map_or("", OperationId::as_str);
    sum.number(i64::from(row.version))
        .text(parent)
        .number(i64::from(row.occupies))
        .done()
}

/// The rest of an operation's row.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) identity: i64,
    pub(crate) last_seq: i64,
    pub(crate) chain: i64,
    pub(crate) format: u32,
    pub(crate) ended: Option<(i64, String)>,
    pub(crate) summary: Option<String>,
}

impl Progress {
    pub(crate) fn seal(&self) -> i64 {
        let sum = Sum::new()
            .number(self.identity)
            .number(self.last_seq)
            .number(self.chain)
            .number(i64::from(self.format));
        let sum = match &self.ended {
            None => sum.number(0),
            Some((at, outcome)) => sum.number(1).number(*at).text(outcome),
        };
        // Records of version 2 have none.
        match &self.summary {
            None => sum,
            Some(summary) => sum.text(summary),
        }
        .done()
    }
}

/// The next link of the chain of events.
pub(crate) fn event(chain: i64, seq: i64, at: i64, format: u32, payload: &[u8]) -> i64 {
    Sum::new()
        .number(chain)
        .number(seq)
        .number(at)
        .number(i64::from(format))
        .bytes(payload)
        .done()
}

pub(crate) fn audit(number: i64, row: &AuditRow) -> i64 {
    Sum::new()
        .number(number)
        .number(nanoseconds(row.at))
        .text(&row.who)
        .text(&row.verb)
        .text(&row.object)
        .text(&row.outcome)
        .text(&row.detail)
        .done()
}

/// A moment as the record keeps it.
pub(crate) fn nanoseconds(at: Time) -> i64 {
    at.as_nanosecond()
        .clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Back from [`nanoseconds`].
pub(crate) fn moment(nanoseconds: i64) -> Time {
    // Every i64 of nanoseconds lies within jiff's range of years -9999 to 9999.
    Time::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Time::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back_to_the_nanosecond() {
        for ns in [i64::MIN, -1, 0, 1_789_000_000_123_456_789, i64::MAX] {
            assert_eq!(nanoseconds(moment(ns)), ns);
        }
        assert_eq!(nanoseconds(Time::MAX), i64::MAX);
        assert_eq!(nanoseconds(Time::MIN), i64::MIN);
    }

    #[test]
    fn every_field_counts() {
        let base = event(1, 2, 3, 4, b"5");
        for other in [
            event(0, 2, 3, 4, b"5"),
            event(1, 0, 3, 4, b"5"),
            event(1, 2, 0, 4, b"5"),
            event(1, 2, 3, 0, b"5"),
            event(1, 2, 3, 4, b"0"),
        ] {
            assert_ne!(base, other);
        }
    }
}
