//! Texts to be diagnosed: files and what is piped in, read together as one text of which each part keeps its line
//! numbers.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::failure::Failure;

/// So much text at most: it is held in memory, and whoever has more is to say which hours matter.
const LIMIT: u64 = 256 << 20;

/// What files that are no texts begin with, and what they are.
const PACKED: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"LPKSHHRH", "journald"),
    (b"\x7fELF", "ELF"),
];

/// Several texts as one.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// All of it.
    pub(crate) text: String,
    /// Name of each part, and how many lines there are before it.
    parts: Vec<(String, usize)>,
    /// Lines in all.
    pub(crate) lines: usize,
    /// Parts without a word in them.
    pub(crate) empty: Vec<Failure>,
}

impl Texts {
    /// Reads the files; what is piped in stands for `-` and for no file at all.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, Failure> {
        let piped = [PathBuf::from("-")];
        let files = if files.is_empty() { &piped } else { files };
        let mut texts = Self::default();
        for path in files {
            let (name, bytes) = bytes(path, LIMIT.saturating_sub(texts.text.len() as u64))?;
            texts.add(name, &bytes)?;
        }
        match texts.empty.first() {
            Some(failure) if texts.parts.is_empty() => Err(failure.clone()),
            _ => Ok(texts),
        }
    }

    fn add(&mut self, name: String, bytes: &[u8]) -> Result<(), Failure> {
        let about = |code: &str| Failure::new(code).with("path", name.as_str());
        if let Some((_, kind)) = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Err(about("text_packed").with("kind", *kind));
        }
        let text = decode(bytes);
        if text.trim().is_empty() {
            self.empty.push(about("text_empty"));
            return Ok(());
        }
        self.parts.push((name, self.lines));
        self.lines += text.lines().count();
        self.text.push_str(&text);
        if !text.ends_with('\n') {
            self.text.push('\n');
        }
        Ok(())
    }

    /// Where a line of the whole is: the part's name when there are several, and the line in it.
    pub(crate) fn place(&self, line: usize) -> (Option<&str>, usize) {
        let part = self.parts.iter().rev().find(|(_, before)| *before < line);
        match part {
            Some((name, before)) => {
                let several = self.parts.len() > 1;
                (several.then_some(name.as_str()), line - before)
            }
            None => (None, line),
        }
    }
}

/// A name for people and at most so many bytes.
fn bytes(path: &Path, limit: u64) -> Result<(String, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    let piped = path == Path::new("-");
    let name = if piped {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    };
    let read = if piped {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::new("text_missing").exiting(Exit::Usage));
        }
        stdin.lock().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        return Err(Failure::new("text_unreadable")
            .with("path", name)
            .with("reason", error.to_string()));
    }
    if bytes.len() as u64 > limit {
        return Err(Failure::new("text_too_large")
            .with("path", name)
            .with("limit", LIMIT >> 20));
    }
    Ok((name, bytes))
}

/// Text of any encoding that logs come in. What is not UTF-8 (GBK in a path, a torn write) is replaced: the words of
/// kubelet and the kernel are ASCII.
fn decode(bytes: &[u8]) -> String {
    // What PowerShell's `>` writes.
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..]
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_place() {
        let mut texts = Texts::default();
        texts.add("a".into(), b"1\n2\n3").unwrap();
        assert_eq!(texts.place(2), (None, 2));
        texts.add("empty".into(), b" \n\n").unwrap();
        texts.add("b".into(), b"1\n2\n").unwrap();
        assert_eq!(texts.text, "1\n2\n3\n1\n2\n");
        assert_eq!(texts.place(3), (Some("a"), 3));
        assert_eq!(texts.place(4), (Some("b"), 1));
        assert_eq!((texts.lines, texts.empty.len()), (5, 1));
    }

    #[test]
    fn every_encoding_is_read_and_packed_files_are_told() {
        assert_eq!(decode(b"\xff\xfea\0b\0"), "ab");
        assert_eq!(decode(b"\xfe\xff\0a\0b"), "ab");
        assert_eq!(
            decode(b"/data/\xb4\xc5 full"),
            "/data/\u{fffd}\u{fffd} full"
        );
        let failure = Texts::default()
            .add("x.gz".into(), b"\x1f\x8b\x08")
            .unwrap_err();
        assert_eq!(failure.code, "text_packed");
    }
}
