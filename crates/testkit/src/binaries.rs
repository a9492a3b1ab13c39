//! The pinned Kubernetes programs, built once from the Go modules in `tests/`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::files::{target_dir, workspace_root};

/// Changes when the build's flags change, so that binaries of an older recipe are rebuilt.
const RECIPE: &str = "2: static, stripped, trimmed, two version stamps";

/// What holds the version: the first is what a program says of itself, the second its user agent.
const STAMPS: [&str; 2] = [
    "k8s.io/component-base/version.gitVersion",
    "k8s.io/client-go/pkg/version.gitVersion",
];

/// Programs that are built together from one Go module.
struct Set {
    /// The module's folder in the workspace.
    module: &'static str,
    /// The file that says what they were built from; sets of one version share a folder.
    key: &'static str,
    /// Package of the module -> name of the program.
    programs: &'static [(&'static str, &'static str)],
}

const CONTROL_PLANE: Set = Set {
    module: "tests/kubernetes",
    key: "key",
    programs: &[
        ("go.etcd.io/etcd/server/v3", "etcd"),
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        (
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-controller-manager",
        ),
        ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ],
};

const KUBELET: &[(&str, &str)] = &[("k8s.io/kubernetes/cmd/kubelet", "kubelet")];

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    version: String,
}

impl Binaries {
    /// The folder that holds the programs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The Kubernetes version, such as `v1.36.2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of one program.
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
}

/// The programs of the control plane, building them first when they are missing or `go.mod` or `go.sum` have changed.
///
/// Blocks: minutes for the first build, a millisecond after it. Processes that call it at the same time build once.
pub fn ensure() -> Result<Binaries> {
    ensure_set(&CONTROL_PLANE)
}

/// The kubelet of the control plane's version; the same otherwise. A set of its own, because only test hosts need it.
pub fn ensure_kubelet() -> Result<Binaries> {
    ensure_set(&Set {
        module: "tests/kubernetes",
        key: "kubelet.key",
        programs: KUBELET,
    })
}

/// The last kubelet that speaks to docker by itself; the same otherwise.
pub fn ensure_docker_kubelet() -> Result<Binaries> {
    ensure_set(&Set {
        module: "tests/kubernetes-1.23",
        key: "kubelet.key",
        programs: KUBELET,
    })
}

fn ensure_set(set: &Set) -> Result<Binaries> {
    let module = workspace_root().join(set.module);
    let read = |name: &str| {
        fs::read_to_string(module.join(name)).with_context(|| format!("read {}/{name}", set.module))
    };
    let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
    let version = kubernetes_version(&go_mod)
        .with_context(|| format!("{}/go.mod requires no k8s.io/kubernetes", set.module))?;
    let key = format!(
        "{:016x}",
        fnv1a(&[RECIPE, std::env::consts::ARCH, &go_mod, &go_sum])
    );

    let base = target_dir().join("kubernetes");
    let binaries = Binaries {
        dir: base.join(&version),
        version,
    };
    if is_current(set, &binaries, &key) {
        return Ok(binaries);
    }
    fs::create_dir_all(&base).with_context(|| format!("create {}", base.display()))?;
    let lock = File::create(base.join("lock")).context("create the build lock")?;
    lock.lock().context("take the build lock")?;
    if !is_current(set, &binaries, &key) {
        build(set, &module, &base, &binaries, &key)?;
    }
    Ok(binaries)
}

fn is_current(set: &Set, binaries: &Binaries, key: &str) -> bool {
    fs::read_to_string(binaries.path(set.key)).is_ok_and(|found| found == key)
        && set
            .programs
            .iter()
            .all(|(_, program)| binaries.path(program).is_file())
}

fn build(set: &Set, module: &Path, base: &Path, binaries: &Binaries, key: &str) -> Result<()> {
    let jobs = build_jobs();
    let names: Vec<&str> = set.programs.iter().map(|(_, program)| *program).collect();
    // Not a log line: whoever waits for a test must see why nothing happens for minutes.
    let _ = writeln!(
        std::io::stderr(),
        "building {} of Kubernetes {} from {}, {jobs} at a time: some minutes, once",
        names.join(", "),
        binaries.version,
        set.module
    );
    let staging = base.join("staging");
    fs::create_dir_all(&staging).with_context(|| format!("create {}", staging.display()))?;
    let output = Command::new("go")
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-p", &jobs.to_string(), "-ldflags"])
        .arg(format!("-s -w {}", STAMPS.map(|stamp| format!("-X {stamp}={}", binaries.version)).join(" ")))
        .arg("-o")
        .arg(format!("{}/", staging.display()))
        .args(set.programs.iter().map(|(package, _)| package))
        .output()
        .context("run `go build`: Go of the version in tests/kubernetes/go.mod, or newer, must be in PATH")?;
    if !output.status.success() {
        bail!(
            "`go build` in {}: {}\n{}",
            set.module,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::create_dir_all(&binaries.dir)
        .with_context(|| format!("create {}", binaries.dir.display()))?;
    for (package, program) in set.programs {
        let built = staging.join(program_of(package));
        fs::rename(&built, binaries.path(program))
            .with_context(|| format!("move {}", built.display()))?;
    }
    fs::write(binaries.path(set.key), key).context("write the build key")
}

/// The name `go build` gives a package's program: its last element that is not a major version.
fn program_of(package: &str) -> &str {
    let mut parts = package.rsplit('/');
    let last = parts.next().unwrap_or(package);
    let is_major = last
        .strip_prefix('v')
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    if is_major {
        parts.next().unwrap_or(last)
    } else {
        last
    }
}

/// One job per core, as far as the memory goes: linking kube-apiserver takes about 2 GB, beside whatever else runs.
fn build_jobs() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory_kib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("MemAvailable:"))?
            .to_owned();
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    let fitting = memory_kib.map_or(1, |kib| kib / (3 << 20));
    cores.min(fitting).clamp(1, 8)
}

fn kubernetes_version(go_mod: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let rest = line
            .trim()
            .trim_start_matches("require ")
            .strip_prefix("k8s.io/kubernetes ")?;
        Some(rest.split_whitespace().next()?.to_owned())
    })
}

/// FNV-1a: stable over Rust releases, which the standard library's hasher does not promise.
pub(crate) fn fnv1a(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_require_line() {
        let text =
            "require (\n\tk8s.io/kubernetes v1.36.2\n)\nreplace k8s.io/api => k8s.io/api v0.36.2\n";
        assert_eq!(kubernetes_version(text).as_deref(), Some("v1.36.2"));
        assert_eq!(kubernetes_version("module x\n"), None);
    }

    #[test]
    fn go_names_a_program_by_its_package_without_the_major_version() {
        assert_eq!(program_of("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(program_of("k8s.io/kubernetes/cmd/kubectl"), "kubectl");
    }

    #[test]
    fn the_key_depends_on_every_part_and_its_place() {
        assert_ne!(fnv1a(&["a", "b"]), fnv1a(&["ab"]));
        assert_ne!(fnv1a(&["a", "b"]), fnv1a(&["b", "a"]));
    }
}
