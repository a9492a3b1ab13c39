//! `refloat logs` and `refloat evidence`: what a host has written down, as files.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use host::Unit;
use serde_json::json;

use crate::args::{EvidenceArgs, Global, LogsArgs, SshArgs};
use crate::backend::{Backend, Need};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::talk::Talk;

pub(crate) async fn run(talk: &Talk, global: &Global, args: &LogsArgs) -> Result<Exit, Failure> {
    let backend = Backend::connect(global, Need::Nodes).await?;
    let units = if args.unit.is_empty() {
        Unit::ALL.to_vec()
    } else {
        args.unit.clone()
    };
    let to_screen = args.to.as_os_str() == "-";
    if to_screen && units.len() > 1 {
        return Err(Failure::new("one_unit").exiting(Exit::Usage));
    }
    let written = join_all(
        units
            .iter()
            .map(|unit| one(talk, &backend, args, *unit, to_screen)),
    )
    .await;
    let mut failed = None;
    for (unit, end) in units.iter().zip(written) {
        match end {
            Ok(None) => {}
            Ok(Some((path, bytes))) => {
                let params = json!({ "path": path.display().to_string(), "bytes": bytes });
                talk.note(&talk.say("host.log_written", params));
            }
            // A unit that is not installed is one of several that were not asked for by name.
            Err(failure) => {
                talk.warn(&format!("{unit}: {}", failure.sentence(&talk.voice)));
                failed = Some(failure);
            }
        }
    }
    match failed {
        Some(failure) if units.len() == 1 => Err(failure),
        Some(_) => Ok(Exit::Partly),
        None => Ok(Exit::Done),
    }
}

/// One unit's journal; the file and its size, or nothing when it went to the screen.
async fn one(
    talk: &Talk,
    backend: &Backend,
    args: &LogsArgs,
    unit: Unit,
    to_screen: bool,
) -> Result<Option<(PathBuf, u64)>, Failure> {
    let bytes = backend.host_log(&args.node, unit, args.since, args.follow, &args.ssh);
    let mut bytes = bytes.await?;
    let path = args.to.join(format!("{unit}.log"));
    let mut file = match to_screen {
        true => None,
        false => Some(create(&path)?),
    };
    let mut screen = to_screen.then(Screen::default);
    let mut count = 0;
    loop {
        let piece = tokio::select! {
            piece = bytes.recv() => piece,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(piece) = piece else { break };
        let piece = piece?;
        count += piece.len() as u64;
        match (&mut file, &mut screen) {
            (Some(file), _) => file
                .write_all(&piece)
                .map_err(|error| denied(&path, &error))?,
            (None, Some(screen)) if std::io::stdout().is_terminal() => {
                screen.lines(&piece).iter().for_each(|line| talk.out(line));
            }
            (None, _) => talk.bytes(&piece),
        }
    }
    if let Some(rest) = screen.and_then(Screen::rest) {
        talk.out(&rest);
    }
    Ok((!to_screen).then_some((path, count)))
}

/// A log on a terminal: whole lines, so that no character is cut in two. A program that reads the log gets it as it is.
#[derive(Debug, Default)]
struct Screen {
    rest: Vec<u8>,
}

impl Screen {
    /// A line is shown when it has ended, or is as long as no line that a person reads.
    const LONGEST: usize = 64 << 10;

    fn lines(&mut self, piece: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(piece);
        let end = self.rest.iter().rposition(|byte| *byte == b'\n');
        let end = match end {
            Some(end) => end + 1,
            None if self.rest.len() > Self::LONGEST => self.rest.len(),
            None => return Vec::new(),
        };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        let whole = String::from_utf8_lossy(&whole);
        whole.lines().map(str::to_owned).collect()
    }

    /// What came without an end of line.
    fn rest(self) -> Option<String> {
        let rest = String::from_utf8_lossy(&self.rest).into_owned();
        (!rest.is_empty()).then_some(rest)
    }
}

/// A file that is not there yet gets 0600: logs of a host are not for everybody.
fn create(path: &Path) -> Result<File, Failure> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|error| denied(folder, &error))?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| denied(path, &error))
}

fn denied(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("file_not_written")
        .with("path", path.display().to_string())
        .with("detail", error.to_string())
}

pub(crate) async fn evidence(
    talk: &Talk,
    global: &Global,
    args: &EvidenceArgs,
) -> Result<Exit, Failure> {
    let backend = Backend::connect(global, Need::Nodes).await?;
    let name = || PathBuf::from(format!("{}-evidence.tar.gz", args.node));
    let path = args.to.clone().unwrap_or_else(name);
    save_evidence(talk, &backend, &args.node, &path, args.since, &args.ssh).await?;
    Ok(Exit::Done)
}

/// One bundle, into a file.
pub(crate) async fn save_evidence(
    talk: &Talk,
    backend: &Backend,
    node: &str,
    path: &Path,
    since: Duration,
    ssh: &SshArgs,
) -> Result<(), Failure> {
    let packed = backend.evidence(node, since, ssh).await?;
    let mut file = create(path)?;
    file.write_all(&packed)
        .and_then(|()| file.sync_all())
        .map_err(|error| denied(path, &error))?;
    let params = json!({ "path": path.display().to_string(), "bytes": packed.len() });
    talk.note(&talk.say("host.evidence_written", params));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_on_a_terminal_comes_in_whole_lines() {
        let mut screen = Screen::default();
        let mut lines = Vec::new();
        for byte in "磁盘 a\n\x1b]0;t\x07 é\nend".as_bytes() {
            lines.extend(screen.lines(&[*byte]));
        }
        assert_eq!(lines, ["磁盘 a", "\x1b]0;t\x07 é"]);
        assert_eq!(screen.rest().as_deref(), Some("end"));
        let long = vec![b'x'; Screen::LONGEST + 1];
        assert_eq!(Screen::default().lines(&long).len(), 1);
    }
}
