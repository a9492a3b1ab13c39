//! Logs and evidence of hosts in trouble: whole, in time, small enough, and without a secret in them.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use host::Unit;
use hosts::BUNDLE_LIMIT;
use model::Time;
use testkit::hosts::{Era, Fault, Host};

use super::host_rig::HostRig;
use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "evidence",
    what: "evidence of a host whose disk is full, whose runtime is frozen, whose API server is gone: complete within 10 s, at most 64 MiB, no secret in it",
    time: ["2 min", "4 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// The claim.
const WITHIN: Duration = Duration::from_secs(10);
const HEALS: Duration = Duration::from_secs(120);

/// Nothing else on a host looks like these.
const SECRETS: [&str; 5] = [
    "Hunter2-kernel-log",
    "Hunter2-command-line",
    "Hunter2-kubelet-config",
    "Hunter2-journal-token",
    "Hunter2-url-password",
];

/// What an engineer opens first.
const WANTED: [&str; 5] = [
    "kubelet",
    "containerd",
    "kernel",
    "findings.json",
    "facts.json",
];

struct Row {
    seconds: f64,
    bytes: usize,
    files: usize,
    faults: Vec<String>,
}

async fn run(args: Args) -> Result<Verdict> {
    let rig = HostRig::start(&Era::ALL).await?;
    let faults = [
        None,
        Some(Fault::DiskFull),
        Some(Fault::RuntimeFrozen),
        Some(Fault::NetworkCutApi),
    ];
    let mut rows = Vec::new();
    for host in &rig.hosts {
        plant(host).await?;
        for fault in faults {
            if let Some(fault) = fault {
                host.inject(fault).await?;
            }
            let row = gather(&rig, host).await;
            if let Some(fault) = fault {
                host.heal(fault).await?;
                rig.run.wait_ready(host, HEALS).await?;
            }
            let row = row?;
            output::line(&format!(
                "{:10} {:16} {:5.1} s {:>8} KiB {:>3} files",
                host.era().name(),
                fault.map_or("healthy", Fault::name),
                row.seconds,
                row.bytes / 1024,
                row.files,
            ));
            for fault in &row.faults {
                output::line(&format!("           {fault}"));
            }
            rows.push(row);
        }
    }
    let slowest = rows.iter().map(|row| row.seconds).fold(0.0, f64::max);
    let largest = rows.iter().map(|row| row.bytes).max().unwrap_or_default();
    let faults: usize = rows.iter().map(|row| row.faults.len()).sum();
    // Beside other things a machine of two cores takes longer: the claim is judged in full.
    let within = args.size.pick(WITHIN * 3, WITHIN).as_secs_f64();
    Ok(Verdict::new(
        slowest <= within && largest <= BUNDLE_LIMIT && faults == 0,
        format!(
            "{} bundles, {slowest:.1} s and {} KiB at most, {faults} faults",
            rows.len(),
            largest / 1024
        ),
    ))
}

/// Secrets where hosts have them.
async fn plant(host: &Host) -> Result<()> {
    let [kernel, command, config, token, password] = SECRETS;
    host.shell(&format!(
        "echo 'app: login with password={kernel}' > /dev/kmsg
         systemd-run --quiet --unit=planted sh -c 'exec -a \"app --token={command}\" sleep 100000' || true
         printf '\\n# token: {config}\\n' >> /var/lib/kubelet/config.yaml
         systemd-run --quiet --wait --unit=said sh -c 'echo Authorization: Bearer {token}; echo https://user:{password}@registry.example/v2' || true"
    ))
    .await
    .map(drop)
}

async fn gather(rig: &HostRig, host: &Host) -> Result<Row> {
    let way = rig.wait_agent(host).await?;
    let snapshot = rig.snapshot()?;
    let node = snapshot.node(host.name()).context("the node")?;
    let began = Instant::now();
    let bundle = hosts::evidence(&way, &snapshot, node, Duration::from_secs(7200)).await;
    let seconds = began.elapsed().as_secs_f64();
    let mut faults = Vec::new();
    if !bundle.is_complete() {
        faults.push("not complete".to_owned());
    }
    let packed = bundle.pack("evidence", Time::now())?;
    let files = unpack(&packed)?;
    for wanted in WANTED {
        if !files.keys().any(|name| name.contains(wanted)) {
            faults.push(format!("no {wanted} among {:?}", files.keys()));
        }
    }
    if let Some(missing) = files.get("evidence/MISSING.txt") {
        faults.push(format!("missing: {missing}"));
    }
    faults.extend(leaks(&files, &keys(host).await?));
    let mut log = way
        .log(Unit::Kubelet, Duration::from_secs(7200), false)
        .await?;
    let mut text = Vec::new();
    while let Some(piece) = log.recv().await {
        text.extend(piece?.bytes);
    }
    if text.is_empty() {
        faults.push("kubelet.log is empty".to_owned());
    }
    Ok(Row {
        seconds,
        bytes: packed.len(),
        files: files.len(),
        faults,
    })
}

/// Key material that is on the host anyway: lines of its private keys.
async fn keys(host: &Host) -> Result<Vec<String>> {
    let found = host
        .shell("cat /etc/kubernetes/*.kubeconfig /etc/kubernetes/pki/*.key /var/lib/kubelet/pki/*.pem /var/lib/kubelet/pki/*.key 2>/dev/null; cat /etc/refloat-agent/*key* 2>/dev/null; true")
        .await?;
    let mut keys = Vec::new();
    let mut within = false;
    for line in found.lines() {
        if let Some(data) = line.trim().strip_prefix("client-key-data:") {
            keys.push(data.trim().to_owned());
        }
        within = (within || line.contains("PRIVATE KEY")) && !line.starts_with("-----END");
        if within && !line.starts_with("-----") && line.len() > 20 {
            keys.push(line.trim().to_owned());
        }
    }
    Ok(keys)
}

fn leaks(files: &BTreeMap<String, String>, keys: &[String]) -> Vec<String> {
    let secrets = SECRETS
        .iter()
        .copied()
        .chain(keys.iter().map(String::as_str));
    let secrets: Vec<&str> = secrets.filter(|secret| !secret.is_empty()).collect();
    let mut found = Vec::new();
    for (name, text) in files {
        for secret in &secrets {
            if text.contains(secret) {
                let shown: String = secret.chars().take(24).collect();
                found.push(format!("{name} holds {shown}"));
            }
        }
    }
    found
}

fn unpack(packed: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let name = entry.path()?.display().to_string();
        files.insert(name, String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(files)
}
