//! Facts from elsewhere than a look, with the lines they rest on: what a look would find goes into [`HostFacts`], so that
//! the rules of looks judge it; what only such a text tells is shown here. Nobody vouches that it is all, so it never
//! shows that something is fine.

use ::host::HostFacts;

use crate::facts::{Facts, Says, Signal};
use crate::line::cut;
use crate::{Action, Cause, Confidence, Param, Source};

/// Facts, and their grounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) facts: HostFacts,
    shown: Vec<Signal>,
    pub(crate) grounds: Vec<Ground>,
}

/// The lines a fact rests on.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// What may follow from them.
    pub(crate) causes: &'static [Cause],
    /// The subject or path of which; nothing where there is one only.
    pub(crate) of: String,
    pub(crate) lines: Vec<Line>,
}

/// A line of the text.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) text: String,
}

/// So much of a line is quoted.
const QUOTE: usize = 400;

impl Line {
    pub(crate) fn new(number: usize, text: &str) -> Self {
        Self {
            number,
            text: cut(text.trim(), QUOTE).to_owned(),
        }
    }

    fn quoted(&self, source: Source, signal: Signal) -> Signal {
        Signal {
            source,
            line: self.number,
            quote: self.text.clone(),
            ..signal
        }
    }
}

impl Told {
    /// What may follow from these lines.
    pub(crate) fn ground(&mut self, causes: &'static [Cause], of: &str, lines: Vec<Line>) {
        self.grounds.push(Ground {
            causes,
            of: of.to_owned(),
            lines,
        });
    }

    /// These lines show a cause by themselves.
    pub(crate) fn show(
        &mut self,
        cause: Cause,
        sure: Confidence,
        subject: &str,
        number: f64,
        lines: &[Line],
    ) {
        self.say(Says::Shows(cause), sure, subject, number, lines);
    }

    /// These lines say something by themselves.
    pub(crate) fn say(
        &mut self,
        says: Says,
        sure: Confidence,
        subject: &str,
        number: f64,
        lines: &[Line],
    ) {
        for line in lines {
            let signal = Signal {
                confidence: sure,
                subject: subject.to_owned(),
                number,
                ..Signal::of(says, Source::Text, String::new())
            };
            self.shown.push(line.quoted(Source::Text, signal));
        }
    }

    /// The last thing shown carries this, too.
    pub(crate) fn with(&mut self, param: Param, value: &str) {
        if let Some(signal) = self.shown.last_mut() {
            signal.params.insert(param, value.to_owned());
        }
    }

    /// The last thing shown has a remedy of its own.
    pub(crate) fn remedy(&mut self, action: Action) {
        if let Some(signal) = self.shown.last_mut() {
            signal.remedy = Some(action);
        }
    }

    /// Nobody else has the text: its lines have no numbers.
    pub(crate) fn forget_lines(&mut self) {
        let lines = self.grounds.iter_mut().flat_map(|ground| &mut ground.lines);
        lines.for_each(|line| line.number = 0);
        self.shown.iter_mut().for_each(|signal| signal.line = 0);
    }

    /// Adds what it says.
    pub(crate) fn judge(&self, source: Source, facts: &mut Facts) {
        for signal in &self.shown {
            facts.add(Signal {
                source,
                ..signal.clone()
            });
        }
        for signal in crate::look::signals(&self.facts) {
            for line in self.lines_of(&signal) {
                facts.add(line.quoted(source, signal.clone()));
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
