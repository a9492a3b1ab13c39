//! What a host is, as written down in its folder for whoever else has to do with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::base::Base;
use super::cgroups;
use super::disk::Disk;
use super::network::Place;
use super::options::HostOptions;
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

    /// Removes the host from this machine, in whatever state it is; its folder stays.
    pub(super) fn tear_down(&self) -> Result<()> {
        self.disk().unfreeze();
        let gone = cgroups::kill(&self.cgroups, Duration::from_secs(20));
        let unmounted = self.disk().unmount();
        self.place.remove();
        cgroups::remove(&self.cgroups, true);
        ensure!(gone, "processes of {} cannot be killed", self.options.name);
        unmounted
    }
}
