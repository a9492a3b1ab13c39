#![expect(
    clippy::disallowed_methods,
    reason = "the scripts are run on this machine and compared with its files"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::{CgroupPath, ContainerId, HostFacts, MountPath, ProcessId, sources};

/// Runs a script in a shell, as SSH would.
fn run(shell: &str, script: &str, input: &str) -> String {
    let mut child = Command::new(shell)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A script that refuses at once has closed its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

fn boot() -> BootId {
    BootId::new(
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap()
            .trim(),
    )
    .unwrap()
}

fn order(action: Action) -> Order {
    Order {
        operation: "op\n1".to_owned(),
        generation: 1_000_000_000_000,
        boot: boot(),
        action,
        consent: true,
    }
}

#[test]
fn scripts_are_small_and_look_where_the_agent_looks() {
    // Cloud Assistant takes 24 KiB of base64, which is 18 KiB of text, with the input in it.
    for script in [LOOK, ACT, LOG, EVIDENCE] {
        assert!(script.len() <= 17 * 1024, "{} bytes", script.len());
    }
    let lists = [
        sources::FILES,
        sources::CERTIFICATES,
        sources::KUBECONFIGS,
        sources::KUBELET_CONFIGS,
        sources::WRITE_DIRECTORIES,
        sources::UNITS,
        sources::TIME_UNITS,
        sources::PACKAGES,
        sources::PROGRAM_DIRECTORIES,
    ];
    for list in lists {
        assert!(LOOK.contains(&list.join(" ")), "{list:?}");
    }
    for text in [
        sources::UNIT_PROPERTIES,
        sources::MANAGER_PROPERTIES,
        sources::WRITE_TRIAL,
    ] {
        assert!(LOOK.contains(text), "{text}");
    }
    assert!(LOOK.contains(&format!("min={}", sources::LARGE_DELETED)));
    // The files of a group are one deeper than it, and there are four of them.
    let (depth, lines) = (sources::CGROUP_DEPTH + 1, sources::CGROUPS * 4);
    let names = format!("-maxdepth {depth} -name 'pids.[cem]*' | head -n {lines} ");
    assert!(LOOK.contains(&names));
    assert!(LOOK.contains(&format!(">= M[d] * {})", sources::CROWDED)));
    // Without `--since`: see `sources::LOG_SECONDS`.
    assert!(LOOK.contains(&format!("-n {} \"$@\"", sources::LOG_LINES)));
    let labels: Vec<&str> = Probe::ALL.iter().map(|probe| probe.label()).collect();
    assert!(LOOK.contains(&labels.join("|")));
    assert!(ACT.contains(&sources::TIME_UNITS.join(" ")));
}

#[test]
fn deadlines_are_those_of_the_probes() {
    let block = LOOK.split("for p in $T; do\ncase $p in\n").nth(1).unwrap();
    for probe in Probe::ALL.iter().filter(|probe| **probe != Probe::Files) {
        let names = |line: &&str| {
            line.split(')')
                .next()
                .unwrap()
                .split('|')
                .any(|name| name == probe.label())
        };
        let line = block.lines().take(4).find(names).unwrap_or("*) d=6 ;;");
        assert!(
            line.contains(&format!("d={} ", probe.deadline() / 1000)),
            "{probe}: {line}"
        );
    }
}

#[test]
fn this_machine_can_be_read_by_both_shells() {
    let all = look_input(Probe::ALL);
    for shell in ["bash", "dash"] {
        let found = readings(&run(shell, LOOK, &all)).unwrap();
        let mut probes: Vec<Probe> = found.iter().map(|reading| reading.probe).collect();
        probes.sort();
        assert_eq!(probes, Probe::ALL, "{shell}");
        let facts = HostFacts::from_readings(&found);
        assert_eq!(facts.boot, Some(boot()));
        assert!(facts.mounts.iter().any(|mount| mount.path == "/"));
        assert!(facts.limits.tasks.is_some_and(|tasks| tasks.used > 0));
        assert!(
            facts
                .writes
                .iter()
                .any(|trial| trial.directory == "/run" && trial.error.is_none())
        );
        assert!(facts.clock.now.is_some());
    }
}

#[test]
fn cgroups_of_both_versions_are_asked_for_their_limit() {
    let id = std::process::id();
    for (version, root) in [(1, "pids/"), (2, "")] {
        let place = std::env::temp_dir().join(format!("refloat-cgroups-{id}-{version}"));
        let write = |cgroup: &str, current: &str, max: &str, refused: Option<&str>| {
            let directory = place.join(format!("{root}{cgroup}"));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("pids.current"), format!("{current}\n")).unwrap();
            std::fs::write(directory.join("pids.max"), format!("{max}\n")).unwrap();
            if let Some(refused) = refused {
                let events = format!("max {refused}\n");
                std::fs::write(directory.join("pids.events"), &events).unwrap();
                std::fs::write(directory.join("pids.events.local"), "max 999\n").unwrap();
            }
        };
        write("system.slice", "600", "max", None);
        write("system.slice/docker.service", "4915", "4915", Some("12"));
        write("system.slice/a\\x2db c.service", "80", "100", None);
        write("system.slice/sshd.service", "79", "100", Some("3"));
        let container = "kubepods/burstable/pod1/c1";
        write(container, "1024", "1024", Some("0"));
        write(&format!("{container}/own"), "9", "9", None);
        let script = LOOK.replace("/sys/fs/cgroup", place.to_str().unwrap());
        for shell in ["bash", "dash"] {
            let found = readings(&run(shell, &script, &look_input(&[Probe::Processes]))).unwrap();
            let crowded = HostFacts::from_readings(&found).crowded.unwrap();
            let said = crowded.iter().map(|one| {
                let path = one.path.strip_prefix(place.to_str().unwrap()).unwrap();
                let path = path.trim_start_matches('/').strip_prefix(root).unwrap();
                (path, one.tasks.used, one.tasks.limit, one.refused)
            });
            let expected = [
                ("system.slice/docker.service", 4915, 4915, Some(12)),
                ("system.slice/a\\x2db c.service", 80, 100, None),
                (container, 1024, 1024, Some(0)),
            ];
            assert_eq!(
                said.collect::<Vec<_>>(),
                expected,
                "{shell}, version {version}"
            );
        }
        std::fs::remove_dir_all(&place).unwrap();
    }
}

