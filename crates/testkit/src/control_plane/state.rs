//! The folder of a control plane: what it holds for later, and what is done about the ones left behind.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::components::{Command, Component};
use crate::files::{create_private_dir, target_dir, write_private};
use crate::process::Identity;

/// How long the logs of a control plane whose test failed are kept.
const KEEP_FAILED: Duration = Duration::from_secs(24 * 3600);

/// What [`attach`](super::ControlPlane::attach) needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) server_url: String,
    pub(super) data: PathBuf,
    pub(super) commands: Vec<Command>,
    pub(super) processes: BTreeMap<Component, Identity>,
}

impl State {
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("control-plane.json");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// Replaces both files whole, so that a reader never sees half of one.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let pids: String = self
            .processes
            .values()
            .map(|p| format!("{} {}\n", p.pid, p.started))
            .collect();
        for (name, text) in [
            ("pids", pids),
            ("control-plane.json", serde_json::to_string_pretty(self)?),
        ] {
            let next = dir.join(format!("{name}.next"));
            write_private(&next, &text)?;
            fs::rename(&next, dir.join(name)).with_context(|| format!("replace {name}"))?;
        }
        Ok(())
    }

    /// Kills what still runs and removes the database.
    pub(super) fn clean_up(&self) {
        for process in self.processes.values() {
            process.kill_and_wait(Duration::from_secs(10));
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// Folders of control planes that live no longer than the process that started them.
fn runs_dir() -> PathBuf {
    target_dir().join("control-planes")
}

/// Creates the folder of a run and takes its `owner` lock, which the kernel releases when this process ends.
pub(super) fn create_run() -> Result<(PathBuf, File)> {
    let runs = runs_dir();
    create_private_dir(&runs)?;
    let _guard = lock(&runs.join("lock"))?;
    sweep(&runs);
    let dir = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&runs)
        .context("create a state folder")?
        .keep();
    let owner = lock(&dir.join("owner"))?;
    Ok((dir, owner))
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// Ends the runs whose owner is gone, and forgets old failures.
fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let dir = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("run-") {
            let owner = File::open(dir.join("owner"));
            if owner.is_ok_and(|owner| owner.try_lock().is_err()) {
                continue;
            }
            if let Ok(state) = State::load(&dir) {
                state.clean_up();
            }
            let _ = fs::remove_dir_all(&dir);
        } else if name.starts_with("failed-") {
            let age = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .map(|at| SystemTime::now().duration_since(at));
            if age.is_ok_and(|age| age.is_ok_and(|age| age > KEEP_FAILED)) {
                let _ = fs::remove_dir_all(&dir);
            }
        }
    }
}

/// Ends a run's folder: removes it, or keeps its logs under another name and returns where.
pub(super) fn finish_run(dir: &Path, keep: bool) -> Option<PathBuf> {
    if keep {
        let name = dir
            .file_name()?
            .to_string_lossy()
            .replace("run-", "failed-");
        let kept = dir.with_file_name(name);
        if fs::rename(dir, &kept).is_ok() {
            return Some(kept);
        }
    }
    let _ = fs::remove_dir_all(dir);
    None
}

/// Where etcd's data goes: into memory when it need not be safe and there is a memory file system.
pub(super) fn create_data_dir(dir: &Path, fsync: bool) -> Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    if fsync || !memory.is_dir() {
        let data = dir.join("data");
        create_private_dir(&data)?;
        return Ok(data);
    }
    let data = tempfile::Builder::new()
        .prefix("refloat-etcd-")
        .tempdir_in(memory)
        .context("create a data folder")?;
    Ok(data.keep())
}

/// A shell that outlives us by a moment: when our end of its input closes, however we end, it kills what `pids`
/// lists (pid and start time must both fit) and removes the data.
const GUARD: &str = r#"
pids=$1 data=$2
cat >/dev/null
while read -r pid started; do
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
    set -- ${stat##*) }
    if [ "${20}" = "$started" ]; then kill -s KILL -- "-$pid"; fi
done <"$pids"
rm -rf "$data"
"#;

/// Ends the control plane of a process that gets no chance to do it itself.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn start(dir: &Path, data: &Path) -> Result<Self> {
        Program::new("sh")
            .args(["-c", GUARD, "testkit-guard"])
            .args([&dir.join("pids"), data])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
            .context("start the guard")
    }

    /// Ends it without its doing anything.
    pub(super) fn dismiss(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Lets it do its work and waits for it.
    pub(super) fn finish(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
