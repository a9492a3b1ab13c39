//! What a host is made of.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Which generation of node software a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Era {
    /// containerd, and the kubelet of the control plane's version.
    Containerd,
    /// dockerd, and the last kubelet that speaks to it without help (1.23).
    Docker,
}

impl Era {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Containerd, Self::Docker];

    /// `containerd` or `docker`; that is also the unit of the runtime that kubelet speaks to.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Docker => "docker",
        }
    }
}

impl FromStr for Era {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|era| era.name() == text) {
            Some(era) => Ok(era),
            None => bail!("no such era: {text}"),
        }
    }
}

/// How to make a [`Host`](super::Host).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostOptions {
    /// Host name and node name.
    pub name: String,
    /// What runs on it.
    pub era: Era,
    /// Bytes of memory that all its processes may take together.
    pub memory: u64,
    /// How many processes and threads it may have.
    pub pids: u32,
    /// How many cores it may keep busy, if not all.
    pub cpus: Option<f64>,
    /// The size of its disk in bytes. It takes only what is written.
    pub disk: u64,
    /// How many files its disk can hold.
    pub inodes: u32,
    /// Files of this machine that it sees, read-only.
    pub binds: Vec<Bind>,
    /// Laid over kubelet's configuration, field by field.
    pub kubelet: Map<String, Value>,
}

/// A file or folder of this machine at a place in the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On this machine.
    pub from: PathBuf,
    /// In the host; made if it is not there.
    pub to: PathBuf,
}

impl HostOptions {
    /// A host with 2 GiB of memory, 4096 processes and a disk of 3 GiB, whose kubelet has its defaults.
    pub fn new(name: &str, era: Era) -> Self {
        Self {
            name: name.to_owned(),
            era,
            memory: 2 << 30,
            pids: 4096,
            cpus: None,
            disk: 3 << 30,
            inodes: 65_536,
            binds: Vec::new(),
            kubelet: Map::new(),
        }
    }

    /// For suites that do not have the minutes that Kubernetes' defaults take: its kubelet reports every second and
    /// believes within seconds that a pressure is over; with containerd it also waits less for the runtime. Give the
    /// control plane a `node_monitor_grace` of 6 s with it.
    #[must_use]
    pub fn quick(mut self) -> Self {
        for (key, value) in [
            ("nodeLeaseDurationSeconds", json!(4)),
            ("nodeStatusUpdateFrequency", json!("1s")),
            ("nodeStatusReportFrequency", json!("10s")),
            ("evictionPressureTransitionPeriod", json!("5s")),
        ] {
            self.kubelet.insert(key.to_owned(), value);
        }
        // Not with docker: there it is by this time that one hung container holds up kubelet's relisting.
        if self.era == Era::Containerd {
            self.kubelet
                .insert("runtimeRequestTimeout".to_owned(), json!("15s"));
        }
        self
    }

    /// Shows it a file of this machine, read-only.
    #[must_use]
    pub fn bind(mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        self.binds.push(Bind {
            from: from.into(),
            to: to.into(),
        });
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let is_label = (1..=40).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !self.name.starts_with('-')
            && !self.name.ends_with('-');
        ensure!(
            is_label,
            "{:?} is no host name: up to 40 of a-z, 0-9 and -",
            self.name
        );
        for bind in &self.binds {
            ensure!(
                bind.from.exists(),
                "{} is not there to be shown to a host",
                bind.from.display()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "node-1"] {
            HostOptions::new(good, Era::Docker).check().unwrap();
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", &"a".repeat(41)] {
            assert!(
                HostOptions::new(bad, Era::Docker).check().is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn eras_are_said_as_they_are_read() {
        for era in Era::ALL {
            assert_eq!(era.name().parse::<Era>().unwrap(), era);
        }
        assert!("podman".parse::<Era>().is_err());
    }
}
