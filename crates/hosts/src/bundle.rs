//! Evidence as one file: a gzipped tar that an engineer or a vendor can open.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::way::Pieces;

/// The most that all files of a bundle may have together, in bytes. What comes after is left out, and the bundle says so.
pub const BUNDLE_LIMIT: usize = 64 << 20;

/// So many files a host may send; the agent has a dozen.
const FILES: usize = 64;

/// What this side says itself; no host may write into it.
const OURS: &[&str] = &[
    "node.json",
    "pods.json",
    "findings.json",
    "facts.json",
    MISSING,
];
const MISSING: &str = "MISSING.txt";
/// So many things that are missing are told.
const MISSES: usize = 64;

/// Files by name.
#[derive(Debug, Default)]
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    size: usize,
    /// What is not in it, and why.
    missing: Vec<String>,
}

impl Bundle {
    /// Adds a file, or to a file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let room = BUNDLE_LIMIT - self.size;
        let kept = &bytes[..bytes.len().min(room)];
        if kept.len() < bytes.len() && !self.missing.iter().any(|line| line.starts_with(name)) {
            self.missing
                .push(format!("{name}: cut, the bundle is full"));
        }
        self.size += kept.len();
        self.files
            .entry(name.to_owned())
            .or_default()
            .extend_from_slice(kept);
    }

    /// Takes everything that a host sends. That it broke off is noted, and what came before is kept: half the evidence
    /// of a broken host is worth more than none.
    pub async fn take(&mut self, mut pieces: Pieces) {
        while let Some(piece) = pieces.recv().await {
            match piece {
                Ok(piece) if self.takes(&piece.file) => self.add(&piece.file, &piece.bytes),
                Ok(piece) => {
                    self.miss(&format!("{}: not a file that a host may add", piece.file));
                }
                Err(error) => self.miss(&error.to_string()),
            }
        }
    }

    fn takes(&self, name: &str) -> bool {
        let ours = OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name));
        !ours && (self.files.len() < FILES || self.files.contains_key(name))
    }

    /// Notes that something is not in it. The words may be a host's: they are one line of bounded length.
    pub fn miss(&mut self, why: &str) {
        if self.missing.len() < MISSES {
            let why = why.chars().take(500);
            let why = why.flat_map(|c| {
                if c.is_control() {
                    c.escape_default().collect()
                } else {
                    vec![c]
                }
            });
            self.missing.push(why.collect());
        }
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Names of its files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// As a gzipped tar, all files in a folder of this name. Secrets are taken out once more, whoever sent the text.
    ///
    /// # Errors
    /// Writing to memory does not fail; a file's name may be too long for a tar.
    pub fn pack(self, folder: &str, at: jiff::Timestamp) -> std::io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut append = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(u64::try_from(at.as_second()).unwrap_or_default());
            tar.append_data(&mut header, format!("{folder}/{name}"), bytes)
        };
        for (name, bytes) in &self.files {
            match std::str::from_utf8(bytes) {
                Ok(text) => append(name, host::redact(text).as_bytes())?,
                Err(_) => append(
                    name,
                    host::redact(&String::from_utf8_lossy(bytes)).as_bytes(),
                )?,
            }
        }
        if !self.missing.is_empty() {
            append(MISSING, (self.missing.join("\n") + "\n").as_bytes())?;
        }
        let mut gzip = tar.into_inner()?;
        gzip.flush()?;
        gzip.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn it_opens_as_a_tar_and_says_what_is_missing() {
        let mut bundle = Bundle::default();
        bundle.add("kubelet.log", b"line 1\n");
        bundle.add(
            "kubelet.log",
            b"token: Bearer abcdefghijklmnopqrstuvwxyz012345\n",
        );
        bundle.miss("n1 did not answer within 30 s");
        assert!(!bundle.is_complete());
        let packed = bundle.pack("n1", jiff::Timestamp::UNIX_EPOCH).unwrap();
        let mut files = BTreeMap::new();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), text);
        }
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["n1/MISSING.txt", "n1/kubelet.log"]);
        assert!(files["n1/kubelet.log"].starts_with("line 1\n"));
        assert!(!files["n1/kubelet.log"].contains("abcdefghijklmnopqrstuvwxyz012345"));
    }

    #[tokio::test]
    async fn a_host_writes_neither_what_is_ours_nor_without_end() {
        let (sender, pieces) = tokio::sync::mpsc::channel(1000);
        let names = OURS
            .iter()
            .map(ToString::to_string)
            .chain((0..500).map(|at| format!("f{at}")));
        for file in names {
            let piece = crate::way::Piece {
                file,
                bytes: b"x\n".to_vec(),
            };
            sender.send(Ok(piece)).await.unwrap();
        }
        drop(sender);
        let mut bundle = Bundle::default();
        bundle.take(pieces).await;
        assert_eq!(bundle.names().count(), FILES);
        assert!(!bundle.names().any(|name| OURS.contains(&name)));
        bundle.miss(&"\u{1b}[2J\n".repeat(1000));
        assert!(bundle.missing.len() <= MISSES);
        assert!(!bundle.missing.concat().contains(['\u{1b}', '\n']));
    }

    #[test]
    fn it_is_never_larger_than_its_limit() {
        let mut bundle = Bundle::default();
        bundle.add("a", &vec![b'x'; BUNDLE_LIMIT - 1]);
        bundle.add("b", b"yyy");
        assert_eq!(bundle.size, BUNDLE_LIMIT);
        assert!(!bundle.is_complete());
    }
}
