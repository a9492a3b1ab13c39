//! Test hosts: Debian machines in systemd-nspawn with a real systemd, container runtime and kubelet.
//!
//! Each has its own disk, network namespace, cgroups and uptime; it reboots, loses power, and suffers [`Fault`]s as a
//! machine does. [`Hosts`] joins them to a [`ControlPlane`] and removes them when dropped; what a killed process has left is
//! removed by the next one that starts hosts. It takes root and cgroup v1 hierarchies, see [`check`].

mod base;
mod cgroups;
mod disk;
mod fault;
mod forward;
mod host;
mod images;
mod needs;
mod network;
mod node;
mod options;
mod run;
mod runs;
mod spec;
mod supervisor;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

pub use base::OLDEST;
pub use fault::{Fault, Reality};
pub use host::{Host, Ssh};
pub use images::{BUSYBOX, PAUSE};
pub use needs::check;
pub use options::{Bind, Era, HostOptions};
pub use runs::sweep;

use self::base::Base;
use self::forward::Forwarder;
use self::runs::Run;
use self::spec::Spec;
use self::supervisor::Supervisor;
use crate::binaries;
use crate::control_plane::ControlPlane;
use crate::files::write_private;
use crate::pki::Authority;
use crate::wait_until;

/// How long a host may take from power-on to a Ready node.
const JOIN: Duration = Duration::from_secs(120);

/// The hosts of one run, joined to one control plane.
pub struct Hosts {
    // Fields are dropped in this order: hosts first, then the way to the API server, then the network.
    running: Mutex<Vec<Supervisor>>,
    forwarder: Option<Forwarder>,
    run: Run,
    base: Base,
    cluster: Option<Cluster>,
    next: Mutex<u8>,
}

/// What hosts join.
struct Cluster {
    authority: Authority,
    client: Client,
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosts")
            .field("dir", &self.run.dir)
            .field("network", &self.run.network)
            .finish_non_exhaustive()
    }
}

impl Hosts {
    /// A run without hosts, for this control plane. Installs programs and makes the root file system if need be.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        Self::start_as(None, Some(plane), base::SUITE).await
    }

    /// The same in the folder of this name below `target/hosts`, where [`Hosts::find`] finds them from other processes.
    pub async fn start_named(name: &str, plane: &ControlPlane) -> Result<Self> {
        Self::start_as(Some(name.to_owned()), Some(plane), base::SUITE).await
    }

    /// A run of hosts that are no nodes: there is only [`Hosts::add_bare`].
    pub async fn start_bare() -> Result<Self> {
        Self::start_bare_on(base::SUITE).await
    }

    /// The same with another Debian, such as [`OLDEST`].
    pub async fn start_bare_on(suite: &'static str) -> Result<Self> {
        Self::start_as(None, None, suite).await
    }

    async fn start_as(
        name: Option<String>,
        plane: Option<&ControlPlane>,
        suite: &'static str,
    ) -> Result<Self> {
        let (base, run) = tokio::task::spawn_blocking(move || -> Result<_> {
            needs::ensure_ready()?;
            let base = base::ensure(&runs::hosts_dir(), suite)?;
            Ok((base, Run::create(name.as_deref())?))
        })
        .await
        .context("prepare hosts")??;
        let mut hosts = Self {
            running: Mutex::default(),
            forwarder: None,
            run,
            base,
            cluster: None,
            next: Mutex::new(0),
        };
        if let Some(plane) = plane {
            let port = plane.server_url().rsplit(':').next();
            let port = port
                .and_then(|port| port.parse().ok())
                .context("an API server without a port")?;
            let from = SocketAddr::from((hosts.run.network.gateway(), node::API_PORT));
            hosts.forwarder = Some(Forwarder::start(from, port)?);
            hosts.cluster = Some(Cluster {
                authority: plane.authority()?,
                client: plane.client().await?,
            });
        }
        Ok(hosts)
    }

    /// The hosts that a process has in the folder of this name, as handles; none if it is gone.
    pub fn find(name: &str) -> Vec<Host> {
        runs::specs(&runs::hosts_dir().join(name))
            .into_iter()
            .map(|spec| Host {
                spec: Arc::new(spec),
            })
            .collect()
    }

    /// The folder of the run.
    pub fn dir(&self) -> &Path {
        &self.run.dir
    }

    /// Makes a host, boots it, and waits until its node is Ready.
    pub async fn add(&self, options: HostOptions) -> Result<Host> {
        self.cluster()?;
        let host = self.make(options, true).await?;
        host.wait_booted(JOIN).await?;
        self.wait_ready(&host, JOIN).await?;
        Ok(host)
    }

    /// Makes a host that is no node, boots it, and waits until it has booted.
    pub async fn add_bare(&self, options: HostOptions) -> Result<Host> {
        let host = self.make(options, false).await?;
        host.wait_booted(JOIN).await?;
        Ok(host)
    }

    /// Waits until the host's node is Ready in this boot of the host.
    pub async fn wait_ready(&self, host: &Host, patience: Duration) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.cluster()?.client.clone());
        let what = format!("{} is Ready", host.name());
        let boot = host.boot_id().await?;
        wait_until(patience, &what, async || {
            let Some(node) = nodes.get_opt(host.name()).await? else {
                return Ok(Err("no such node".to_owned()));
            };
            let status = node.status.unwrap_or_default();
            let ready = status
                .conditions
                .unwrap_or_default()
                .into_iter()
                .find(|condition| condition.type_ == "Ready");
            let now = status.node_info.map(|info| info.boot_id);
            Ok(match ready {
                Some(ready) if ready.status == "True" && now.as_ref() == Some(&boot) => Ok(()),
                seen => Err(format!("{seen:?} in boot {now:?}")),
            })
        })
        .await
    }

    /// Removes a host, and its node.
    pub async fn remove(&self, host: &Host) -> Result<()> {
        let found = {
            let mut running = self.running();
            let at = running
                .iter()
                .position(|one| one.spec().dir == host.spec.dir);
            at.map(|at| running.swap_remove(at))
        };
        let mut supervisor =
            found.with_context(|| format!("{} is not of this run", host.name()))?;
        tokio::task::spawn_blocking(move || supervisor.finish())
            .await
            .context("remove a host")??;
        fs::remove_dir_all(&host.spec.dir).context("remove a host's folder")?;
        let Some(cluster) = self.cluster.as_ref().filter(|_| host.spec.joined) else {
            return Ok(());
        };
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        match nodes.delete(host.name(), &Default::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop).context("delete the node"),
        }
    }

    fn cluster(&self) -> Result<&Cluster> {
        self.cluster
            .as_ref()
            .context("hosts without a control plane to join")
    }

    fn running(&self) -> MutexGuard<'_, Vec<Supervisor>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(&self, mut options: HostOptions, joined: bool) -> Result<Host> {
        options.check()?;
        if joined {
            let era = options.era;
            let kubelet = tokio::task::spawn_blocking(move || kubelet(era))
                .await
                .context("build kubelet")??;
            options = options.bind(kubelet, "/usr/local/bin/kubelet");
        }
        options = options.bind(&self.base.images, node::IMAGES);
        let number = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let number = *next;
            *next = number.checked_add(1).context("too many hosts")?;
            number
        };
        let place = self.run.network.place(number)?;
        let group = format!("refloat-{}", self.run.network.bridge());
        let dir = self.run.create_host(&options.name)?;
        let spec = Spec {
            cgroups: cgroups::create(&group, &options.name, &options)?,
            dir,
            options,
            place,
            base: self.base.clone(),
            joined,
        };
        spec.save()?;
        let authority = self.cluster.as_ref().filter(|_| joined);
        let authority = authority.map(|cluster| &cluster.authority);
        let files = prepare(&spec, authority)?;
        let spec = Arc::new(spec);
        let supervisor = tokio::task::spawn_blocking({
            let spec = spec.clone();
            move || -> Result<_> {
                furnish(&spec, &files)?;
                Supervisor::start(spec)
            }
        })
        .await
        .context("make a host")??;
        self.running().push(supervisor);
        Ok(Host { spec })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let mut all = std::mem::take(&mut *self.running());
        // At the same time: each waits for the kernel.
        std::thread::scope(|scope| {
            for supervisor in &mut all {
                scope.spawn(|| supervisor.finish());
            }
        });
        drop(all);
        drop(self.forwarder.take());
        self.run.finish();
    }
}