#[test]
fn only_words_of_the_list_are_probes() {
    for bad in ["files;id", "files $(id)", "nonsense", "files\u{0}x", "*"] {
        assert_eq!(run("dash", LOOK, &format!("{bad}\n")), "", "{bad:?}");
    }
    let one = readings(&run(
        "dash",
        &inline(LOOK, &look_input(&[Probe::Files])),
        "",
    ))
    .unwrap();
    assert_eq!(one.len(), 1);
}

/// What the script says to an order, on this machine; nothing of these is ever carried out.
#[track_caller]
fn refused(order: &Order, expected: &str) {
    refused_input(&act_input(order), expected);
}

#[track_caller]
fn refused_input(input: &str, expected: &str) {
    let said = run("dash", ACT, input);
    let Ok(Acted::Refused(Refusal::Precondition { code, found })) = acted(&said) else {
        panic!("{said}");
    };
    assert_eq!(format!("{code} {found}").trim(), expected);
}

#[test]
fn orders_are_refused_whose_host_is_not_as_it_must_be() {
    let me = std::process::id();
    let stat = crate::stat(&std::fs::read_to_string(format!("/proc/{me}/stat")).unwrap()).unwrap();
    let kill = |pid, start| {
        order(Action::Kill {
            process: ProcessId { pid, start },
        })
    };
    refused(&kill(4_000_000_000, 5), "process-gone");
    refused(
        &kill(me, stat.start + 1),
        &format!("process-other {}", stat.start),
    );
    let name = format!("process-name {}", stat.comm);
    refused(&kill(me, stat.start), &name);
    refused(&kill(1, 5), "argument process");
    let mount = MountPath::new("/var/lib/kubelet/pods/a/b c'\"$(id)").unwrap();
    refused(&order(Action::Unmount { mount }), "not-mounted");
    let cgroup = CgroupPath::new("/sys/fs/cgroup/freezer/kubepods/none").unwrap();
    refused(&order(Action::Thaw { cgroup }), "cgroup-gone");
    let container = ContainerId::new("0".repeat(64)).unwrap();
    refused(&order(Action::TruncateLog { container }), "no-log");
}

