//! Metrics of node_exporter, one scrape. What a host's own facts would say is put into [`HostFacts`], so that the rules of
//! looks judge it; what only these metrics tell is shown here. Counters say nothing: only their rate would, and a scrape
//! has none. Nor does a scrape show that all is well, because any collector may be off.

mod mounts;
mod read;
mod text;

use ::host::HostFacts;
use model::{Pod, Snapshot, Time};

use crate::facts::{Facts, Says, Signal};
use crate::line::cut;
use crate::{Cause, Param, Source};

/// What one scrape of node_exporter tells of its host.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) facts: HostFacts,
    shown: Vec<Signal>,
    grounds: Vec<Ground>,
}

/// The lines a fact rests on.
#[derive(Clone, Debug)]
struct Ground {
    /// What may follow from them.
    causes: &'static [Cause],
    /// The subject or path of which; nothing where there is one only.
    of: String,
    lines: Vec<Line>,
}

/// A line of the scrape.
#[derive(Clone, Debug)]
struct Line {
    number: usize,
    text: String,
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

/// So much of a line is quoted.
const QUOTE: usize = 400;

impl Metrics {
    /// The metrics in a text; `None` when there are none of node_exporter.
    pub fn read(text: &str) -> Option<Self> {
        Self::split(text).map(|(metrics, _)| metrics)
    }

    /// The same of a text that nobody else has: its lines have no numbers.
    pub fn scraped(text: &str) -> Option<Self> {
        let mut metrics = Self::read(text)?;
        let grounds = &mut metrics.grounds;
        let lines = grounds.iter_mut().flat_map(|ground| &mut ground.lines);
        lines.for_each(|line| line.number = 0);
        metrics.shown.iter_mut().for_each(|signal| signal.line = 0);
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
        let clock = &mut self.facts.clock;
        clock.ahead = clock.now.map(|now| now - (asked + came) / 2.0);
        clock.uncertainty = Some((came - asked).abs() / 2.0);
        self
    }

    /// Adds what they say.
    pub(crate) fn judge(&self, facts: &mut Facts) {
        for signal in &self.shown {
            facts.add(signal.clone());
        }
        for signal in crate::look::signals(&self.facts) {
            for line in self.lines_of(&signal) {
                facts.add(line.quoted(signal.clone()));
            }
        }
    }

    /// The lines a signal rests on.
    fn lines_of(&self, signal: &Signal) -> &[Line] {
        let path = signal.params.get(&Param::Path);
        let is_ground = |ground: &&Ground| {
            let of = ground.of.as_str();
            let is_of =
                of.is_empty() || of == signal.subject || path.is_some_and(|path| of == path);
            is_of
                && ground
                    .causes
                    .iter()
                    .any(|cause| signal.says == Says::Shows(*cause))
        };
        // What no line shows is not told.
        self.grounds
            .iter()
            .find(is_ground)
            .map_or(&[], |ground| &ground.lines)
    }
}

impl Line {
    fn quoted(&self, signal: Signal) -> Signal {
        Signal {
            source: Source::Metrics,
            line: self.number,
            quote: cut(&self.text, QUOTE).to_owned(),
            ..signal
        }
    }
}
