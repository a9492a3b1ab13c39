//! A machine: boots, systemd with its units, a runtime, a disk, and the agent's ledger. What it answers is what
//! `host::HostFacts` would say of it, and it carries out orders by the rules of `host::Ledger`.

use host::{
    Action, BootId, BusFacts, ClockFacts, Entry, HostFacts, KubeletFacts, Ledger, Limits, Mount,
    MountState, Order, RuntimeFacts, RuntimeName, SystemdFacts, Unit, UnitFacts, Use, Verdict,
    WriteTrial,
};

/// A daemon under systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daemon {
    pid: u32,
    /// Its program is there and does not do its work until it is restarted.
    pub sick: bool,
    /// It does not work after a restart either.
    pub broken: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Host {
    node: u32,
    boots: u32,
    /// It runs; else it is off or booting.
    pub up: bool,
    /// The way to it works.
    pub answers: bool,
    /// The kernel hangs: nothing that is asked or ordered ends.
    pub hangs: bool,
    /// systemd does not answer on the bus, so nothing can be restarted.
    pub bus_hangs: bool,
    /// Percent of the disk in use.
    pub disk: u64,
    /// The clock is kept in time.
    pub time_sync: bool,
    /// Kubelet.
    pub kubelet: Daemon,
    /// containerd.
    pub runtime: Daemon,
    pids: u32,
    ledger: Ledger,
    /// The ledger's file of this boot.
    lines: Vec<Entry>,
    /// What was carried out, in order, over all boots.
    pub carried_out: Vec<Order>,
}

impl Host {
    /// A healthy machine; the number tells its boots from those of others.
    pub fn new(node: u32) -> Self {
        let daemon = |pid| Daemon {
            pid,
            sick: false,
            broken: false,
        };
        Self {
            node,
            boots: 0,
            up: true,
            answers: true,
            hangs: false,
            bus_hangs: false,
            disk: 40,
            time_sync: true,
            kubelet: daemon(100),
            runtime: daemon(101),
            pids: 101,
            ledger: Ledger::new(boot_id(node, 0)),
            lines: Vec::new(),
            carried_out: Vec::new(),
        }
    }

    /// The boot that runs.
    pub fn boot(&self) -> BootId {
        boot_id(self.node, self.boots)
    }

    /// Whether it can be asked anything.
    pub fn is_reachable(&self) -> bool {
        self.up && self.answers && !self.hangs
    }

    /// Kubelet does its work.
    pub fn reports(&self) -> bool {
        self.up && !self.hangs && !self.kubelet.sick && !self.kubelet.broken
    }

    /// An order arrives. When it may run, it is in the ledger now.
    pub fn admit(&mut self, order: &Order) -> Verdict {
        let verdict = self.ledger.admit(order);
        if verdict == Verdict::Run {
            self.write(Entry::Began {
                order: order.clone(),
            });
        }
        verdict
    }

    /// An order that was admitted is carried out; whether it succeeded.
    pub fn carry_out(&mut self, order: &Order) -> bool {
        self.carried_out.push(order.clone());
        let ok = self.act(&order.action);
        self.write(Entry::Ended {
            generation: order.generation,
            ok,
            output: String::new(),
        });
        ok
    }

    /// An order that was admitted is carried out, and the agent ends before it has written so.
    pub fn carry_out_and_die(&mut self, order: &Order) {
        self.carried_out.push(order.clone());
        self.act(&order.action);
        self.restart_agent();
    }

    fn act(&mut self, action: &Action) -> bool {
        match action {
            Action::Restart { unit } => {
                if self.bus_hangs {
                    return false;
                }
                self.pids += 1;
                let pid = self.pids;
                let daemon = match unit {
                    Unit::Kubelet => &mut self.kubelet,
                    _ => &mut self.runtime,
                };
                daemon.pid = pid;
                daemon.sick = false;
                true
            }
            Action::ReexecSystemd => {
                self.bus_hangs = false;
                true
            }
            Action::VacuumJournals { .. } | Action::TruncateLog { .. } => {
                self.disk = self.disk.min(60);
                true
            }
            Action::StartTimeSync => {
                self.time_sync = true;
                true
            }
            Action::Reboot | Action::Kill { .. } | Action::Thaw { .. } | Action::Unmount { .. } => {
                true
            }
        }
    }

    fn write(&mut self, entry: Entry) {
        self.ledger.apply(entry.clone());
        self.lines.push(entry);
    }

    /// The agent ends and is started again: orders it was at are interrupted.
    pub fn restart_agent(&mut self) {
        self.ledger = Ledger::replay(self.boot(), self.lines.iter().cloned());
    }

    /// Power goes, or the kernel ends.
    pub fn go_down(&mut self) {
        self.up = false;
    }

