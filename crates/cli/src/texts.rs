//! Texts to be diagnosed: files, folders, archives and what is piped in, read together as one text of which each part keeps
//! its line numbers. What gzip packed (rotated logs, bundles of evidence, must-gathers) is read as it is.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::exit::Exit;
use crate::failure::Failure;

/// So much text at most: it is held in memory, and whoever has more is to say which hours matter.
const LIMIT: u64 = 256 << 20;

/// What files that are no texts begin with, and what they are.
const PACKED: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"LPKSHHRH", "journald"),
];

const GZIP: &[u8] = b"\x1f\x8b";

/// Files of a bundle of evidence that repeat what others tell: the findings of then, and pods.
const REPEATED: &[&str] = &["findings.json", "pods.json"];

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
            if path.is_dir() {
                texts.folder(path)?;
            } else {
                let (name, bytes) = bytes(path, texts.room())?;
                texts.add(name, bytes)?;
            }
        }
        match texts.empty.first() {
            Some(failure) if texts.parts.is_empty() => Err(failure.clone()),
            _ => Ok(texts),
        }
    }

    fn room(&self) -> u64 {
        LIMIT.saturating_sub(self.text.len() as u64)
    }

    /// All texts below a folder, by name.
    fn folder(&mut self, path: &Path) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| unreadable(&path.display().to_string(), &error);
        let entries = std::fs::read_dir(path).map_err(unreadable)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        paths.sort();
        for path in paths {
            // A link may lead out of the folder, or round in it.
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                self.folder(&path)?;
            } else if path.is_file() {
                let (name, bytes) = bytes(&path, self.room())?;
                self.member(name, bytes)?;
            }
        }
        Ok(())
    }

    /// A file of a folder or an archive: what is no text is passed over.
    fn member(&mut self, name: String, bytes: Vec<u8>) -> Result<(), Failure> {
        let file = name.rsplit('/').next().unwrap_or_default();
        if REPEATED.contains(&file) {
            return Ok(());
        }
        match self.add(name, bytes) {
            Err(failure) if failure.code == "text_packed" || failure.code == "text_binary" => {
                Ok(())
            }
            other => other,
        }
    }

    fn add(&mut self, name: String, bytes: Vec<u8>) -> Result<(), Failure> {
        let about = |code: &'static str| Failure::new(code).with("path", name.as_str());
        if let Some((_, kind)) = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Err(about("text_packed").with("kind", *kind));
        }
        if bytes.starts_with(GZIP) {
            let mut unpacked = Vec::new();
            let limit = self.room();
            let read = MultiGzDecoder::new(&bytes[..])
                .take(limit + 1)
                .read_to_end(&mut unpacked);
            if unpacked.len() as u64 > limit {
                return Err(about("text_too_large").with("limit", LIMIT >> 20));
            }
            // One that is cut is read as far as it goes.
            if let Err(error) = read
                && unpacked.is_empty()
            {
                return Err(unreadable(&name, &error));
            }
            return self.add(name, unpacked);
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return self.archive(&name, &bytes);
        }
        if is_binary(&bytes) {
            return Err(about("text_binary"));
        }
        let text = decode(&bytes);
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

    /// The files of a tar.
    fn archive(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive
            .entries()
            .map_err(|error| unreadable(name, &error))?;
        for entry in entries {
            // One that is cut is read as far as it goes.
            let Ok(mut entry) = entry else { break };
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path().map(|path| path.display().to_string());
            let mut content = Vec::new();
            let _ = entry.read_to_end(&mut content);
            self.member(path.unwrap_or_else(|_| name.to_owned()), content)?;
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

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::new("text_unreadable")
        .with("path", name)
        .with("reason", error.to_string())
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
        return Err(unreadable(&name, &error));
    }
    if bytes.len() as u64 > limit {
        return Err(Failure::new("text_too_large")
            .with("path", name)
            .with("limit", LIMIT >> 20));
    }
    Ok((name, bytes))
}

/// Zeros in its beginning, where no text of single bytes has one; UTF-16 says itself what it is.
fn is_binary(bytes: &[u8]) -> bool {
    let wide = matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
    // A torn write leaves a run of zeros in a log: a text has words before it.
    let begin = &bytes[..bytes.len().min(512)];
    let zeros = begin.iter().filter(|byte| **byte == 0).count();
    !wide && (bytes.starts_with(b"\x7fELF") || zeros * 10 > begin.len())
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
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_keep_their_place() {
        let mut texts = Texts::default();
        texts.add("a".into(), b"1\n2\n3".to_vec()).unwrap();
        assert_eq!(texts.place(2), (None, 2));
        texts.add("empty".into(), b" \n\n".to_vec()).unwrap();
        texts.add("b".into(), b"1\n2\n".to_vec()).unwrap();
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
        for (bytes, code) in [
            (&b"\xfd7zXZ\x00..."[..], "text_packed"),
            (b"\x7fELF\x02\x01", "text_binary"),
            (b"\x00\x01\x00\x02", "text_binary"),
            (b"\x1f\x8b\x08", "text_unreadable"),
        ] {
            let failure = Texts::default()
                .add("x".into(), bytes.to_vec())
                .unwrap_err();
            assert_eq!(failure.code, code);
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn packed_logs_bundles_and_folders_are_read() {
        let mut texts = Texts::default();
        texts
            .add("kubelet.log-1.gz".into(), gzip(b"one\ntwo\n"))
            .unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in [
            ("n1/kernel.log", &b"three\n"[..]),
            ("n1/findings.json", b"{}"),
            ("n1/program", b"\x7fELF\x00"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content).unwrap();
        }
        texts
            .add("n1.tar.gz".into(), gzip(&tar.into_inner().unwrap()))
            .unwrap();
        assert_eq!(texts.text, "one\ntwo\nthree\n");
        assert_eq!(texts.place(3), (Some("n1/kernel.log"), 1));

        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("b");
        std::fs::create_dir(&below).unwrap();
        std::fs::write(below.join("x.gz"), gzip(b"2\n")).unwrap();
        std::fs::write(folder.path().join("a"), "1\n").unwrap();
        std::os::unix::fs::symlink(folder.path(), below.join("round")).unwrap();
        let texts = Texts::read(&[folder.path().to_owned()]).unwrap();
        assert_eq!(texts.text, "1\n2\n");
    }
}
