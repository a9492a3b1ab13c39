//! The daemons of a node, by the name of their process.

use host::Daemon;

use super::{numbers, read};

/// Those that run: pid and name.
pub(crate) fn running() -> Vec<(u32, String)> {
    let named = numbers("/proc").into_iter().filter_map(|pid| {
        let comm = read(&format!("/proc/{pid}/comm"))?.trim_end().to_owned();
        Daemon::from_label(&comm).map(|_| (pid, comm))
    });
    named.collect()
}