    /// It has booted: another boot id, an empty ledger, every daemon started anew.
    pub fn come_up(&mut self) {
        self.boots += 1;
        self.up = true;
        self.hangs = false;
        self.bus_hangs = false;
        self.lines.clear();
        self.ledger = Ledger::new(self.boot());
        for daemon in [&mut self.kubelet, &mut self.runtime] {
            self.pids += 1;
            daemon.pid = self.pids;
            daemon.sick = false;
        }
    }

    /// What a look tells; `now` in Unix seconds.
    pub fn facts(&self, now: f64) -> HostFacts {
        let space = Use::new(self.disk, 100);
        let mut facts = HostFacts {
            boot: Some(self.boot()),
            uptime: Some(1_000.0),
            ..HostFacts::default()
        };
        facts.limits = Limits {
            processes: Some(100),
            ..Limits::default()
        };
        facts.systemd = SystemdFacts {
            answers: Some(true),
            ..SystemdFacts::default()
        };
        facts.bus = BusFacts {
            bus: Some(true),
            systemd: Some(!self.bus_hangs),
            logind: None,
        };
        let unit = |daemon: &Daemon| UnitFacts {
            active: "active".to_owned(),
            enabled: "enabled".to_owned(),
            pid: Some(daemon.pid),
            process_state: Some('S'),
            restarts: Some(0),
            kill_mode: "process".to_owned(),
            ..UnitFacts::default()
        };
        facts.units = [("kubelet", &self.kubelet), ("containerd", &self.runtime)]
            .map(|(name, daemon)| (name.to_owned(), unit(daemon)))
            .into();
        let works = |daemon: &Daemon| Some(!daemon.sick && !daemon.broken);
        facts.runtimes = vec![RuntimeFacts {
            name: RuntimeName::Containerd,
            socket: Some(true),
            answers: works(&self.runtime),
            millis: Some(1),
            version: None,
            live_restore: None,
            lists: Some(true),
            containers: Vec::new(),
        }];
        facts.kubelet = KubeletFacts {
            healthy: works(&self.kubelet),
            ..KubeletFacts::default()
        };
        facts.clock = ClockFacts {
            now: Some(now),
            service: Some("chronyd".to_owned()),
            service_active: Some(self.time_sync),
            ..ClockFacts::default()
        };
        facts.mounts = vec![Mount {
            path: "/".to_owned(),
            kind: "ext4".to_owned(),
            source: "/dev/vda1".to_owned(),
            read_only: false,
            state: MountState::Answers {
                space,
                inodes: Use::new(10, 100),
            },
        }];
        let error = (self.disk >= 100).then(|| "ENOSPC".to_owned());
        facts.writes = ["/var/lib/kubelet", "/var/lib/containerd"]
            .map(|directory| WriteTrial {
                directory: directory.to_owned(),
                error: error.clone(),
            })
            .into();
        facts
    }
}

fn boot_id(node: u32, boot: u32) -> BootId {
    let text = format!("{node:08x}-0000-4000-8000-{boot:012x}");
    BootId::new(text).unwrap_or_else(|rejected| unreachable!("{rejected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::{Before, check_after};

    fn order(host: &Host, generation: u64, action: Action) -> Order {
        Order {
            operation: "op".to_owned(),
            generation,
            boot: host.boot(),
            action,
            consent: true,
        }
    }

    fn obey(host: &mut Host, order: &Order) -> Verdict {
        let verdict = host.admit(order);
        if verdict == Verdict::Run {
            host.carry_out(order);
        }
        verdict
    }

    #[test]
    fn a_restart_shows_in_the_next_look() {
        let kubelet = Action::Restart {
            unit: Unit::Kubelet,
        };
        let mut host = Host::new(1);
        host.kubelet.sick = true;
        let before = Before::of(&kubelet, &host.facts(0.0));
        let order = order(&host, 1, kubelet.clone());
        assert_eq!(obey(&mut host, &order), Verdict::Run);
        let checks = check_after(&kubelet, &before, &host.facts(1.0));
        assert!(
            checks.iter().all(|check| check.holds == Some(true)),
            "{checks:?}"
        );
    }

    #[test]
    fn an_order_is_carried_out_once_and_not_after_a_boot() {
        let mut host = Host::new(1);
        let order = order(&host, 5, Action::Reboot);
        assert_eq!(obey(&mut host, &order), Verdict::Run);
        host.restart_agent();
        assert!(matches!(obey(&mut host, &order), Verdict::Interrupted));
        host.go_down();
        host.come_up();
        assert!(matches!(obey(&mut host, &order), Verdict::Refused(_)));
        assert_eq!(host.carried_out.len(), 1);
    }
}
