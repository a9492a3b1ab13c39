//! Container images out of one static program, so that no registry is needed.

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

/// Changes when what [`archive`] makes changes.
pub(super) const RECIPE: &str = "images 1";

/// The image that every pod's sandbox runs.
pub const PAUSE: &str = "localhost/pause:1";
/// An image with a shell and the usual programs.
pub const BUSYBOX: &str = "localhost/busybox:1";

/// Waits for ever, but ends when it is asked to: as the first process of a container, a bare `sleep` would not.
const WAIT: &str = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done";

/// An archive with both images, as `docker load` and `ctr images import` take it.
pub(super) fn archive(busybox: &[u8], applets: &[&str]) -> Result<Vec<u8>> {
    let mut layer = Tar::default();
    for (dir, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("var", 0o755),
    ] {
        layer.dir(dir, mode)?;
    }
    layer.file("bin/busybox", 0o755, busybox)?;
    layer.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")?;
    layer.file("etc/group", 0o644, b"root:x:0:\n")?;
    for applet in applets {
        let name = applet.rsplit('/').next().unwrap_or(applet);
        if name != "busybox" {
            layer.link(&format!("bin/{name}"), "busybox")?;
        }
    }
    let layer = layer.finish();
    let layer_name = format!("{}.tar", sha256(&layer));
    let diff = format!("sha256:{}", sha256(&layer));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut archive = Tar::default();
    let mut manifest = Vec::new();
    for (tag, command) in [
        (PAUSE, vec!["/bin/sh", "-c", WAIT]),
        (BUSYBOX, vec!["/bin/sh"]),
    ] {
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [diff]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "testkit"}],
        });
        let config = serde_json::to_vec(&config).context("write an image's configuration")?;
        let name = format!("{}.json", sha256(&config));
        archive.file(&name, 0o644, &config)?;
        manifest.push(json!({"Config": name, "RepoTags": [tag], "Layers": [layer_name]}));
    }
    archive.file(&layer_name, 0o644, &layer)?;
    let manifest = serde_json::to_vec(&manifest).context("write the manifest")?;
    archive.file("manifest.json", 0o644, &manifest)?;
    Ok(archive.finish())
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A tar archive (ustar) in memory.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn dir(&mut self, name: &str, mode: u32) -> Result<()> {
        self.entry(&format!("{name}/"), mode, b'5', "", &[])
    }

    fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.entry(name, mode, b'0', "", data)
    }

    fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.entry(name, 0o777, b'2', to, &[])
    }

    fn entry(&mut self, name: &str, mode: u32, kind: u8, link: &str, data: &[u8]) -> Result<()> {
        ensure!(
            name.len() < 100 && link.len() < 100,
            "a name too long for tar: {name}"
        );
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", data.len()));
        put(136, "00000000000");
        // The sum counts its own field as blanks.
        put(148, "        ");
        put(157, link);
        put(257, "ustar");
        put(263, "00");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(data);
        let padded = self.0.len().next_multiple_of(512);
        self.0.resize(padded, 0);
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn tar_reads_it_and_the_digests_are_those_of_the_parts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        std::fs::write(&file, archive(b"program", &["sh", "sbin/ip"]).unwrap()).unwrap();
        let run = |args: &[&str], file: &std::path::Path| {
            let output = Command::new("tar")
                .args(args)
                .arg(file)
                .current_dir(dir.path())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };
        run(&["-xf"], &file);
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&read("manifest.json")).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], PAUSE);
        assert_eq!(manifest[1]["RepoTags"][0], BUSYBOX);
        let layer = manifest[0]["Layers"][0].as_str().unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&read(manifest[0]["Config"].as_str().unwrap())).unwrap();
        let diff = format!("sha256:{}", sha256(&read(layer)));
        assert_eq!(config["rootfs"]["diff_ids"][0], diff);
        let listed = run(&["-tvf"], &dir.path().join(layer));
        for part in ["bin/sh -> busybox", "bin/ip -> busybox", "drwxrwxrwt"] {
            assert!(listed.contains(part), "{part} in {listed}");
        }
    }
}
