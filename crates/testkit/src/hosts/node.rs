//! The files that make a booted Debian a node: runtime, pod network, kubelet.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::images::PAUSE;
use super::options::Era;
use super::spec::Spec;
use crate::pki::{Authority, Pair};

/// The port of the run's bridge address where hosts find the API server.
pub(super) const API_PORT: u16 = 6443;

/// Where kubelet's client certificate is; the key is beside it.
pub(super) const KUBELET_CERTIFICATE: &str = "/etc/kubernetes/pki/kubelet.crt";

/// The file of flags beside the unit's own, as kubeadm has it.
pub(super) const KUBELET_DEFAULTS: &str = "/etc/default/kubelet";

/// Where a host finds the archive of its images.
pub(super) const IMAGES: &str = "/usr/local/lib/testkit-images.tar";

/// Puts the images into the runtime, unless they are there.
pub(super) const LOAD_IMAGES: &str = "/usr/local/sbin/testkit-images";

/// A file to be: where, its mode, its content. A path that ends with a slash is an empty folder.
pub(super) type File = (String, u32, String);

/// What every host has, node or not.
pub(super) fn host_files(spec: &Spec, ssh: &SshKeys) -> Vec<File> {
    let name = &spec.options.name;
    let file = |path: &str, content: &str| (path.to_owned(), 0o644, content.to_owned());
    let mut files = vec![
        file("/etc/hostname", &format!("{name}\n")),
        file(
            "/etc/hosts",
            &format!("127.0.0.1 localhost\n{} {name}\n", spec.place.address),
        ),
        file(
            "/etc/ssh/sshd_config.d/testkit.conf",
            "HostKey /etc/ssh/ssh_host_ed25519_key\nAuthorizedKeysFile /etc/ssh/authorized_keys\n",
        ),
        file("/etc/ssh/authorized_keys", &ssh.user_public),
        (
            "/etc/ssh/ssh_host_ed25519_key".to_owned(),
            0o600,
            ssh.host_private.clone(),
        ),
    ];
    match spec.options.era {
        Era::Containerd => files.push(file("/etc/containerd/config.toml", CONTAINERD)),
        Era::Docker => {
            files.push(file("/etc/docker/daemon.json", DOCKER));
            files.push((
                "/usr/local/sbin/runc-as-allowed".to_owned(),
                0o755,
                RUNC_AS_ALLOWED.to_owned(),
            ));
        }
    }
    files.push((
        LOAD_IMAGES.to_owned(),
        0o755,
        load_images(spec.options.era).to_owned(),
    ));
    files.push(file(
        "/etc/systemd/system/testkit-images.service",
        IMAGES_UNIT,
    ));
    files
}

/// The units to start at boot: below `/etc/systemd/system`, the link and where it points.
pub(super) fn links(spec: &Spec) -> Vec<(&'static str, &'static str)> {
    const PACKAGED: &str = "/lib/systemd/system/containerd.service";
    let mut links = vec![
        ("multi-user.target.wants/containerd.service", PACKAGED),
        (
            "multi-user.target.wants/testkit-images.service",
            "/etc/systemd/system/testkit-images.service",
        ),
    ];
    if spec.options.era == Era::Docker {
        links.extend([
            (
                "multi-user.target.wants/docker.service",
                "/lib/systemd/system/docker.service",
            ),
            (
                "sockets.target.wants/docker.socket",
                "/lib/systemd/system/docker.socket",
            ),
        ]);
    }
    if spec.joined {
        links.push((
            "multi-user.target.wants/kubelet.service",
            "/etc/systemd/system/kubelet.service",
        ));
    }
    links
}

/// What makes it a node of this cluster.
pub(super) fn node_files(spec: &Spec, authority: &Authority) -> Result<Vec<File>> {
    let Pair { certificate, key } = kubelet_certificate(spec, authority)?;
    let text = |value: &Value| {
        serde_json::to_string_pretty(value)
            .map(|text| text + "\n")
            .context("write JSON")
    };
    let file = |path: &str, content: String| (path.to_owned(), 0o644, content);
    let secret = |path: &str, content: String| (path.to_owned(), 0o600, content);
    Ok(vec![
        file("/etc/kubernetes/pki/ca.crt", authority.certificate()),
        secret(KUBELET_CERTIFICATE, certificate),
        secret("/etc/kubernetes/pki/kubelet.key", key),
        secret("/etc/kubernetes/kubelet.conf", text(&kubeconfig(spec))?),
        file("/etc/kubernetes/kubelet.yaml", text(&kubelet_config(spec))?),
        file("/etc/kubernetes/manifests/", String::new()),
        file(
            "/etc/cni/net.d/10-testkit.conflist",
            text(&pod_network(spec))?,
        ),
        file("/etc/systemd/system/kubelet.service", kubelet_unit(spec)),
    ])
}

fn kubelet_certificate(spec: &Spec, authority: &Authority) -> Result<Pair> {
    let user = format!("system:node:{}", spec.options.name);
    authority.client(&user, Some("system:nodes"))
}

/// The certificate of the same name that is no longer valid, with its key.
pub(super) fn expired_certificate(spec: &Spec, authority: &Authority) -> Result<Pair> {
    let user = format!("system:node:{}", spec.options.name);
    authority.expired_client(&user, Some("system:nodes"))
}

