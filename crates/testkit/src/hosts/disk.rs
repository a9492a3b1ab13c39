//! A host's own disk: a file with ext4 in it, and the root file system that lies on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::options::HostOptions;
use super::run::{attempt, program, run};

/// What lies on the disk itself instead of in the root file system's layer: an overlay cannot hold overlays.
pub(super) const STATE: [&str; 3] = ["containerd", "docker", "kubelet"];

/// Where the parts of a host's disk are, by the host's folder.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    dir: &'a Path,
    base: &'a Path,
}

impl<'a> Disk<'a> {
    /// The disk of the host in `dir` whose root file system begins as `base`.
    pub(super) fn new(dir: &'a Path, base: &'a Path) -> Self {
        Self { dir, base }
    }

    fn image(&self) -> PathBuf {
        self.dir.join("disk.img")
    }

    /// Where the disk is mounted on this machine.
    pub(super) fn mounted(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// The host's `/` on this machine.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Makes the file system. The file takes only what is written to it.
    pub(super) fn create(&self, options: &HostOptions) -> Result<()> {
        let image = self.image();
        let file = fs::File::create(&image).context("create a disk")?;
        file.set_len(options.disk).context("size a disk")?;
        run(program("mkfs.ext4", ["-q", "-F", "-m", "0", "-N"])
            .arg(options.inodes.to_string())
            .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
            .arg(&image))?;
        for dir in [self.mounted(), self.root()] {
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        Ok(())
    }

    /// Repairs it if need be, as a machine does when it boots, and mounts it.
    pub(super) fn mount(&self) -> Result<()> {
        // Its exit status says what was repaired; what could not be is seen by the mount.
        attempt(program("e2fsck", ["-p"]).arg(self.image()));
        let disk = self.mounted();
        run(program("mount", ["-o", "loop,errors=remount-ro"])
            .arg(self.image())
            .arg(&disk))?;
        for name in ["upper", "work"].iter().chain(&STATE) {
            let dir = disk.join(name);
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.base.display(),
            disk.join("upper").display(),
            disk.join("work").display()
        );
        run(program("mount", ["-t", "overlay", "overlay", "-o", &layers]).arg(self.root()))?;
        Ok(())
    }

    /// Unmounts it, whatever state it is in, once nothing runs on it any more.
    pub(super) fn unmount(&self) -> Result<()> {
        self.unfreeze();
        for place in [self.root(), self.mounted()] {
            let deadline = Instant::now() + Duration::from_secs(10);
            // More than one mount may lie there, if a start was cut short.
            while is_mount_point(&place)? {
                if attempt(program("umount", ["--"]).arg(&place)) {
                    continue;
                }
                if Instant::now() > deadline {
                    attempt(program("umount", ["--lazy"]).arg(&place));
                    bail!("{} is still in use", place.display());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Lets writes through again, if they are held up.
    pub(super) fn unfreeze(&self) {
        attempt(program("fsfreeze", ["--unfreeze"]).arg(self.mounted()));
    }

    /// Holds up all writes.
    pub(super) fn freeze(&self) -> Result<()> {
        run(program("fsfreeze", ["--freeze"]).arg(self.live()?)).map(drop)
    }

    /// The mounted disk. An error when it is not mounted: what is done to this folder must not hit this machine's disk.
    pub(super) fn live(&self) -> Result<PathBuf> {
        let disk = self.mounted();
        ensure!(
            is_mount_point(&disk)?,
            "{} is not mounted: the host is off",
            disk.display()
        );
        Ok(disk)
    }

    /// The kernel's name of the disk, such as `loop3`.
    pub(super) fn device(&self) -> Result<String> {
        let source = run(program("findmnt", ["-no", "SOURCE"]).arg(self.live()?))?;
        let name = source.trim().rsplit('/').next().unwrap_or_default();
        Ok(name.to_owned())
    }
}

fn is_mount_point(path: &Path) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    // Blanks in it are written as numbers, which the paths of a target folder do not have.
    Ok(mounts.lines().any(|line| {
        line.split(' ')
            .nth(1)
            .is_some_and(|at| Path::new(at) == path)
    }))
}
