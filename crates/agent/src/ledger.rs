//! The ledger's file: one line of JSON an entry, each on file before what it announces is done. In the memory of the
//! running system (`/run`), so that a full or broken disk forbids nothing.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use host::{BootId, Entry, Ledger, Order};

/// Where other ways to this host mark the orders that they carry out, as the agent does too.
pub const MARKS: &str = "/run/refloat/orders";

/// The boot that runs.
///
/// # Errors
/// The kernel does not say.
pub fn boot() -> io::Result<BootId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    BootId::new(text.trim()).map_err(io::Error::other)
}

/// What is on file.
#[derive(Debug)]
pub struct LedgerFile {
    file: fs::File,
    /// What it says.
    pub ledger: Ledger,
    marks: PathBuf,
}

/// What another way says of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nobody had it; now it is marked as ours.
    Made,
    /// Another way began it, and this is what it wrote at the end, if it did.
    Known(Option<bool>),
}

impl LedgerFile {
    /// Reads what is there; makes it when there is nothing. A last line that was cut is left out, and cut off for good:
    /// what it announced had not begun.
    ///
    /// # Errors
    /// The file cannot be read or written, or a line in its middle is damaged: then nothing is known, and nothing may be
    /// done.
    pub fn open(directory: &Path, marks: &Path, boot: BootId) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let path = directory.join("ledger.jsonl");
        let mut file = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
            file.sync_data()?;
        }
        let lines = bytes[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let entries: Result<Vec<Entry>, _> = lines.map(serde_json::from_slice).collect();
        // A boot's ledger does not outlive it but where somebody keeps `/run`; orders of another boot are void anyway.
        let ours = |entry: &Entry| !matches!(entry, Entry::Began { order } if order.boot != boot);
        let entries = entries?.into_iter().filter(ours);
        Ok(Self {
            file,
            ledger: Ledger::replay(boot.clone(), entries),
            marks: marks.to_owned(),
        })
    }

    /// Writes an entry and then counts it.
    ///
    /// # Errors
    /// It is not on file, and what it announces must not be done.
    pub fn append(&mut self, entry: Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let before = self.file.metadata()?.len();
        let written = self
            .file
            .write_all(&line)
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line would spoil the next one.
            let _ = self.file.set_len(before);
        }
        written?;
        self.ledger.apply(entry);
        Ok(())
    }

    /// Marks an order for the other ways to this host, and asks whether one of them had it.
    ///
    /// # Errors
    /// It cannot be marked.
    pub fn mark(&self, order: &Order) -> io::Result<Mark> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.marks)?;
        let mark = self.marks.join(order.generation.to_string());
        match fs::DirBuilder::new().mode(0o700).create(&mark) {
            Ok(()) => {
                fs::write(mark.join("order"), host::script::mark(order))?;
                Ok(Mark::Made)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let ended = fs::read_to_string(mark.join("ended")).unwrap_or_default();
                Ok(Mark::Known(match ended.trim() {
                    "ok" => Some(true),
                    "failed" => Some(false),
                    _ => None,
                }))
            }
            Err(error) => Err(error),
        }
    }

    /// An order that began and that is not carried out after all: it is never to be.
    pub fn abandon(&mut self, generation: u64) {
        self.ledger.abandon(generation);
    }

    /// Tells the other ways how it ended. That they do not learn it is no harm: they do not repeat it either.
    pub fn mark_ended(&self, generation: u64, ok: bool) {
        let path = self.marks.join(generation.to_string()).join("ended");
        let _ = fs::write(path, if ok { "ok\n" } else { "failed\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::{Action, Verdict};

    fn boot_id() -> BootId {
        BootId::new("0f0e0d0c-0b0a-0908-0706-050403020100").unwrap()
    }

    fn order(generation: u64) -> Order {
        Order {
            operation: "o".to_owned(),
            generation,
            boot: boot_id(),
            action: Action::ReexecSystemd,
            consent: false,
        }
    }

    fn open(folder: &Path) -> io::Result<LedgerFile> {
        LedgerFile::open(folder, &folder.join("marks"), boot_id())
    }

    #[test]
    fn wherever_the_file_is_cut_what_began_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let mut file = open(folder.path()).unwrap();
        file.append(Entry::Began { order: order(1) }).unwrap();
        let first = fs::metadata(&path).unwrap().len() as usize;
        let ended = Entry::Ended {
            generation: 1,
            ok: true,
            output: "x".to_owned(),
        };
        file.append(ended).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut file = open(folder.path()).unwrap();
            let expected = match cut {
                _ if cut < first => Verdict::Run,
                _ if cut < whole.len() => Verdict::Interrupted,
                _ => Verdict::Repeated {
                    ok: true,
                    output: "x".to_owned(),
                },
            };
            assert_eq!(file.ledger.admit(&order(1)), expected, "cut at {cut}");
            // What comes next is readable.
            file.append(Entry::Began { order: order(2) }).unwrap();
            assert_eq!(open(folder.path()).unwrap().ledger.latest(), Some(2));
        }
    }

    #[test]
    fn damage_within_forbids_everything() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ledger.jsonl"), "{}\n").unwrap();
        assert!(open(folder.path()).is_err());
    }

    #[test]
    fn one_way_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(folder.path()).unwrap();
        assert_eq!(file.mark(&order(7)).unwrap(), Mark::Made);
        assert_eq!(file.mark(&order(7)).unwrap(), Mark::Known(None));
        file.mark_ended(7, true);
        assert_eq!(file.mark(&order(7)).unwrap(), Mark::Known(Some(true)));
    }
}
