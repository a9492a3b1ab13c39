//! Command lines that cannot be understood, in the reader's language and as JSON like every other error.

use std::error::Error as _;

use clap::error::{ContextKind, ErrorKind};
use phrases::Language;

use crate::args::Bad;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::talk::{Output, Talk};

/// Says what is wrong with the command line; help and version are no errors.
pub(crate) fn tell(
    error: &clap::Error,
    args: &[String],
    language: Language,
    program: &'static str,
) -> u8 {
    if !error.use_stderr() {
        // Whoever does not read them loses nothing.
        let _ = error.print();
        return error.exit_code() as u8;
    }
    let output = if wants_json(args) {
        Output::Json
    } else {
        Output::Table
    };
    Talk::new(language, output, program).fail(&failure(error, args, program));
    Exit::Usage as u8
}

fn failure(error: &clap::Error, args: &[String], program: &str) -> Failure {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let command = std::iter::once(program)
        .chain(args.iter().skip(1).map(String::as_str).take_while(is_word))
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    let failure = match error.kind() {
        ErrorKind::ValueValidation => match error
            .source()
            .and_then(|source| source.downcast_ref::<Bad>())
        {
            // Its sentence names the value; which flag it was says the parameter.
            Some(bad) => Failure::from(bad.clone()),
            None => Failure::new("value_invalid"),
        },
        ErrorKind::InvalidValue => Failure::new("value_invalid"),
        ErrorKind::UnknownArgument => Failure::new("argument_unknown"),
        ErrorKind::InvalidSubcommand => Failure::new("command_unknown"),
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let detail = first.strip_prefix("error: ").unwrap_or(first).to_owned();
            Failure::new("usage").with("detail", detail)
        }
    };
    let mut failure = failure.with("command", command).exiting(Exit::Usage);
    for (name, kinds) in [
        (
            "argument",
            [ContextKind::InvalidArg, ContextKind::InvalidSubcommand],
        ),
        ("value", [ContextKind::InvalidValue; 2]),
        (
            "close",
            [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand],
        ),
        ("possible", [ContextKind::ValidValue; 2]),
    ] {
        if let Some(text) = kinds.into_iter().find_map(context) {
            failure = failure.with(name, text);
        }
    }
    failure
}

fn is_word(word: &&str) -> bool {
    !word.starts_with('-')
}

fn wants_json(args: &[String]) -> bool {
    args.windows(2)
        .any(|pair| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json")
        || args
            .iter()
            .any(|word| word == "-ojson" || word == "-o=json" || word == "--output=json")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn failed(line: &str) -> Failure {
        let args: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::try_parse_from(&args).expect_err(line);
        failure(&error, &args, "refloat")
    }

    #[test]
    fn each_names_what_is_wrong() {
        for (line, code, param, text) in [
            (
                "refloat drain n1 --timeout=5",
                "duration_invalid",
                "argument",
                "--timeout <DURATION>",
            ),
            (
                "refloat drain n1 --grace-period=x",
                "grace_invalid",
                "text",
                "x",
            ),
            (
                "refloat drain n1 --dry-run=all",
                "value_invalid",
                "possible",
                "none, client, server",
            ),
            (
                "refloat drain n1 --forse",
                "argument_unknown",
                "close",
                "--force",
            ),
            ("refloat drian n1", "command_unknown", "argument", "drian"),
            ("refloat drain pod/x", "not_a_node", "text", "pod/x"),
            ("refloat ops show", "usage", "command", "refloat ops"),
        ] {
            let failure = failed(line);
            assert_eq!(failure.code, code, "{line}");
            assert_eq!(
                failure.params.get(param).and_then(|v| v.as_str()),
                Some(text),
                "{line}: {:?}",
                failure.params
            );
            assert_eq!(failure.exit, Exit::Usage);
            for language in Language::ALL {
                let voice = phrases::Voice::new(language);
                assert!(failure.hint(&voice).is_some(), "{line}");
                assert!(!failure.sentence(&voice).contains('{'), "{line}");
            }
        }
    }
}
