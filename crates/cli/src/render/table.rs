//! Columns as kubectl prints them; wide characters count twice.

use phrases::plain;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: usize = 3;

/// No cell is wider: a namespace with a name fits (63 + 253), and one cell cannot push all others off the screen.
const CELL: usize = 320;

/// Rows under a header, with lines that belong to a row below it.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<(Vec<String>, Vec<String>)>,
}

impl Table {
    pub(crate) fn new(header: Vec<String>) -> Self {
        Self {
            header,
            rows: Vec::new(),
        }
    }

    /// A row. Cells are foreign text: each is one line, and steers nothing.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.iter().map(|cell| cut(&plain(cell), CELL)).collect();
        self.rows.push((cells, Vec::new()));
    }

    /// A line below the newest row.
    pub(crate) fn below(&mut self, line: String) {
        if let Some((_, lines)) = self.rows.last_mut() {
            lines.push(plain(&line).into_owned());
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| cell.width()).collect();
        for (cells, _) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.width());
            }
        }
        let line = |cells: &[String]| {
            let mut line = String::new();
            for (at, cell) in cells.iter().enumerate() {
                line.push_str(cell);
                if at + 1 < cells.len() {
                    let width = widths.get(at).copied().unwrap_or_default();
                    line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + GAP));
                }
            }
            line.trim_end().to_owned()
        };
        let mut lines = vec![line(&self.header)];
        for (cells, below) in &self.rows {
            lines.push(line(cells));
            lines.extend(below.iter().cloned());
        }
        lines
    }
}

/// The beginning of a text that is at most so wide.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    // Of a character sequence the whole counts, which only the whole text tells; each character can only add to it.
    let (mut out, mut wide) = (String::new(), "…".width());
    for c in text.chars() {
        wide += c.width().unwrap_or_default();
        if wide > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_aligned() {
        let mut table = Table::new(vec!["名称".into(), "STATUS".into()]);
        table.row(vec!["hz-1".into(), "不可用".into()]);
        table.below("  x".into());
        table.row(vec!["节点二".into(), String::new()]);
        assert_eq!(
            table.lines(),
            ["名称     STATUS", "hz-1     不可用", "  x", "节点二"]
        );
    }

    #[test]
    fn a_cell_is_one_line_of_bounded_width() {
        let mut table = Table::new(vec!["A".into(), "B".into()]);
        table.row(vec!["x\r\n\x1b[2Jforged".into(), "b".repeat(10_000)]);
        table.below("l\x1b]0;t\x07\nm".into());
        let lines = table.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].starts_with("x^M ^[[2Jforged   bbb") && lines[1].width() <= 2 * CELL);
        assert_eq!(lines[2], "l^[]0;t^G m");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("节点节点", 5), "节点…");
    }
}
