//! Smaller cases: what fails still fails with less.

use super::Case;
use crate::Faults;

impl Case {
    /// Cases with one thing less, the ones that leave out most first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut case = self.clone();
            change(&mut case);
            all.push(case);
        };
        if self.faults.lost + self.faults.unheard + self.faults.denied > 0 {
            add(&|case| case.faults = Faults::default());
        }
        for number in (0..self.mishaps.len()).rev() {
            add(&|case| {
                case.mishaps.remove(number);
            });
        }
        for number in (0..self.others.len()).rev() {
            add(&|case| drop(case.others.remove(number)));
        }
        for number in (0..self.said.len()).rev() {
            add(&|case| {
                case.said.remove(number);
            });
        }
        for number in (1..self.asks.len()).rev() {
            add(&|case| {
                case.asks.remove(number);
                case.said.retain(|(_, ask, _)| *ask < case.asks.len());
            });
        }
        for number in (0..self.workloads.len()).rev() {
            add(&|case| {
                let gone = case.workloads.remove(number);
                case.budgets.retain(|budget| budget.app != gone.name);
            });
        }
        for number in (0..self.budgets.len()).rev() {
            add(&|case| drop(case.budgets.remove(number)));
        }
        for (number, workload) in self.workloads.iter().enumerate() {
            if workload.nodes.len() > 1 {
                add(&|case| drop(case.workloads[number].nodes.pop()));
            }
        }
        for (number, ask) in self.asks.iter().enumerate() {
            if ask.nodes.len() > 1 {
                add(&|case| drop(case.asks[number].nodes.pop()));
            }
            let mut plain = operations::drain::Options {
                ignore_daemonsets: true,
                force: true,
                delete_emptydir_data: true,
                ..Default::default()
            };
            plain.escalation = ask.options.escalation;
            if ask.options != plain {
                add(&|case| case.asks[number].options = plain.clone());
            }
        }
        all
    }
}
