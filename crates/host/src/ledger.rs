//! What a host has been told to do, so that nothing is done twice. The agent keeps it in a file of the running system's
//! memory (`/run`): it must outlive the agent, not the boot, because an [`Order`] is void after a reboot.
//!
//! Pure: [`Ledger::admit`] says whether an order may run; the agent writes [`Entry`] lines, each on disk before what it
//! announces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Action, BootId, Order};

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// Written before an order runs.
    Began {
        /// The order.
        order: Order,
    },
    /// Written after it ended.
    Ended {
        /// Its generation.
        generation: u64,
        /// Whether it succeeded.
        ok: bool,
        /// What it printed, cut.
        output: String,
    },
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum Refusal {
    /// Decided for another boot.
    OtherBoot {
        /// The boot that runs.
        running: BootId,
    },
    /// A later order was seen.
    Older {
        /// The latest generation seen.
        seen: u64,
    },
    /// Another order has this generation.
    Conflict {
        /// Its operation.
        operation: String,
    },
    /// Needs a named person's consent and has none.
    NoConsent,
    /// What it is about is not as it must be; a look at the host just before the action.
    Precondition {
        /// Code of the precondition that does not hold.
        code: String,
        /// What was found.
        found: String,
    },
    /// The ledger could not be written, so nothing may be done.
    NoLedger {
        /// The error.
        error: String,
    },
    /// Another order runs.
    Busy {
        /// Its generation.
        generation: u64,
    },
}

/// What becomes of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may run, once [`Entry::Began`] is written.
    Run,
    /// It ran before: this was its end. It is not run again.
    Repeated {
        /// Whether it succeeded.
        ok: bool,
        /// What it printed.
        output: String,
    },
    /// It began before and its end was not seen: the agent or the host died within. It is not run again; a person or a
    /// look at the host decides.
    Interrupted,
    /// No.
    Refused(Refusal),
}

/// The ledger of one boot.
#[derive(Clone, Debug)]
pub struct Ledger {
    boot: BootId,
    began: BTreeMap<u64, Order>,
    ended: BTreeMap<u64, (bool, String)>,
    running: Option<u64>,
}