fn kubelet(era: Era) -> Result<PathBuf> {
    let built = match era {
        Era::Containerd => binaries::ensure_kubelet()?,
        Era::Docker => binaries::ensure_docker_kubelet()?,
    };
    Ok(built.path("kubelet"))
}

/// Writes what belongs to the host on this machine; returns what belongs into it.
fn prepare(spec: &Spec, authority: Option<&Authority>) -> Result<Vec<node::File>> {
    let init = spec.file("init");
    write_private(&init, supervisor::INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("the first program")?;
    let keys = node::ssh_keys(spec)?;
    let mut files = node::host_files(spec, &keys);
    if let Some(authority) = authority {
        files.extend(node::node_files(spec, authority)?);
        let expired = node::expired_certificate(spec, authority)?;
        write_private(&spec.file("expired.crt"), &expired.certificate)?;
        write_private(&spec.file("expired.key"), &expired.key)?;
    }
    Ok(files)
}

/// Makes the host's disk with everything on it that the host finds at its first boot.
fn furnish(spec: &Spec, files: &[node::File]) -> Result<()> {
    let disk = spec.disk();
    let root = disk.seed();
    create_dir(&root, &root)?;
    for (path, mode, content) in files {
        let at = root.join(path.trim_start_matches('/'));
        if path.ends_with('/') {
            create_dir(&root, &at)?;
            continue;
        }
        create_dir(&root, at.parent().unwrap_or(&root))?;
        fs::write(&at, content).with_context(|| format!("write {path} for a host"))?;
        fs::set_permissions(&at, fs::Permissions::from_mode(*mode))
            .with_context(|| format!("set the mode of {path}"))?;
    }
    for (link, to) in node::links(spec) {
        let at = root.join("etc/systemd/system").join(link);
        create_dir(&root, at.parent().unwrap_or(&root))?;
        symlink(to, &at).with_context(|| format!("enable {link}"))?;
    }
    disk.create(&spec.options)
}

/// A folder below `root`, with its parents, open to all whatever this process's umask: in the host, these modes count
/// instead of those that the base's folders of the same names have.
fn create_dir(root: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    for dir in dir.ancestors().take_while(|dir| dir.starts_with(root)) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("set the mode of {}", dir.display()))?;
    }
    Ok(())
}
