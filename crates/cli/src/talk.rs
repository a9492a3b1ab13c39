//! Speaking to whoever runs the command: data on stdout, talk on stderr, in their language.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use phrases::{Language, Voice, plain, plain_json};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON; NDJSON for what takes long.
    Json,
    /// Names only.
    Name,
}

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

/// Where and how to speak.
pub(crate) struct Talk {
    pub(crate) voice: Voice,
    pub(crate) output: Output,
    /// How the command is called: `refloat` or `kubectl refloat`.
    pub(crate) program: &'static str,
    color: bool,
    failed: AtomicBool,
}

static LANGUAGE: OnceLock<Language> = OnceLock::new();

/// The language of errors that arise before there is a [`Talk`]: those of parsers of arguments.
pub(crate) fn early_voice() -> Voice {
    Voice::new(LANGUAGE.get().copied().unwrap_or_default())
}

/// Sets that language, once.
pub(crate) fn set_early_language(language: Language) {
    let _ = LANGUAGE.set(language);
}

impl Talk {
    pub(crate) fn new(language: Language, output: Output, program: &'static str) -> Self {
        let color = anstream::AutoStream::choice(&stderr()) != anstream::ColorChoice::Never;
        Self {
            voice: Voice {
                language,
                zone: jiff::tz::TimeZone::system(),
            },
            output,
            program,
            color,
            failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Whether the lines on stderr may be redrawn.
    pub(crate) fn is_live(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        !self.is_json() && stderr().is_terminal() && !dumb
    }

    /// Whether somebody can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        stdin().is_terminal() && stderr().is_terminal() && !self.is_json()
    }

    pub(crate) fn say(&self, key: &str, params: Value) -> String {
        self.voice.say(key, &params)
    }

    /// Text for stderr in a style, if colour is wanted; nothing in the text is one.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let text = plain(text);
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.into_owned()
        }
    }

    /// A line of data, in which nothing steers a terminal. A reader that has gone away is no error, and does not stop what is being done.
    pub(crate) fn out(&self, line: &str) {
        self.check(writeln!(stdout().lock(), "{}", plain(line)));
    }

    /// Bytes of data as they are: what comes from outside only where no terminal reads it.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        let mut out = stdout().lock();
        self.check(out.write_all(bytes).and_then(|()| out.flush()));
    }

    /// Data as JSON, on one line.
    pub(crate) fn json(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.document(&text),
            Err(error) => self.fail(&Failure::internal(error)),
        }
    }

    /// Data as JSON for people and programs.
    pub(crate) fn json_document(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.document(&text),
            Err(error) => self.fail(&Failure::internal(error)),
        }
    }

    fn document(&self, json: &str) {
        self.check(writeln!(stdout().lock(), "{}", plain_json(json)));
    }

    /// Talk, a line of it.
    pub(crate) fn note(&self, line: &str) {
        self.styled(&plain(line));
    }

    fn styled(&self, line: &str) {
        // Nobody listening to talk is no error.
        let _ = writeln!(stderr().lock(), "{line}");
    }

    /// A sentence after a word in a style.
    fn labelled(&self, style: Style, word: &str, sentence: &str) {
        let word = self.say(word, Value::Null);
        let word = self.paint(style, &format!("{word}:"));
        self.styled(&format!("{word} {}", plain(sentence)));
    }

    /// Raw bytes to the terminal.
    pub(crate) fn raw(&self, text: &str) {
        let mut err = stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    pub(crate) fn warn(&self, text: &str) {
        self.labelled(YELLOW, "word.warning", text);
    }

    /// An error: the sentence and the way out; with `-o json` as JSON, code and all.
    pub(crate) fn fail(&self, failure: &Failure) {
        let sentence = failure.sentence(&self.voice);
        let hint = failure.hint(&self.voice);
        if self.is_json() {
            let body = failure.body();
            let error = json!({
                "code": body.code, "params": body.params, "message": sentence, "hint": hint, "exit": failure.exit as u8,
            });
            self.styled(&plain_json(&json!({ "error": error }).to_string()));
            return;
        }
        self.error(&sentence);
        if let Some(hint) = hint {
            self.hint(&hint);
        }
    }

    pub(crate) fn error(&self, sentence: &str) {
        self.labelled(RED, "word.error", sentence);
    }

    pub(crate) fn hint(&self, hint: &str) {
        self.labelled(BOLD, "word.hint", hint);
    }

    /// Whether some data could not be written, for another reason than that nobody reads it.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn check(&self, written: std::io::Result<()>) {
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            self.fail(&Failure::new("write_failed").with("detail", error.to_string()));
        }
    }
}
