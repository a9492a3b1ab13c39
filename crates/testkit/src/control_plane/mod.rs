//! A real control plane on loopback.

mod audit;
mod components;
mod options;
mod state;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rustix::process::Signal;

pub use audit::{AuditEntry, AuditObject};
pub use components::Component;
pub use options::{Options, User};

use self::components::{Command, Listen};
use self::state::{Guard, State};
use crate::binaries;
use crate::files::{create_private_dir, write_private};
use crate::kubelets::{FakeNode, KubeletOptions, Kubelets};
use crate::pki::Authority;
use crate::ports::{self, Port};
use crate::process::{Process, tail};

/// How often other programs may take our ports before we give up.
const PORT_ATTEMPTS: usize = 5;

/// etcd, kube-apiserver, kube-controller-manager and kube-scheduler, running.
///
/// Dropping it kills them and removes their state; when the thread is panicking, the logs stay in
/// `target/control-planes/failed-*`. If the process dies without dropping it, a guard process does the same.
#[derive(Debug)]
pub struct ControlPlane {
    dir: PathBuf,
    data: PathBuf,
    server_url: String,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    running: Mutex<Running>,
    life: Life,
}

#[derive(Debug)]
struct Running {
    commands: Vec<Command>,
    processes: BTreeMap<Component, Process>,
}

/// Who ends it.
#[derive(Debug)]
enum Life {
    /// We do, when dropped. The ports stay reserved for restarts; the lock on `owner` says that we live.
    Ours {
        _ports: [Port; 3],
        owner: Option<File>,
        guard: Guard,
    },
    /// Whoever calls [`ControlPlane::stop`].
    Detached,
    Stopped,
}

/// Whether a component could not start because something else listens on its port.
fn is_port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

impl ControlPlane {
    /// Starts a control plane of our own; builds the programs first if need be.
    pub async fn start(options: Options) -> Result<Self> {
        let (dir, owner) = state::create_run()?;
        let started = Self::start_in(&dir, &options, Some(owner)).await;
        if started.is_err() {
            state::finish_run(&dir, false);
        }
        started
    }

    /// Starts one in this folder that outlives us; [`ControlPlane::attach`] finds it again.
    pub async fn start_detached(dir: &Path, options: Options) -> Result<Self> {
        create_private_dir(dir)?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find {}", dir.display()))?;
        let mut started = Self::start_in(&dir, &options, None).await?;
        let ours = std::mem::replace(&mut started.life, Life::Detached);
        if let Life::Ours { mut guard, .. } = ours {
            guard.dismiss();
        }
        Ok(started)
    }

    /// The control plane that [`ControlPlane::start_detached`] left in this folder, with all its processes running.
    pub fn attach(dir: &Path) -> Result<Self> {
        let found = Self::find(dir)?;
        for (component, process) in &mut found.running().processes {
            if process.ended().is_some() {
                bail!(
                    "{} in {} no longer runs",
                    component.program(),
                    dir.display()
                );
            }
        }
        Ok(found)
    }

