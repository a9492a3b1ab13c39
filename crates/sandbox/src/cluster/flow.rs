//! What happens at each moment.

use super::world::{Action, World};
use crate::at;

impl World {
    /// Lets the controllers come to rest, and shows everything.
    pub fn settle(&mut self) {
        let mut actions = Vec::new();
        for _ in 0..4 {
            self.disruption();
            self.replica_sets();
            self.schedule();
            self.endpoints();
        }
        while let Some(action) = self.next(None) {
            match action {
                Action::Foreign(_) => actions.push((self.now, action)),
                action => drop(self.act(action)),
            }
        }
        self.list();
        self.now = at(0);
        for (time, action) in actions {
            self.at(time, action);
        }
    }

    /// Lets a thing happen; whether it changes what the engine sees.
    pub fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Deliver(watch) => {
                if let Some(until) = self.gaps.get(&watch).copied() {
                    if until > self.now {
                        self.at(until, Action::Deliver(watch));
                        return false;
                    }
                    self.gaps.remove(&watch);
                    self.done(watch as u8);
                    self.relist(watch);
                } else {
                    self.done(watch as u8);
                    self.deliver(watch);
                }
                return true;
            }
            Action::Disruption => {
                self.done(4);
                self.disruption();
            }
            Action::ReplicaSets => {
                self.done(5);
                self.replica_sets();
            }
            Action::Schedule => {
                self.done(6);
                self.schedule();
            }
            Action::Endpoints => {
                self.done(7);
                self.endpoints();
            }
            Action::Ready(key, uid) => self.kubelet_ready(&key, &uid),
            Action::Stopped(key, uid) => self.kubelet_stopped(&key, &uid),
            Action::Process(id) => self.process(id),
            Action::Silent(node) => self.silent(&node),
            Action::Foreign(foreign) => self.foreign(foreign),
            Action::Answer(_) => {}
        }
        false
    }
}