fn kubeconfig(spec: &Spec) -> Value {
    let server = format!("https://{}:{API_PORT}", spec.place.gateway());
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testkit", "cluster": {
            "server": server,
            "certificate-authority": "/etc/kubernetes/pki/ca.crt",
            // The server does not know the address at which we let hosts find it.
            "tls-server-name": "localhost",
        }}],
        "users": [{"name": "kubelet", "user": {
            "client-certificate": KUBELET_CERTIFICATE,
            "client-key": "/etc/kubernetes/pki/kubelet.key",
        }}],
        "contexts": [{"name": "testkit", "context": {"cluster": "testkit", "user": "kubelet"}}],
        "current-context": "testkit",
    })
}

fn kubelet_config(spec: &Spec) -> Value {
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "clusterDomain": "cluster.local",
        "clusterDNS": ["10.96.0.10"],
        "resolvConf": "",
        "staticPodPath": "/etc/kubernetes/manifests",
        // A machine may not let its containers go below what they begin with.
        "oomScoreAdj": 0,
        // Kubernetes' own, and processes: without a threshold there is no PIDPressure.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
            "pid.available": "10%",
        },
    });
    if spec.options.era == Era::Containerd {
        config["containerRuntimeEndpoint"] = json!("unix:///run/containerd/containerd.sock");
        config["failCgroupV1"] = json!(false);
    }
    for (key, value) in &spec.options.kubelet {
        config[key] = value.clone();
    }
    config
}

fn kubelet_unit(spec: &Spec) -> String {
    let era = match spec.options.era {
        Era::Containerd => String::new(),
        Era::Docker => format!(
            " --container-runtime=docker --network-plugin=cni --cni-bin-dir=/usr/lib/cni --pod-infra-container-image={PAUSE}"
        ),
    };
    format!(
        "[Unit]
Description=kubelet
Wants={runtime}.service
After=network-online.target containerd.service docker.service testkit-images.service
StartLimitIntervalSec=0

[Service]
EnvironmentFile=-{KUBELET_DEFAULTS}
ExecStart=/usr/local/bin/kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.conf \
--hostname-override={name} --node-ip={address} --v=2{era} $KUBELET_EXTRA_ARGS
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target
",
        runtime = spec.options.era.name(),
        name = spec.options.name,
        address = spec.place.address,
    )
}

fn pod_network(spec: &Spec) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": spec.place.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

const CONTAINERD: &str = r#"version = 2

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#;

const DOCKER: &str = r#"{
  "live-restore": true,
  "storage-driver": "overlay2",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "bridge": "none",
  "iptables": false,
  "ip6tables": false,
  "default-runtime": "as-allowed",
  "runtimes": {"as-allowed": {"path": "/usr/local/sbin/runc-as-allowed"}}
}
"#;

/// dockerd has no `restrict_oom_score_adj`, and kubelet 1.23 wants its sandboxes below zero.
const RUNC_AS_ALLOWED: &str = r#"#!/bin/sh
# runc, where the machine may forbid containers a negative oom_score_adj: asks for 0 instead.
bundle=
for word; do
    if [ "$bundle" = next ]; then bundle=$word; fi
    case $word in
    --bundle | -b) bundle=next ;;
    --bundle=*) bundle=${word#*=} ;;
    esac
done
if [ -f "$bundle/config.json" ]; then
    sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/' "$bundle/config.json"
fi
exec runc "$@"
"#;

fn load_images(era: Era) -> &'static str {
    match era {
        Era::Containerd => {
            r#"#!/bin/sh
set -e
have=$(ctr -n k8s.io images list -q)
for image in localhost/pause:1 localhost/busybox:1; do
    case $have in
    *"$image"*) ;;
    *) exec ctr -n k8s.io images import /usr/local/lib/testkit-images.tar ;;
    esac
done
"#
        }
        Era::Docker => {
            r#"#!/bin/sh
docker image inspect localhost/pause:1 localhost/busybox:1 >/dev/null 2>&1 ||
    exec docker load --quiet --input /usr/local/lib/testkit-images.tar
"#
        }
    }
}

const IMAGES_UNIT: &str = "[Unit]
Description=Images for pods, from a file
After=containerd.service docker.service
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/testkit-images

[Install]
WantedBy=multi-user.target
";

/// The keys of a host's sshd and of whoever logs in.
#[derive(Debug)]
pub(super) struct SshKeys {
    pub(super) user_public: String,
    pub(super) host_private: String,
}

/// Makes them, and writes what a client needs beside the host's spec.
pub(super) fn ssh_keys(spec: &Spec) -> Result<SshKeys> {
    let generate = |name: &str| -> Result<(String, String)> {
        let path = spec.file(name);
        super::run::run(
            super::run::program(
                "ssh-keygen",
                ["-q", "-t", "ed25519", "-N", "", "-C", "testkit"],
            )
            .arg("-f")
            .arg(&path),
        )?;
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        Ok((read(&path)?, read(&path.with_extension("pub"))?))
    };
    let (_, user_public) = generate("ssh-key")?;
    let (host_private, host_public) = generate("ssh-host-key")?;
    let known = format!("{} {host_public}", spec.place.address);
    crate::files::write_private(&spec.file("known_hosts"), &known)?;
    Ok(SshKeys {
        user_public,
        host_private,
    })
}