#[test]
fn arguments_are_checked_on_the_host_too() {
    let with = |kind: &str, first: &str, second: &str| {
        format!("op\n7\n{}\nyes\n{kind}\n{first}\n{second}\n", boot())
    };
    refused_input(&with("restart", "sshd", ""), "argument unit");
    refused_input(&with("restart", "kubelet.service;id", ""), "argument unit");
    refused_input(&with("exec", "id", ""), "argument action");
    refused_input(&with("kill", "5;id", "7"), "argument process");
    refused_input(&with("kill", "-1", "7"), "argument process");
    refused_input(&with("unmount", "/", ""), "argument mount");
    refused_input(
        &with("unmount", "/var/lib/kubelet/pods/../../../etc", ""),
        "argument mount",
    );
    refused_input(
        &with("unmount", "/var/lib/kubelet/pods/a/..", ""),
        "argument mount",
    );
    refused_input(
        &with("thaw", "/sys/fs/cgroup/freezer/system.slice", ""),
        "argument cgroup",
    );
    refused_input(
        &with("thaw", "/sys/fs/cgroup/kubepods/../init.scope", ""),
        "argument cgroup",
    );
    refused_input(
        &with("truncate-log", "../etc/passwd", ""),
        "argument container",
    );
    refused_input(&with("vacuum-journals", "1;id", ""), "argument size");
    refused_input(&with("vacuum-journals", "0", ""), "argument size");
}

#[test]
fn another_boot_and_no_consent() {
    let other = Order {
        boot: BootId::new("0f0e0d0c-0b0a-0908-0706-050403020100").unwrap(),
        ..order(Action::Reboot)
    };
    let said = acted(&run("dash", ACT, &act_input(&other))).unwrap();
    assert_eq!(said, Acted::Refused(Refusal::OtherBoot { running: boot() }));
    let alone = Order {
        consent: false,
        ..order(Action::Reboot)
    };
    let said = acted(&run("dash", ACT, &act_input(&alone))).unwrap();
    assert_eq!(said, Acted::Refused(Refusal::NoConsent));
}

#[test]
fn a_log_has_no_other_unit() {
    assert_eq!(run("dash", LOG, "sshd\n5\nonce\n"), "");
    assert_eq!(run("dash", LOG, "kubelet\n5;id\nonce\n"), "");
}

#[test]
fn what_is_cut_off_is_an_error() {
    let whole = "Welcome!\nrefloat 1\n= files\n @/proc/uptime\n  1 2\n. done 0 12\n= bus\n. timed-out 5000\n";
    let found = readings(whole).unwrap();
    assert_eq!(found[0].text, "@/proc/uptime\n 1 2\n");
    assert_eq!(found[1].outcome, Outcome::TimedOut);
    let short = readings("refloat 1\n= files\n @/proc/uptime\n").unwrap_err();
    assert_eq!(
        short,
        ReadingError::Short {
            probe: Probe::Files
        }
    );
    assert_eq!(
        readings("hello").unwrap_err(),
        ReadingError::Header { line: 1 }
    );
    let odd = readings("refloat 1\n= files\n. done 0 1\noops\n").unwrap_err();
    assert_eq!(odd, ReadingError::Header { line: 4 });
    assert!(acted("refloat 1\n= act\n").is_err());
}

#[test]
fn evidence_has_no_secrets() {
    let text =
        "refloat 1\n= units.txt\n Environment=DB_PASSWORD=hunter22\n. end\n= df.txt\n. timed-out\n";
    let found = files(text).unwrap();
    assert_eq!(found[0].1, "Environment=DB_PASSWORD=***\n");
    assert!(found[1].1.contains("not complete"));
}

/// A folder of a test, gone with it.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("refloat-{name}-{}", std::process::id());
        let place = Self(std::env::temp_dir().canonicalize().unwrap().join(name));
        let _ = std::fs::remove_dir_all(&place.0);
        std::fs::create_dir_all(&place.0).unwrap();
        place
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.0.display())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(std::path::Path::new(&self.at(name)).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.at(name)).ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What empties a log, and where between two looks of the script a tenant may come in.
const ENTERED: &str = "cd -P --";
const EMPTIED: &str = "t 10 dd";

/// Empties a container's log in the folder of a tenant, who does something at that place of the script. What the script
/// said, the log and what it was not to touch afterwards.
fn emptied(shell: &str, script: &str, at: &str, tenant: &str) -> (String, bool, bool) {
    let place = Place::new(&format!("truncate-{shell}"));
    let id = "a".repeat(64);
    place.write("log/pods/p/c/0.log", "log");
    for victim in ["victim/0.log", "victim/c/0.log"] {
        place.write(victim, "kept");
    }
    std::fs::create_dir_all(place.at("log/containers")).unwrap();
    let link = place.at(&format!("log/containers/x-{id}.log"));
    std::os::unix::fs::symlink(place.at("log/pods/p/c/0.log"), link).unwrap();
    let tenant = tenant.replace('@', &place.at(""));
    let script = script
        .replace(at, &format!("{{ {tenant}; }}; {at}"))
        .replace("/var/log/", &place.at("log/"))
        .replace("/var/lib/docker", &place.at("none"))
        .replace("/run/refloat", &place.at("run"));
    let container = ContainerId::new(id).unwrap();
    let said = run(
        shell,
        &script,
        &act_input(&order(Action::TruncateLog { container })),
    );
    let kept = ["victim/0.log", "victim/c/0.log"];
    let kept = kept
        .iter()
        .all(|victim| place.read(victim).as_deref() == Some("kept"));
    // Not read: it may be a pipe by now.
    let log = std::fs::metadata(place.at("log/pods/p/c/0.log"));
    let empty = log.is_ok_and(|log| log.is_file() && log.len() == 0);
    (said, empty, kept)
}

