//! Faults of the disk and of mounts.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::super::host::Host;
use super::super::node::LOAD_IMAGES;
use crate::wait_until;

/// What fills the disk, seen from the host.
const FILL: &str = "/var/log/testkit-fill";
/// Where the inodes go, below kubelet's folder.
const INODES: &str = "testkit-inodes";
const SHARE: &str = "/mnt/share";
const SERVER: &str = "testkit-share";

impl Host {
    pub(super) async fn fill_disk(&self) -> Result<String> {
        // The bulk of it at once; the rest block by block, which fails in the end.
        let script = format!(
            "free=$(df --block-size=1 --output=avail / | tail -n 1)
fallocate --length $((free - (1 << 20))) {FILL} && cat /dev/zero >>{FILL} 2>/dev/null
[ -s {FILL} ]"
        );
        self.shell(&script).await.map(|_| String::new())
    }

    pub(super) async fn free_disk(&self) -> Result<()> {
        self.output(&["rm", "-f", FILL]).await?;
        // kubelet has removed the images to make room, and there is no registry to get them from.
        self.output(&[LOAD_IMAGES]).await.map(drop)
    }

    pub(super) async fn use_inodes(&self) -> Result<String> {
        let dir = self.spec.live_disk()?.join("kubelet").join(INODES);
        tokio::task::spawn_blocking(move || create_until_full(&dir))
            .await
            .context("create files")??;
        Ok(String::new())
    }

    pub(super) async fn free_inodes(&self) -> Result<()> {
        let dir = self.spec.live_disk()?.join("kubelet").join(INODES);
        tokio::task::spawn_blocking(move || match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
        .context("remove files")?
        .context("remove files")?;
        self.output(&[LOAD_IMAGES]).await.map(drop)
    }

    pub(super) async fn break_file_system(&self) -> Result<String> {
        // The power cycle that heals this takes along what is not written yet, such as that an earlier fault was healed.
        self.output(&["sync", "--file-system", "/var/lib/kubelet"])
            .await?;
        let device = self.spec.disk().device()?;
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        fs::write(&trigger, "testkit").with_context(|| format!("write {trigger}"))?;
        wait_until(
            Duration::from_secs(10),
            "the disk is read-only",
            async || {
                let touched = self.exec(&["touch", "/var/lib/kubelet/.testkit"]).await?;
                let said = String::from_utf8_lossy(&touched.stderr).into_owned();
                Ok(if said.contains("Read-only") {
                    Ok(())
                } else {
                    Err(said)
                })
            },
        )
        .await?;
        Ok(String::new())
    }

    pub(super) async fn mount_dead(&self) -> Result<String> {
        self.output(&["mkdir", "-p", SHARE, "/srv/share"]).await?;
        self.output(&[
            "systemd-run",
            "--quiet",
            "--collect",
            &format!("--unit={SERVER}"),
            "bindfs",
            "-f",
            "-o",
            "fsname=files.example:/share",
            "/srv/share",
            SHARE,
        ])
        .await?;
        wait_until(
            Duration::from_secs(10),
            "the share is mounted",
            async || {
                let seen = self.exec(&["mountpoint", SHARE]).await?;
                Ok(if seen.status.success() {
                    Ok(())
                } else {
                    Err(seen)
                })
            },
        )
        .await?;
        self.freeze(SERVER).await
    }

    pub(super) async fn unmount_dead(&self) -> Result<()> {
        // A FUSE mount whose server dies answers at once, with errors; what waited for it goes on.
        self.try_shell(&format!(
            "systemctl kill --signal=KILL {SERVER}; umount --lazy {SHARE}"
        ))
        .await;
        let left = self.exec(&["mountpoint", SHARE]).await?;
        ensure!(!left.status.success(), "{SHARE} is still mounted");
        Ok(())
    }
}

fn create_until_full(dir: &Path) -> Result<()> {
    const PER_FOLDER: usize = 1000;
    for folder in 0.. {
        let folder = dir.join(folder.to_string());
        let made = fs::create_dir_all(&folder).and_then(|()| {
            (0..PER_FOLDER).try_for_each(|n| File::create(folder.join(n.to_string())).map(drop))
        });
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("use up a disk's inodes"),
        }
    }
    bail!("a disk without end")
}