    /// Ends what is left of the control plane in this folder, and removes the folder. Whether there was any.
    pub fn remove(dir: &Path) -> Result<bool> {
        let found = State::load(dir);
        if let Ok(state) = &found {
            state.clean_up();
        }
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove the state folder")
            }
            _ => Ok(found.is_ok()),
        }
    }

    fn find(dir: &Path) -> Result<Self> {
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find {}", dir.display()))?;
        let state = State::load(&dir)?;
        let kubectl = state
            .commands
            .first()
            .context("a control plane without commands")?
            .executable
            .with_file_name("kubectl");
        let processes = state
            .processes
            .into_iter()
            .map(|(name, identity)| (name, Process::found(identity)))
            .collect();
        Ok(Self {
            kubeconfig: dir.join("admin.kubeconfig"),
            kubectl,
            data: state.data,
            server_url: state.server_url,
            running: Mutex::new(Running {
                commands: state.commands,
                processes,
            }),
            life: Life::Detached,
            dir,
        })
    }

    async fn start_in(dir: &Path, options: &Options, mut owner: Option<File>) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(binaries::ensure)
            .await
            .context("build the programs")??;
        let mut attempt = 1;
        loop {
            let ports = [ports::reserve()?, ports::reserve()?, ports::reserve()?];
            let listen = Listen {
                etcd: ports[0].number,
                etcd_peer: ports[1].number,
                apiserver: ports[2].number,
            };
            components::write_files(dir, listen, &options.users)?;
            let data = state::create_data_dir(dir, options.fsync)?;
            let commands = components::commands(dir, &data, &binaries, listen, options);
            let mut plane = Self {
                dir: dir.to_path_buf(),
                server_url: listen.server_url(),
                kubeconfig: dir.join("admin.kubeconfig"),
                kubectl: binaries.path("kubectl"),
                running: Mutex::new(Running {
                    commands,
                    processes: BTreeMap::new(),
                }),
                life: Life::Ours {
                    _ports: ports,
                    owner: None,
                    guard: Guard::start(dir, &data)?,
                },
                data,
            };
            match plane.bring_up(options.patience).await {
                Ok(()) => {
                    if let Life::Ours { owner: kept, .. } = &mut plane.life {
                        *kept = owner.take();
                    }
                    return Ok(plane);
                }
                Err(error) if attempt < PORT_ATTEMPTS && is_port_taken(&error) => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn bring_up(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        self.launch(Component::Etcd)?;
        self.launch(Component::ApiServer)?;
        self.wait_ready(deadline).await?;
        self.launch(Component::ControllerManager)?;
        self.launch(Component::Scheduler)?;
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(self.client().await?, "default");
        self.wait(deadline, "the default ServiceAccount exists", async || {
            accounts
                .get_opt("default")
                .await?
                .map(drop)
                .context("it does not")
        })
        .await
    }

    /// The folder with logs, keys and kubeconfigs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the API server listens, such as `https://127.0.0.1:21000`.
    pub fn server_url(&self) -> &str {
        &self.server_url
    }

    /// The authority that signs its certificates.
    pub(crate) fn authority(&self) -> Result<Authority> {
        let read = |name: &str| {
            let path = self.dir.join("pki").join(name);
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Authority::load(read("ca.crt")?, &read("ca.key")?)
    }

    /// The pinned kubectl.
    pub fn kubectl(&self) -> PathBuf {
        self.kubectl.clone()
    }

    /// A client with the administrator's rights that does not retry by itself.
    pub async fn client(&self) -> Result<Client> {
        client_of(self.config(&self.kubeconfig).await?)
    }

    /// A client for whoever has this token.
    pub async fn client_for_token(&self, token: &str) -> Result<Client> {
        client_of(self.config(&self.kubeconfig_for_token(token)?).await?)
    }

    /// The configuration behind [`ControlPlane::client`], for a kubeconfig of this control plane.
    pub async fn config(&self, kubeconfig: &Path) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // By default a refused eviction (429) would be retried inside the call, for minutes.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(30));
        config.read_timeout = Some(Duration::from_secs(320));
        config.write_timeout = Some(Duration::from_secs(120));
        Ok(config)
    }

    /// A kubeconfig for whoever has this token: a user of [`Options::users`], or a ServiceAccount.
    pub fn kubeconfig_for_token(&self, token: &str) -> Result<PathBuf> {
        let short: String = token
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        let path = self.dir.join(format!(
            "token-{}.kubeconfig",
            &short[short.len().saturating_sub(40)..]
        ));
        let user = serde_json::json!({"token": token});
        write_private(
            &path,
            &components::kubeconfig(&self.dir, &self.server_url, &user),
        )?;
        Ok(path)
    }

    /// Starts fake kubelets for these nodes and waits until the scheduler may use them.
    pub async fn kubelets(&self, nodes: Vec<FakeNode>) -> Result<Kubelets> {
        self.kubelets_with(nodes, KubeletOptions::default()).await
    }

    /// The same with options.
    pub async fn kubelets_with(
        &self,
        nodes: Vec<FakeNode>,
        options: KubeletOptions,
    ) -> Result<Kubelets> {
        let patience =
            Duration::from_secs(60) + Duration::from_millis(50) * u32::try_from(nodes.len())?;
        let config = self.config(&self.dir.join("kubelets.kubeconfig")).await?;
        let kubelets = Kubelets::start(config, nodes, options).await?;
        kubelets
            .wait_schedulable(&self.client().await?, patience)
            .await?;
        Ok(kubelets)
    }

    /// Every request answered so far, but for those the policy leaves out: Leases, events, what kubelets, scheduler
    /// and API server do, and what the controller manager reads.
    pub fn audit(&self) -> Result<Vec<AuditEntry>> {
        self.audit_since(0)
    }

    /// Where the audit log ends now, for [`ControlPlane::audit_since`].
    pub fn audit_mark(&self) -> u64 {
        std::fs::metadata(self.dir.join("audit.log")).map_or(0, |meta| meta.len())
    }

    /// The requests answered since the mark.
    pub fn audit_since(&self, mark: u64) -> Result<Vec<AuditEntry>> {
        audit::read(&self.dir.join("audit.log"), mark)
    }

    /// Kills the API server; it stays away until [`ControlPlane::restart_apiserver`].
    pub fn kill_apiserver(&self) {
        self.kill(Component::ApiServer);
    }

    /// Kills a component; it stays away until [`ControlPlane::restart`].
    pub fn kill(&self, component: Component) {
        if let Some(mut process) = self.running().processes.remove(&component) {
            process.kill();
        }
    }

    /// Kills the API server, starts it on the same port, and waits until it is ready.
    pub async fn restart_apiserver(&self) -> Result<()> {
        self.restart(Component::ApiServer).await
    }

    /// Kills a component, starts it again, and waits until the API server is ready.
    pub async fn restart(&self, component: Component) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            self.kill(component);
            self.launch(component)?;
            match self.wait_ready(deadline).await {
                // A killed process counts as gone with its first thread; the last one may hold the port for longer.
                Err(error) if is_port_taken(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                answer => return answer,
            }
        }
    }

    /// Stops a component from doing anything (SIGSTOP), so that what it keeps up to date lags.
    pub fn pause(&self, component: Component) {
        if let Some(process) = self.running().processes.get(&component) {
            process.identity.pause(Duration::from_secs(10));
        }
    }

    /// Lets a paused component go on.
    pub fn resume(&self, component: Component) {
        if let Some(process) = self.running().processes.get(&component) {
            process.identity.signal(Signal::CONT);
        }
    }

    /// The peak memory of a component in KiB.
    pub fn peak_memory_kib(&self, component: Component) -> Option<u64> {
        let pid = self.running().processes.get(&component)?.identity.pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
    }

    /// Kills all components and removes the state, also of a detached control plane.
    pub fn stop(mut self) {
        self.end(false);
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a component and records it before anything else can happen.
    fn launch(&self, component: Component) -> Result<()> {
        let mut running = self.running();
        let command = running
            .commands
            .iter()
            .find(|command| command.component == component)
            .cloned();
        let Command {
            executable,
            args,
            log,
            ..
        } = command.context("no such component")?;
        let process = Process::spawn(&executable, &args, &self.dir, &log)?;
        running.processes.insert(component, process);
        let processes = running
            .processes
            .iter()
            .map(|(name, process)| (*name, process.identity.clone()))
            .collect();
        let (server_url, data, commands) = (
            self.server_url.clone(),
            self.data.clone(),
            running.commands.clone(),
        );
        State {
            server_url,
            data,
            commands,
            processes,
        }
        .save(&self.dir)
    }

    async fn wait_ready(&self, deadline: Instant) -> Result<()> {
        let client = self.client().await?;
        self.wait(deadline, "kube-apiserver is ready", async || {
            let request = http::Request::get("/readyz")
                .body(Vec::new())
                .context("a request")?;
            client
                .request_text(request)
                .await
                .map(drop)
                .context("ask /readyz")
        })
        .await
    }

    /// Waits, but not when a component has ended.
    async fn wait(
        &self,
        deadline: Instant,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<()>,
    ) -> Result<()> {
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(5), look()).await;
            let error = match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            self.check_running()?;
            if Instant::now() > deadline {
                let logs = self
                    .running()
                    .commands
                    .iter()
                    .map(|c| format!("\n--- {}\n{}", c.log.display(), tail(&c.log, 8)))
                    .collect::<String>();
                bail!("waited in vain until {what}: {error}{logs}");
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    fn check_running(&self) -> Result<()> {
        let mut running = self.running();
        let Running {
            commands,
            processes,
        } = &mut *running;
        for (component, process) in processes {
            if let Some(end) = process.ended() {
                let log = commands
                    .iter()
                    .find(|c| c.component == *component)
                    .map(|c| tail(&c.log, 20));
                bail!(
                    "{} ended ({end}):\n{}",
                    component.program(),
                    log.unwrap_or_default()
                );
            }
        }
        Ok(())
    }

    fn end(&mut self, keep: bool) {
        let life = std::mem::replace(&mut self.life, Life::Stopped);
        if matches!(life, Life::Stopped) {
            return;
        }
        let mut running = self.running();
        // All at once first: what waits for the others would only write errors.
        for process in running.processes.values() {
            process.identity.signal(Signal::KILL);
        }
        for process in running.processes.values_mut() {
            process.kill();
        }
        drop(running);
        match life {
            Life::Ours {
                owner, mut guard, ..
            } => {
                guard.finish();
                // Without the owner's lock this is an attempt that failed; whoever started it keeps the folder.
                if owner.is_some()
                    && let Some(kept) = state::finish_run(&self.dir, keep)
                {
                    let _ = writeln!(
                        std::io::stderr(),
                        "the control plane's logs are in {}/log",
                        kept.display()
                    );
                }
            }
            Life::Detached | Life::Stopped => {
                let _ = std::fs::remove_dir_all(&self.data);
                let _ = std::fs::remove_dir_all(&self.dir);
            }
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if matches!(self.life, Life::Ours { .. }) {
            self.end(std::thread::panicking());
        }
    }
}

fn client_of(config: Config) -> Result<Client> {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::try_from(config).context("build a client")
}
