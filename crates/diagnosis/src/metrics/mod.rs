//! Metrics of node_exporter, one scrape. What a host's own facts would say is put into [`Told`], so that the rules of
//! looks judge it; what only these metrics tell is shown here. Counters say nothing: only their rate would, and a scrape
//! has none. Nor does a scrape show that all is well, because any collector may be off.

mod mounts;
mod read;
mod text;

use model::{Pod, Snapshot, Time};

use crate::Source;
use crate::facts::Facts;
use crate::told::Told;

/// What one scrape of node_exporter tells of its host.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) told: Told,
}

/// Where node_exporter listens unless told otherwise.
pub const EXPORTER_PORT: u16 = 9100;

/// Names of node_exporter: of the project and of its chart.
const EXPORTERS: &[&str] = &["node-exporter", "prometheus-node-exporter"];

/// The pod of node_exporter on a node, by its label or else by its name. It need not be ready: on a node whose kubelet is
/// silent none is, and it may still answer.
pub fn exporter<'a>(snapshot: &'a Snapshot, node: &str) -> Option<&'a Pod> {
    let is_one = |pod: &&Pod| match pod.labels.get("app.kubernetes.io/name") {
        Some(name) => EXPORTERS.contains(&name),
        None => EXPORTERS.iter().any(|name| pod.key.name.starts_with(name)),
    };
    let pods = snapshot.pods_on(node).map(|pod| &**pod);
    pods.filter(|pod| pod.running_containers > 0 && !pod.is_finished())
        .find(is_one)
}

impl Metrics {
    /// The metrics in a text; `None` when there are none of node_exporter.
    pub fn read(text: &str) -> Option<Self> {
        Self::split(text).map(|(metrics, _)| metrics)
    }

    /// The same of a text that nobody else has: its lines have no numbers.
    pub fn scraped(text: &str) -> Option<Self> {
        let mut metrics = Self::read(text)?;
        metrics.told.forget_lines();
        Some(metrics)
    }

    /// The same, with what else is in the text, each line in its place.
    pub(crate) fn split(text: &str) -> Option<(Self, String)> {
        let (samples, rest) = text::split(text)?;
        Some((read::all(&samples), rest))
    }

    /// The scrape was asked for and came between these times of ours: then its clock can be compared.
    #[must_use]
    pub fn asked_between(mut self, asked: Time, came: Time) -> Self {
        let [asked, came] = [asked, came].map(|time| time.as_millisecond() as f64 / 1000.0);
        let clock = &mut self.told.facts.clock;
        clock.ahead = clock.now.map(|now| now - (asked + came) / 2.0);
        clock.uncertainty = Some((came - asked).abs() / 2.0);
        self
    }

    /// Adds what they say.
    pub(crate) fn judge(&self, facts: &mut Facts) {
        self.told.judge(Source::Metrics, facts);
    }
}
