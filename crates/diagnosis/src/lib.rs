//! Facts to findings: what is wrong with a node, how sure that is, what helps, what would harm, and which probe decides
//! where the facts do not. Pure: texts, API facts and time are inputs.
//!
//! A look at a host (`look/*.rs`) says what its facts show now. [`diagnose`] joins it with what the API tells, with the
//! host's logs and with whether the host could be asked at all; what is seen now outranks what was told before.
//!
//! In a text listings are looked for first (`listing/*.rs`): what a tool prints of a host's state becomes facts for the same
//! rules that judge a look. What is left goes line by line through the rules of all families (`family/*.rs`): each message understood is a signal.
//! Signals make drafts of findings by cause, several facts together change them (`infer` of each family), known chains
//! tell roots from consequences (`chain.rs`), and the root is ranked first.

pub mod version;

mod action;
mod agree;
mod carry_out;
mod cause;
mod chain;
mod condition;
mod engine;
mod explain;
mod facts;
mod family;
mod finding;
mod line;
mod listing;
mod look;
mod metrics;
mod node;
mod picture;
mod rule;
mod score;
mod table;
mod told;

pub use action::{Action, Probe, Why};
pub use carry_out::host_actions;
pub use cause::{Cause, Family};
pub use engine::{Context, Origin};
pub use explain::{Explanation, explain_text};
pub use finding::{Confidence, Evidence, Finding, Harm, Param, Report, Source, Verdict};
pub use metrics::{EXPORTER_PORT, Metrics, exporter};
pub use node::{
    Heartbeat, NodeState, Summary, diagnose_node, diagnose_nodes, one_line, one_line_of, stuck_pods,
};
pub use picture::{
    HostReach, Known, Picture, diagnose, diagnose_cluster, diagnose_host, diagnose_with_metrics,
};
pub use rule::Ruling;
pub use score::{Expected, Miss, Score, Tally, score};

/// What a text (a log of kubelet, a runtime or the kernel, node conditions, command output, a scrape of node_exporter) says
/// is wrong.
pub fn diagnose_text(text: &str) -> Report {
    diagnose_with(text, &Context::default())
}

/// The same with what is known besides the text.
pub fn diagnose_with(text: &str, context: &Context) -> Report {
    let mut facts = facts::Facts::default();
    let metrics = Metrics::split(text);
    let text = metrics.as_ref().map_or(text, |(_, rest)| rest);
    if let Some((metrics, _)) = &metrics {
        metrics.judge(&mut facts);
    }
    let listings = listing::split(text);
    let text = listings.as_ref().map_or(text, |(_, rest)| rest);
    let mut fine = std::collections::BTreeMap::new();
    if let Some((gathered, _)) = &listings {
        gathered.judge(&mut facts);
        if let Some(host) = &gathered.look {
            fine = look::read_kept(host, &mut facts);
        }
    }
    rule::Rules::get().read(text, Source::Text, &mut facts);
    let mut drafts = engine::drafts(&facts, context);
    look::outrank(&fine, &mut drafts);
    engine::rank(&drafts)
}
