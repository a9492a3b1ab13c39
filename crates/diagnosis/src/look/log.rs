//! Logs of late go through the rules for texts, each under its own name.

use ::host::Journal;

use super::Look;
use crate::Source;
use crate::facts::Facts;
use crate::rule::Rules;

/// Adds what the logs say.
pub(crate) fn read(look: &Look<'_>, facts: &mut Facts) {
    for log in &look.facts.logs {
        let source = match log.journal {
            Journal::Kernel => Source::KernelLog,
            Journal::Kubelet => Source::KubeletLog,
            Journal::Docker => Source::DockerLog,
            Journal::Containerd => Source::ContainerdLog,
        };
        Rules::get().read(&log.text, source, facts);
    }
}
