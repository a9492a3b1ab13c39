//! The folders of runs, and what is done about those whose process is gone.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::network::Network;
use super::spec::Spec;
use crate::files::{create_private_dir, target_dir, write_private};

/// Where everything about hosts is.
pub(super) fn hosts_dir() -> PathBuf {
    target_dir().join("hosts")
}

/// A run, as written down for those that come after it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    network: Network,
}

/// A run's folder and network. They are ours as long as this lives: the kernel takes the lock away with the process.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) dir: PathBuf,
    pub(super) network: Network,
    _owner: File,
}

impl Run {
    /// A run in a new folder, or in one of this name; removes first what dead runs have left.
    pub(super) fn create(name: Option<&str>) -> Result<Self> {
        let hosts = hosts_dir();
        create_private_dir(&hosts)?;
        let lock = File::create(hosts.join("lock")).context("create the lock of runs")?;
        lock.lock().context("take the lock of runs")?;
        sweep_in(&hosts);
        let dir = match name {
            Some(name) => {
                let dir = hosts.join(name);
                if dir.exists() {
                    bail!(
                        "{} is in use, or its remains could not be removed",
                        dir.display()
                    );
                }
                create_private_dir(&dir)?;
                dir
            }
            None => tempfile::Builder::new()
                .prefix("run-")
                .tempdir_in(&hosts)
                .context("create a run's folder")?
                .keep(),
        };
        let owner = File::create(dir.join("owner")).context("create a run's lock")?;
        owner.try_lock().context("take a run's lock")?;
        let network = Network::claim()?;
        let run = Self {
            dir,
            network,
            _owner: owner,
        };
        let record = serde_json::to_string(&Record { network }).context("write a run down")?;
        write_private(&run.dir.join("run.json"), &record)?;
        create_private_dir(&run.hosts())?;
        Ok(run)
    }

    fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    /// The folder of a host, newly made.
    pub(super) fn create_host(&self, name: &str) -> Result<PathBuf> {
        let dir = self.hosts().join(name);
        fs::create_dir(&dir).with_context(|| format!("a second host named {name}"))?;
        Ok(dir)
    }

    /// Ends it when all its hosts are gone: their folders remain if they could not be removed.
    pub(super) fn finish(&self) {
        remove(&self.dir);
    }
}

/// The hosts in a run's folder.
pub(super) fn specs(dir: &Path) -> Vec<Spec> {
    let mut specs: Vec<Spec> = fs::read_dir(dir.join("hosts"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Spec::load(&entry.path()).ok())
        .collect();
    specs.sort_by(|a, b| a.options.name.cmp(&b.options.name));
    specs
}

/// Removes what runs have left whose process is gone. Whoever starts hosts does that by itself.
pub fn sweep() -> Result<()> {
    let hosts = hosts_dir();
    create_private_dir(&hosts)?;
    let lock = File::create(hosts.join("lock")).context("create the lock of runs")?;
    lock.lock().context("take the lock of runs")?;
    sweep_in(&hosts);
    Ok(())
}

fn sweep_in(hosts: &Path) {
    for entry in fs::read_dir(hosts).into_iter().flatten().flatten() {
        let dir = entry.path();
        let Ok(owner) = File::open(dir.join("owner")) else {
            continue;
        };
        if owner.try_lock().is_ok() {
            remove(&dir);
        }
    }
}

/// Removes a run's hosts, its network and its folder.
fn remove(dir: &Path) {
    let mut clean = true;
    for spec in specs(dir) {
        if let Err(error) = spec.tear_down() {
            clean = false;
            let _ = writeln!(
                std::io::stderr(),
                "what is left of the test host {}: {error:#}",
                spec.options.name
            );
        }
    }
    let record = fs::read_to_string(dir.join("run.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<Record>(&text).ok());
    if let Some(record) = record {
        record.network.release();
    }
    // With something still mounted in it, the folder is not ours alone.
    if clean {
        let _ = fs::remove_dir_all(dir);
    }
}
