//! The programs of a control plane and their flags.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::audit;
use super::options::{Options, User};
use crate::binaries::Binaries;
use crate::files::{create_private_dir, write_private};
use crate::pki::{self, Authority, Pair};

/// One program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The database.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

impl Component {
    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// The command line of a component, kept to start it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) component: Component,
    pub(super) executable: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) log: PathBuf,
}

/// Where the components listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listen {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) apiserver: u16,
}

impl Listen {
    pub(super) fn server_url(self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver)
    }
}

/// Writes keys, certificates, kubeconfigs and configuration; the folder has then everything the components read.
pub(super) fn write_files(dir: &Path, listen: Listen, users: &[User]) -> Result<()> {
    create_private_dir(&dir.join("pki"))?;
    create_private_dir(&dir.join("log"))?;
    let authority = Authority::generate()?;
    let hosts = [
        "localhost",
        "kubernetes.default.svc",
        "127.0.0.1",
        "10.96.0.1",
    ];
    let serving = authority.serving("kube-apiserver", &hosts)?;
    let (private, public) = pki::service_account_keys()?;
    for (name, text) in [
        ("pki/ca.crt", authority.certificate()),
        ("pki/ca.key", authority.key()),
        ("pki/apiserver.crt", serving.certificate),
        ("pki/apiserver.key", serving.key),
        ("pki/sa.key", private),
        ("pki/sa.pub", public),
        ("tokens.csv", users.iter().map(token_line).collect()),
        ("audit-policy.yaml", audit::POLICY.to_owned()),
        ("scheduler.yaml", scheduler_configuration(dir)),
    ] {
        write_private(&dir.join(name), &text)?;
    }
    // For what asks kubelets through the API server: logs, exec.
    let asker = authority.client("testkit:apiserver", Some("system:masters"))?;
    write_private(&dir.join("pki/kubelet-client.crt"), &asker.certificate)?;
    write_private(&dir.join("pki/kubelet-client.key"), &asker.key)?;
    for (file, user, group) in [
        ("admin.kubeconfig", "admin", Some("system:masters")),
        (
            "kubelets.kubeconfig",
            "testkit:kubelets",
            Some("system:masters"),
        ),
        (
            "controller-manager.kubeconfig",
            "system:kube-controller-manager",
            None,
        ),
        ("scheduler.kubeconfig", "system:kube-scheduler", None),
    ] {
        let Pair { certificate, key } = authority.client(user, group)?;
        write_private(&dir.join(format!("pki/{file}.crt")), &certificate)?;
        write_private(&dir.join(format!("pki/{file}.key")), &key)?;
        let user = serde_json::json!({
            "client-certificate": dir.join(format!("pki/{file}.crt")),
            "client-key": dir.join(format!("pki/{file}.key")),
        });
        write_private(
            &dir.join(file),
            &kubeconfig(dir, &listen.server_url(), &user),
        )?;
    }
    Ok(())
}

/// A kubeconfig for one user. JSON is YAML, too.
pub(super) fn kubeconfig(dir: &Path, server_url: &str, user: &serde_json::Value) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testkit", "cluster": {"server": server_url, "certificate-authority": dir.join("pki/ca.crt")}}],
        "users": [{"name": "testkit", "user": user}],
        "contexts": [{"name": "testkit", "context": {"cluster": "testkit", "user": "testkit"}}],
        "current-context": "testkit",
    });
    format!("{config:#}\n")
}

fn token_line(user: &User) -> String {
    format!(
        "{},{},{},\"{}\"\n",
        user.token,
        user.name,
        user.name,
        user.groups.join(",")
    )
}

fn scheduler_configuration(dir: &Path) -> String {
    let config = serde_json::json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": false},
        "clientConnection": {"kubeconfig": dir.join("scheduler.kubeconfig"), "qps": 3000, "burst": 6000},
    });
    format!("{config:#}\n")
}