impl Ledger {
    /// An empty one.
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            began: BTreeMap::new(),
            ended: BTreeMap::new(),
            running: None,
        }
    }

    /// From its lines, at the agent's start. Orders that began and did not end count as interrupted. A last line that
    /// was cut by a crash is left out by the reader, which is safe: what it announced had not begun.
    pub fn replay(boot: BootId, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut ledger = Self::new(boot);
        for entry in entries {
            ledger.apply(entry);
        }
        ledger.running = None;
        ledger
    }

    /// Whether an order may run.
    pub fn admit(&self, order: &Order) -> Verdict {
        if order.boot != self.boot {
            return Verdict::Refused(Refusal::OtherBoot {
                running: self.boot.clone(),
            });
        }
        if let Some(known) = self.began.get(&order.generation) {
            if known != order {
                return Verdict::Refused(Refusal::Conflict {
                    operation: known.operation.clone(),
                });
            }
            return match self.ended.get(&order.generation) {
                // Its end on file is a promise: whoever is asked on the same boot has not kept it yet.
                Some((true, _)) if order.action == Action::Reboot => Verdict::Interrupted,
                Some((ok, output)) => Verdict::Repeated {
                    ok: *ok,
                    output: output.clone(),
                },
                None if self.running == Some(order.generation) => Verdict::Refused(Refusal::Busy {
                    generation: order.generation,
                }),
                None => Verdict::Interrupted,
            };
        }
        if let Some(seen) = self.latest()
            && seen > order.generation
        {
            return Verdict::Refused(Refusal::Older { seen });
        }
        if let Some(generation) = self.running {
            return Verdict::Refused(Refusal::Busy { generation });
        }
        if order.action.needs_consent() && !order.consent {
            return Verdict::Refused(Refusal::NoConsent);
        }
        Verdict::Run
    }

    /// Takes a line that has been written.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Began { order } => {
                self.running = Some(order.generation);
                self.began.insert(order.generation, order);
            }
            Entry::Ended {
                generation,
                ok,
                output,
            } => {
                if self.running == Some(generation) {
                    self.running = None;
                }
                self.ended.insert(generation, (ok, output));
            }
        }
    }

    /// An order that began and that we shall not end: it counts as interrupted, and others may run.
    pub fn abandon(&mut self, generation: u64) {
        if self.running == Some(generation) {
            self.running = None;
        }
    }

    /// The latest generation seen.
    pub fn latest(&self) -> Option<u64> {
        self.began.keys().next_back().copied()
    }

    /// The boot it is about.
    pub fn boot(&self) -> &BootId {
        &self.boot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;

    fn boot(last: char) -> BootId {
        BootId::new(format!("0f0e0d0c-0b0a-0908-0706-05040302010{last}")).unwrap()
    }

    fn order(operation: &str, generation: u64) -> Order {
        Order {
            operation: operation.to_owned(),
            generation,
            boot: boot('0'),
            action: Action::Restart {
                unit: Unit::Kubelet,
            },
            consent: false,
        }
    }

    fn began(operation: &str, generation: u64) -> Entry {
        Entry::Began {
            order: order(operation, generation),
        }
    }

    fn ended(generation: u64) -> Entry {
        Entry::Ended {
            generation,
            ok: true,
            output: "done".to_owned(),
        }
    }

    #[track_caller]
    fn check(entries: Vec<Entry>, order: &Order, expected: Verdict) {
        assert_eq!(Ledger::replay(boot('0'), entries).admit(order), expected);
    }

    #[test]
    fn a_reboot_is_not_done_while_the_same_boot_runs() {
        let order = Order {
            action: Action::Reboot,
            consent: true,
            ..order("a", 1)
        };
        let began = Entry::Began {
            order: order.clone(),
        };
        check(vec![began.clone(), ended(1)], &order, Verdict::Interrupted);
        let failed = Entry::Ended {
            generation: 1,
            ok: false,
            output: "no".to_owned(),
        };
        let repeated = Verdict::Repeated {
            ok: false,
            output: "no".to_owned(),
        };
        check(vec![began, failed], &order, repeated);
    }

    #[test]
    fn an_order_runs_once() {
        let repeated = Verdict::Repeated {
            ok: true,
            output: "done".to_owned(),
        };
        check(vec![], &order("a", 1), Verdict::Run);
        check(
            vec![began("a", 1), ended(1)],
            &order("a", 1),
            repeated.clone(),
        );
        check(vec![began("a", 1)], &order("a", 1), Verdict::Interrupted);
        check(vec![began("a", 1)], &order("b", 2), Verdict::Run);
        check(
            vec![began("a", 1), ended(1), began("b", 2), ended(2)],
            &order("a", 1),
            repeated,
        );
    }

    #[test]
    fn what_is_refused() {
        let refused = Verdict::Refused;
        let older = refused(Refusal::Older { seen: 5 });
        check(vec![began("a", 5), ended(5)], &order("b", 4), older);
        let conflict = refused(Refusal::Conflict {
            operation: "a".to_owned(),
        });
        check(vec![began("a", 5)], &order("b", 5), conflict);
        let other = Order {
            boot: boot('1'),
            ..order("a", 1)
        };
        let running = boot('0');
        check(vec![], &other, refused(Refusal::OtherBoot { running }));
        let reboot = Order {
            action: Action::Reboot,
            ..order("a", 1)
        };
        check(vec![], &reboot, refused(Refusal::NoConsent));
        let agreed = Order {
            consent: true,
            ..reboot
        };
        check(vec![], &agreed, Verdict::Run);
    }

    #[test]
    fn one_at_a_time() {
        let mut ledger = Ledger::new(boot('0'));
        ledger.apply(began("a", 1));
        let busy = Verdict::Refused(Refusal::Busy { generation: 1 });
        assert_eq!(ledger.admit(&order("b", 2)), busy);
        assert_eq!(ledger.admit(&order("a", 1)), busy);
        ledger.apply(ended(1));
        assert_eq!(ledger.admit(&order("b", 2)), Verdict::Run);
    }
}
