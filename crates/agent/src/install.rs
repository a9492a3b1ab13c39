//! `install` and `uninstall`: enrolment, configuration, and the unit of systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::run_both;
use crate::config::{FILES, resolve};
use crate::{Config, Token, log, tls};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the program goes.
const PROGRAM: &str = "/usr/local/bin/refloat-agent";
const UNIT: &str = "/etc/systemd/system/refloat-agent.service";
const SERVICE: &str = "refloat-agent.service";

/// For every systemd from 219 on, which warns of what it does not know and goes on.
///
/// No namespace of its own for mounts (`ProtectSystem`, `PrivateTmp` and their like): what it unmounts would stay mounted
/// for everybody else. No `ProtectKernelTunables`: it thaws cgroups. No `MemoryDenyWriteExecute`, `SystemCallFilter`:
/// 219 has other lists. Capabilities are those its actions need.
const UNIT_TEXT: &str = "\
[Unit]
Description=refloat agent
After=network.target

[Service]
ExecStart=/usr/local/bin/refloat-agent run
Restart=always
RestartSec=5
# Must live when others are killed for memory, and must not starve when they are many.
OOMScoreAdjust=-900
Nice=-5
CPUShares=262144
CPUWeight=10000
TasksMax=256
LimitNOFILE=4096
LimitCORE=0
# Its children are its own; a child that cannot be killed must not keep it from ending.
KillMode=mixed
TimeoutStopSec=10
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_PTRACE CAP_SYSLOG CAP_KILL CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_SYS_NICE CAP_SYS_RESOURCE
RestrictRealtime=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
";

pub(crate) struct Install {
    pub(crate) server: String,
    pub(crate) token: Token,
    pub(crate) node: Option<String>,
    pub(crate) directory: PathBuf,
    pub(crate) service: bool,
}

/// Enrols, writes, starts.
pub(crate) fn install(wanted: &Install) -> Result<(), Failure> {
    let node = match &wanted.node {
        Some(node) => node.clone(),
        None => fs::read_to_string("/proc/sys/kernel/hostname")?
            .trim()
            .to_lowercase(),
    };
    let addresses =
        resolve(&wanted.server).map_err(|error| format!("{}: {error}", wanted.server))?;
    let identity = tls::enrol(&addresses, &wanted.token, &node)?;
    let config = Config {
        server: wanted.server.clone(),
        addresses,
        certificate: identity.certificate,
        key: identity.key,
        authority: identity.authority,
    };
    config.write(&wanted.directory)?;
    log::line(format_args!("enrolled as {node}"));
    if !wanted.service {
        return Ok(());
    }
    copy_program()?;
    let at = wanted.directory.display();
    let text = UNIT_TEXT.replace(
        "refloat-agent run",
        &format!("refloat-agent run --config {at}"),
    );
    fs::write(UNIT, text)?;
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", SERVICE])?;
    systemctl(&["restart", SERVICE])?;
    log::line(format_args!("{SERVICE} runs"));
    Ok(())
}

/// Beside the old one and then in its place: a running program cannot be written to.
fn copy_program() -> Result<(), Failure> {
    let ours = std::env::current_exe()?;
    if ours == Path::new(PROGRAM) {
        return Ok(());
    }
    let new = Path::new(PROGRAM).with_extension("new");
    fs::copy(&ours, &new)?;
    fs::rename(&new, PROGRAM)?;
    Ok(())
}

fn systemctl(words: &[&str]) -> Result<(), Failure> {
    let all: Vec<&str> = [&["systemctl"], words].concat();
    let printed = run_both(Duration::from_secs(30), &all);
    if printed.end.is_ok() {
        return Ok(());
    }
    Err(format!("{}: {}", all.join(" "), printed.text.trim()).into())
}

/// Stops the service and removes what install has written. What is not there is no error.
pub(crate) fn uninstall(directory: &Path) -> Result<(), Failure> {
    if Path::new(UNIT).exists() {
        systemctl(&["disable", SERVICE])?;
        systemctl(&["stop", SERVICE])?;
        fs::remove_file(UNIT)?;
        systemctl(&["daemon-reload"])?;
    }
    for name in FILES {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    // Only when it is empty: it may hold what others have put there.
    let _ = fs::remove_dir(directory);
    if Path::new(PROGRAM).exists() {
        fs::remove_file(PROGRAM)?;
    }
    Ok(())
}
