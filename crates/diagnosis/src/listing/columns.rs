//! Tables with a header.

/// Where the columns of a table are, by name.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    names: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(header: &'a str) -> Self {
        let names = header.split_whitespace();
        Self {
            names: names.map(|name| name.trim_end_matches(':')).collect(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    pub(super) fn first(&self) -> &'a str {
        self.names.first().copied().unwrap_or_default()
    }

    pub(super) fn last(&self) -> &'a str {
        self.names.last().copied().unwrap_or_default()
    }

    /// A row, cut at blanks; what is too much belongs to the last column.
    pub(super) fn row<'b>(&'b self, line: &'b str) -> Row<'b> {
        let mut cells = Vec::with_capacity(self.names.len());
        let mut rest = line.trim();
        for name in &self.names {
            if cells.len() + 1 == self.names.len() {
                break;
            }
            // `lstart` of ps: weekday, month, day, time, year.
            let words = if *name == "STARTED" && rest.starts_with(|c: char| c.is_alphabetic()) {
                5
            } else {
                1
            };
            let (cell, after) = words_of(rest, words);
            if cell.is_empty() {
                break;
            }
            cells.push(cell);
            rest = after.trim_start();
        }
        if !rest.is_empty() {
            cells.push(rest);
        }
        Row {
            columns: self,
            cells,
        }
    }
}

/// The first words of a text, and the rest of it.
fn words_of(text: &str, count: usize) -> (&str, &str) {
    let mut end = 0;
    for word in text.split_whitespace().take(count) {
        let blank = text
            .get(end..)
            .map_or(0, |rest| rest.len() - rest.trim_start().len());
        end += blank + word.len();
    }
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A row of a table.
#[derive(Debug)]
pub(super) struct Row<'a> {
    columns: &'a Columns<'a>,
    cells: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// The cell of the first of these columns that the table has.
    pub(super) fn cell(&self, names: &[&str]) -> Option<&'a str> {
        let at = names
            .iter()
            .find_map(|name| self.columns.names.iter().position(|one| one == name))?;
        self.cells.get(at).copied()
    }

    /// The same as a number, also `12,5` and `12%`.
    pub(super) fn number(&self, names: &[&str]) -> Option<f64> {
        self.cell(names).and_then(number)
    }

    /// No cell is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.cells.len() == self.columns.names.len()
    }
}

/// A finite number in the forms of several languages.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches('%');
    let number = text.parse().ok();
    let number = number.or_else(|| text.replacen(',', ".", 1).parse().ok());
    number.filter(|number: &f64| number.is_finite())
}

/// Bytes, as `15Gi`, `512M`, `1.5T`, `200`; a bare number in units of `bare`.
pub(super) fn bytes(text: &str, bare: f64) -> Option<f64> {
    let text = text.trim_end_matches('B');
    let text = text.strip_suffix('i').unwrap_or(text);
    let power = match text.chars().last()? {
        'K' | 'k' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        _ => return Some(number(text)? * bare),
    };
    let mut digits = text.chars();
    digits.next_back();
    Some(number(digits.as_str())? * 1024_f64.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_name() {
        let columns = Columns::of("PID STAT STARTED COMMAND");
        let row = columns.row("12 Sl Mon Mar  4 10:00:00 2024 runc --root /a b");
        assert_eq!(row.cell(&["STARTED"]), Some("Mon Mar  4 10:00:00 2024"));
        assert_eq!(row.cell(&["CMD", "COMMAND"]), Some("runc --root /a b"));
        assert!(!columns.row("1 S").is_whole());
        assert_eq!(number("12,5%"), Some(12.5));
        assert_eq!(number("nan"), None);
        assert_eq!(bytes("1.5Gi", 1.0), Some(1.5 * 1024_f64.powi(3)));
        assert_eq!(bytes("16", 1024.0), Some(16384.0));
        assert_eq!(bytes("", 1.0), None);
    }
}