/// The command lines, in the order in which to start them.
pub(super) fn commands(
    dir: &Path,
    data: &Path,
    binaries: &Binaries,
    listen: Listen,
    options: &Options,
) -> Vec<Command> {
    [
        (
            Component::Etcd,
            etcd_flags(data, listen, options.fsync),
            &options.etcd_flags,
        ),
        (
            Component::ApiServer,
            apiserver_flags(dir, listen),
            &options.apiserver_flags,
        ),
        (
            Component::ControllerManager,
            controller_manager_flags(dir, options),
            &options.controller_manager_flags,
        ),
        (
            Component::Scheduler,
            scheduler_flags(dir),
            &options.scheduler_flags,
        ),
    ]
    .into_iter()
    .map(|(component, mut args, further)| {
        args.extend(further.iter().cloned());
        let executable = binaries.path(component.program());
        let log = dir.join("log").join(format!("{}.log", component.program()));
        Command {
            component,
            executable,
            args,
            log,
        }
    })
    .collect()
}

fn etcd_flags(data: &Path, listen: Listen, fsync: bool) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", listen.etcd);
    let peer = format!("http://127.0.0.1:{}", listen.etcd_peer);
    let mut flags = vec![
        "--name=testkit".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=testkit={peer}"),
        "--log-level=warn".to_owned(),
        "--quota-backend-bytes=8589934592".to_owned(),
    ];
    if !fsync {
        flags.push("--unsafe-no-fsync=true".to_owned());
    }
    flags
}

fn apiserver_flags(dir: &Path, listen: Listen) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", listen.etcd),
        format!("--secure-port={}", listen.apiserver),
        format!("--tls-cert-file={}", file("pki/apiserver.crt")),
        format!("--tls-private-key-file={}", file("pki/apiserver.key")),
        format!("--client-ca-file={}", file("pki/ca.crt")),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--service-account-key-file={}", file("pki/sa.pub")),
        format!("--service-account-signing-key-file={}", file("pki/sa.key")),
        format!(
            "--kubelet-client-certificate={}",
            file("pki/kubelet-client.crt")
        ),
        format!("--kubelet-client-key={}", file("pki/kubelet-client.key")),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
    ];
    flags.extend(
        [
            "--bind-address=127.0.0.1",
            // Only recorded, never dialled: the address must not be loopback, and a machine may have no other.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--shutdown-delay-duration=0s",
            "--max-requests-inflight=3000",
            "--max-mutating-requests-inflight=1000",
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=4096",
            "--profiling=false",
        ]
        .map(str::to_owned),
    );
    flags
}

fn controller_manager_flags(dir: &Path, options: &Options) -> Vec<String> {
    let grace = options
        .node_monitor_grace
        .max(std::time::Duration::from_secs(2));
    let period = (grace / 10).clamp(
        std::time::Duration::from_millis(500),
        std::time::Duration::from_secs(5),
    );
    let file = |name: &str| dir.join(name).display().to_string();
    let mut flags = vec![
        format!("--kubeconfig={}", file("controller-manager.kubeconfig")),
        format!("--root-ca-file={}", file("pki/ca.crt")),
        format!("--service-account-private-key-file={}", file("pki/sa.key")),
        format!("--cluster-signing-cert-file={}", file("pki/ca.crt")),
        format!("--cluster-signing-key-file={}", file("pki/ca.key")),
        format!("--node-monitor-grace-period={}ms", grace.as_millis()),
        format!("--node-monitor-period={}ms", period.as_millis()),
        format!(
            "--controllers={}",
            options.controllers.as_deref().unwrap_or("*")
        ),
    ];
    flags.extend(
        [
            // No listener: nothing of ours asks it, and every port is one that somebody else may take.
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            "--kube-api-qps=3000",
            "--kube-api-burst=6000",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=50",
            "--concurrent-statefulset-syncs=50",
            "--concurrent-daemonset-syncs=20",
            "--concurrent-job-syncs=20",
            "--concurrent-namespace-syncs=20",
            "--concurrent-gc-syncs=50",
            "--profiling=false",
        ]
        .map(str::to_owned),
    );
    flags
}

fn scheduler_flags(dir: &Path) -> Vec<String> {
    vec![
        format!("--config={}", dir.join("scheduler.yaml").display()),
        "--secure-port=0".to_owned(),
    ]
}