#[test]
fn no_tenant_makes_an_order_empty_another_file() {
    let folder = "mv @log/pods/p/c @c; ln -s @victim @log/pods/p/c";
    let above = "mv @log/pods/p @p; ln -s @victim @log/pods/p";
    let link = "rm @log/pods/p/c/0.log; ln -s @victim/0.log @log/pods/p/c/0.log";
    let pipe = "rm @log/pods/p/c/0.log; mkfifo @log/pods/p/c/0.log";
    for shell in ["bash", "dash"] {
        let (said, empty, kept) = emptied(shell, ACT, ENTERED, ":");
        assert!(
            said.contains(". ran ok") && empty && kept,
            "{shell}: {said}"
        );
        for at in [ENTERED, EMPTIED] {
            for tenant in [folder, above, link, pipe] {
                let (said, _, kept) = emptied(shell, ACT, at, tenant);
                assert!(kept, "{shell}, {tenant} before {at}: {said}");
                let inside = at == EMPTIED && [folder, above].contains(&tenant);
                assert!(
                    said.contains(if inside { ". ran ok" } else { ". ran failed" }),
                    "{said}"
                );
            }
        }
    }
    // The tenants of this test can do it: by its path alone another file is emptied.
    let by_path = ACT.replace(EMPTIED, "truncate -c -s 0 -- \"$F\"; false dd");
    for tenant in [folder, link] {
        assert!(
            !emptied("dash", &by_path, "truncate -c", tenant).2,
            "{tenant}"
        );
    }
}

#[test]
fn a_write_trial_opens_nothing_that_is_there() {
    let directories = sources::WRITE_DIRECTORIES.join(" ");
    for shell in ["bash", "dash"] {
        let place = Place::new(&format!("trial-{shell}"));
        place.write("victim", "kept");
        let look = LOOK.replace(&directories, &place.at("log"));
        std::fs::create_dir(place.at("log")).unwrap();
        let name = place.at(&format!("log/{}", sources::WRITE_TRIAL));
        std::os::unix::fs::symlink(place.at("victim"), &name).unwrap();
        std::os::unix::fs::symlink(place.at("victim"), format!("{name}.left")).unwrap();
        let trial = |look: &str| {
            let found = readings(&run(shell, look, &look_input(&[Probe::Write]))).unwrap();
            let facts = HostFacts::from_readings(&found);
            let trial = facts.writes.first().cloned();
            trial.map(|trial| (trial.directory.clone(), trial.error.clone()))
        };
        let well = Some((place.at("log"), None));
        assert_eq!(trial(&look), well, "{shell}");
        std::fs::remove_file(&name).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(&name)
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(trial(&look), well, "{shell}");
        assert_eq!(place.read("victim").as_deref(), Some("kept"), "{shell}");
        // The pipe is a tenant's; what scripts made is gone.
        assert_eq!(std::fs::read_dir(place.at("log")).unwrap().count(), 1);
        // A name that can be foreseen, opened as it is: this is what the trial must not do.
        let naive = look.replace(".refloat-write-trial.$u", ".refloat-write-trial");
        let naive = naive.replace("set +f -C", "set +f");
        std::fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink(place.at("victim"), &name).unwrap();
        assert_eq!(trial(&naive), well, "{shell}");
        assert_eq!(place.read("victim").as_deref(), Some(""), "{shell}");
    }
}

proptest! {
    #[test]
    fn no_answer_whatever_breaks_the_readers(text in "(?s).{0,200}", lines in prop::collection::vec(prop::sample::select(vec!["refloat 1", "= files", "= act", " x", ". done 0 1", ". ran ok", ". refused older x", "é", "", "."]), 0..9)) {
        for text in [text, lines.join("\n")] {
            let _ = (readings(&text), acted(&text), files(&text));
        }
    }

    #[test]
    fn quoting_holds(text in "[^\\x00]{0,60}") {
        prop_assume!(!text.ends_with('\n'));
        let said = run("dash", &format!("printf %s {}", quote(&text)), "");
        prop_assert_eq!(said, text);
    }
}
