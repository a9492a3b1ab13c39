//! A host's own disk: a file with ext4 in it, on which its root file system lies.
//!
//! It is mounted in the mount namespace that the host's processes come from, and nowhere else: when they are gone, so is
//! the mount. In this machine's own namespace, the next host would get a copy of it, and keep it for as long as it lives.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::options::HostOptions;
use super::run::{attempt, program, run};

/// What lies on the disk itself instead of in the root file system's layer: an overlay cannot hold overlays.
pub(super) const STATE: [&str; 3] = ["containerd", "docker", "kubelet"];

/// Mounts the disk, and the host's `/` on it, then becomes the program that follows.
pub(super) const MOUNT: &str = r#"
set -e
image=$1 disk=$2 base=$3 root=$4
shift 4
mount -o loop,errors=remount-ro "$image" "$disk"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$disk/upper,workdir=$disk/work" "$root"
exec "$@"
"#;

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

    /// Where the disk is mounted, in the host's outer namespace.
    pub(super) fn mounted(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// The host's `/`, in the same.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The folder from which [`Disk::create`] takes what the host's `/` has beyond the base.
    pub(super) fn seed(&self) -> PathBuf {
        self.dir.join("seed/upper")
    }

    /// The arguments of [`MOUNT`].
    pub(super) fn arguments(&self) -> [PathBuf; 4] {
        [
            self.image(),
            self.mounted(),
            self.base.to_path_buf(),
            self.root(),
        ]
    }

    /// Makes the file system, with the seed in it. The file takes only what is written to it.
    pub(super) fn create(&self, options: &HostOptions) -> Result<()> {
        let seed = self.dir.join("seed");
        for name in ["upper", "work"].iter().chain(&STATE) {
            let dir = seed.join(name);
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let image = self.image();
        let file = fs::File::create(&image).context("create a disk")?;
        file.set_len(options.disk).context("size a disk")?;
        run(program("mkfs.ext4", ["-q", "-F", "-m", "0", "-N"])
            .arg(options.inodes.to_string())
            .args([
                "-E",
                "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
                "-d",
            ])
            .arg(&seed)
            .arg(&image))?;
        fs::remove_dir_all(&seed).context("remove a disk's seed")?;
        for dir in [self.mounted(), self.root()] {
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        Ok(())
    }

    /// Repairs it if need be, as a machine does when it boots.
    pub(super) fn check(&self) -> Result<()> {
        self.wait_free()?;
        // Its exit status says what was repaired; what could not be is seen by the mount.
        attempt(program("e2fsck", ["-p"]).arg(self.image()));
        Ok(())
    }

    /// Waits until the kernel has let go of it, which takes a moment after the last process of the host is gone. Mounted
    /// again before that, it would be the same file system in the same state, and no check could repair it.
    pub(super) fn wait_free(&self) -> Result<()> {
        let start = Instant::now();
        let mut rescued = false;
        while self.device().is_ok() {
            let waited = start.elapsed();
            if waited > Duration::from_secs(2) && !rescued {
                rescued = true;
                self.rescue();
            }
            ensure!(
                waited < Duration::from_secs(20),
                "{} is still in use",
                self.image().display()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// A frozen file system outlives its last mount: mounts it once more, to let it go.
    fn rescue(&self) {
        let script = r#"mount -o loop "$1" "$2" && fsfreeze --unfreeze "$2""#;
        attempt(
            program("unshare", ["--mount", "--", "sh", "-c", script, "sh"])
                .arg(self.image())
                .arg(self.mounted()),
        );
    }

    /// The mounted disk, by way of a process in the namespace that has it. An error when it is not mounted: what is done
    /// to this folder must not hit this machine's disk.
    pub(super) fn live(&self, process: i32) -> Result<PathBuf> {
        let place = self.mounted();
        let disk = Path::new("/proc").join(process.to_string()).join("root");
        let disk = disk.join(place.strip_prefix("/").unwrap_or(&place));
        let device = |path: &Path| {
            fs::metadata(path)
                .map(|meta| meta.dev())
                .with_context(|| format!("look at {}", path.display()))
        };
        ensure!(
            device(&disk)? != device(self.dir)?,
            "{} is not mounted: the host is off",
            place.display()
        );
        Ok(disk)
    }

    /// The kernel's name of the disk, such as `loop3`.
    pub(super) fn device(&self) -> Result<String> {
        let image = self.image();
        let has_it = |entry: &fs::DirEntry| {
            fs::read_to_string(entry.path().join("loop/backing_file"))
                .is_ok_and(|file| Path::new(file.trim_end()) == image)
        };
        let found = fs::read_dir("/sys/block")
            .context("read /sys/block")?
            .flatten()
            .find(has_it)
            .with_context(|| format!("no device has {}", image.display()))?;
        Ok(found.file_name().to_string_lossy().into_owned())
    }
}

/// Lets writes through again, or holds them up, on the file system that has this path.
pub(super) fn set_frozen(path: &Path, frozen: bool) -> Result<()> {
    let how = if frozen { "--freeze" } else { "--unfreeze" };
    run(program("fsfreeze", [how]).arg(path)).map(drop)
}
