//! Tables of `kubectl get`, and what `docker info` says.

use ::host::{RuntimeFacts, RuntimeName};

use super::columns::Columns;
use super::{Gathered, Page};
use crate::Cause::*;
use crate::Confidence;

/// One pod that goes away does so at this moment; several wait.
const TERMINATING: usize = 2;

/// `kubectl get nodes` and `kubectl get pods`.
pub(super) fn table(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    if !columns.has("NAME") || !columns.has("STATUS") || !columns.has("AGE") {
        return 0;
    }
    let nodes = columns.has("VERSION") || columns.has("ROLES");
    let pods = columns.has("READY") && columns.has("RESTARTS");
    if !nodes && !pods {
        return 0;
    }
    let mut read = 1;
    let mut ending = Vec::new();
    for (at, line) in page.block(at + 1) {
        // Restarts may carry how long ago the last one was: `3 (5m ago)`.
        let row = columns.row(line);
        let (Some(name), Some(status)) = (row.cell(&["NAME"]), row.cell(&["STATUS"])) else {
            break;
        };
        read += 1;
        let is = |word: &str| status.split(',').any(|one| one == word);
        let quote = [page.quote(at)];
        if nodes && is("NotReady") {
            let told = &mut gathered.told;
            told.show(NodeNotReady, Confidence::Medium, name, 0.0, &quote);
        } else if nodes && is("Unknown") {
            let told = &mut gathered.told;
            told.show(NodeUnreachable, Confidence::Medium, name, 0.0, &quote);
        } else if pods && is("Terminating") {
            ending.extend(quote);
        }
    }
    if ending.len() >= TERMINATING {
        ending.truncate(3);
        let told = &mut gathered.told;
        told.show(PodStuckTerminating, Confidence::Low, "", 0.0, &ending);
    }
    read
}

/// `Live Restore Enabled: false` of `docker info`: then a restart of docker stops its containers.
pub(super) fn live_restore(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let Some(value) = page.line(at).strip_prefix("Live Restore Enabled:") else {
        return 0;
    };
    gathered.told.facts.runtimes.push(RuntimeFacts {
        name: RuntimeName::Docker,
        socket: None,
        answers: None,
        millis: None,
        version: None,
        live_restore: value.trim().parse().ok(),
        lists: None,
        containers: Vec::new(),
    });
    1
}
