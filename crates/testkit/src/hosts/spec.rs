//! What a host is, as written down in its folder for whoever else has to do with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::base::Base;
use super::cgroups;
use super::disk::{Disk, set_frozen};
use super::network::Place;
use super::options::HostOptions;
use super::supervisor::LEADER;
use crate::files::write_private;

/// A host that has been made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) dir: PathBuf,
    pub(super) options: HostOptions,
    pub(super) place: Place,
    pub(super) base: Base,
    pub(super) cgroups: Vec<PathBuf>,
    /// Whether it is to be a node.
    pub(super) joined: bool,
}

impl Spec {
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("spec.json");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    pub(super) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("write a host down")?;
        let next = self.dir.join("spec.json.next");
        write_private(&next, &text)?;
        fs::rename(&next, self.file("spec.json")).context("write a host down")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn disk(&self) -> Disk<'_> {
        Disk::new(&self.dir, &self.base.root)
    }

    /// The process that all others of the host come from, in the mount namespace that has its disk.
    pub(super) fn leader(&self) -> Result<i32> {
        let text = fs::read_to_string(self.file(LEADER)).ok();
        text.and_then(|text| text.parse().ok())
            .with_context(|| format!("{} is off", self.options.name))
    }

    /// The disk, as this machine reaches it while the host is on.
    pub(super) fn live_disk(&self) -> Result<PathBuf> {
        self.disk().live(self.leader()?)
    }

    /// Lets writes to the disk through again, if they are held up: what waits for them could not even be killed.
    pub(super) fn unfreeze(&self) {
        if let Ok(disk) = self.live_disk() {
            let _ = set_frozen(&disk, false);
            return;
        }
        // Without the leader: by way of whatever is left.
        for pid in cgroups::processes(&self.cgroups) {
            let path = format!("/proc/{}/root/var/lib/kubelet", pid.as_raw_nonzero());
            if set_frozen(Path::new(&path), false).is_ok() {
                return;
            }
        }
    }

    /// Removes the host from this machine, in whatever state it is; its folder stays.
    pub(super) fn tear_down(&self) -> Result<()> {
        self.unfreeze();
        let gone = cgroups::kill(&self.cgroups, Duration::from_secs(20));
        let free = self.disk().wait_free();
        self.place.remove();
        cgroups::remove(&self.cgroups, true);
        // systemd-nspawn makes it, and leaves it.
        let _ = fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(&self.place.link));
        ensure!(gone, "processes of {} cannot be killed", self.options.name);
        free
    }
}
