//! `refloat logs` and `refloat evidence`: what a host has written down, as files.

use std::fs::{File, OpenOptions};
use std::io::Write;
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
    let mut count = 0;
    loop {
        let piece = tokio::select! {
            piece = bytes.recv() => piece,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(piece) = piece else { break };
        let piece = piece?;
        count += piece.len() as u64;
        match &mut file {
            Some(file) => file
                .write_all(&piece)
                .map_err(|error| denied(&path, &error))?,
            None => talk.bytes(&piece),
        }
    }
    Ok((!to_screen).then_some((path, count)))
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
