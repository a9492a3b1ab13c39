//! Agent and script read the same host; only what moves by itself may differ.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use host::{HostFacts, Probe, Reading, script};

fn by_agent() -> Vec<Reading> {
    let out = Command::new(env!("CARGO_BIN_EXE_refloat-agent"))
        .arg("look")
        .output()
        .unwrap();
    assert!(out.status.success());
    serde_json::from_slice(&out.stdout).unwrap()
}

fn by_script() -> Vec<Reading> {
    let mut shell = Command::new("sh")
        .args(["-c", script::LOOK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let input = script::look_input(Probe::ALL);
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let out = shell.wait_with_output().unwrap();
    script::readings(&String::from_utf8_lossy(&out.stdout)).unwrap()
}

/// Numbers that change from second to second are put out of the way; that they are there is kept.
fn settled(readings: &[Reading]) -> serde_json::Value {
    let mut facts = HostFacts::from_readings(readings);
    facts.uptime = facts.uptime.map(|_| 0.0);
    facts.load = facts.load.map(|_| [0.0; 3]);
    facts.steal = facts.steal.map(|_| 0.0);
    for stall in [
        &mut facts.pressure.cpu,
        &mut facts.pressure.io,
        &mut facts.pressure.memory,
    ] {
        *stall = stall.map(|_| host::Stall::default());
    }
    facts.memory.available = facts.memory.available.map(|_| 0);
    facts.memory.free_blocks_order3 = facts.memory.free_blocks_order3.map(|_| 0);
    facts.memory.oom_kills = facts.memory.oom_kills.map(|_| 0);
    facts.memory.cgroups = facts.memory.cgroups.map(|_| 0);
    let limits = &mut facts.limits;
    limits.processes = limits.processes.map(|_| 0);
    for table in [
        &mut limits.tasks,
        &mut limits.files,
        &mut limits.conntrack,
        &mut limits.inotify_instances,
        &mut limits.inotify_watches,
        &mut limits.neighbours,
        &mut limits.daemon_files,
    ] {
        *table = table.map(|table| host::Use::new(0, table.limit));
    }
    // Which daemon is closest to its limit depends on numbers that move.
    limits.daemon_files = None;
    limits.daemon = None;
    facts.zombies = facts.zombies.map(|_| 0);
    facts.blocked.clear();
    facts.old_processes.clear();
    facts.deleted.clear();
    // That they were asked is what stays.
    facts.crowded.iter_mut().for_each(Vec::clear);
    for disk in &mut facts.disks {
        (disk.busy, disk.wait, disk.in_flight, disk.requests) = (0.0, 0.0, 0, 0);
    }
    // Other tests of this machine mount and unmount; what the system has stays.
    facts
        .mounts
        .retain(|mount| ["/", "/dev/shm", "/run", "/tmp"].contains(&mount.path.as_str()));
    for mount in &mut facts.mounts {
        if let host::MountState::Answers { space, inodes } = &mut mount.state {
            (space.used, inodes.used) = (0, 0);
            inodes.limit = 0;
        }
    }
    facts.disks.retain(|disk| !disk.device.starts_with("dm-"));
    facts
        .interfaces
        .retain(|interface| interface.name == "eth0" || interface.name.starts_with("en"));
    facts.clock.now = facts.clock.now.map(|_| 0.0);
    for runtime in &mut facts.runtimes {
        runtime.millis = runtime.millis.map(|_| 0);
    }
    for unit in facts.units.values_mut() {
        unit.active_seconds = unit.active_seconds.map(|_| 0);
        unit.process_state = unit.process_state.map(|_| 'S');
    }
    for log in &mut facts.logs {
        log.text.clear();
    }
    // How long a busy machine takes is not what is compared.
    facts.timed_out.clear();
    serde_json::to_value(facts).unwrap()
}

#[test]
fn agent_and_script_see_the_same() {
    let (agent, script) = (settled(&by_agent()), settled(&by_script()));
    let maps = [&agent, &script].map(|value| {
        value
            .as_object()
            .unwrap()
            .iter()
            .collect::<BTreeMap<_, _>>()
    });
    for (name, value) in &maps[0] {
        assert_eq!(Some(value), maps[1].get(name), "{name}");
    }
}
