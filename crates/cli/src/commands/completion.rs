//! `refloat completion`, and `kubectl_complete-refloat` for kubectl.

use std::ffi::OsString;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Exit;
use crate::help;
use crate::talk::Talk;

pub(crate) fn run(talk: &Talk, shell: Shell) -> Exit {
    let mut script = Vec::new();
    let mut command = help::translated(Cli::command(), talk.voice.language);
    clap_complete::generate(shell, &mut command, "refloat", &mut script);
    talk.bytes(&script);
    Exit::Done
}

/// kubectl runs `kubectl_complete-refloat WORDS…`, the last word being the one to complete, and reads cobra's protocol:
/// candidates, one a line with a tab before its description, and `:directive` at the end.
pub(crate) fn complete(words: &[OsString]) -> Exit {
    let talk = Talk::new(
        phrases::Language::En,
        crate::talk::Output::Name,
        "kubectl refloat",
    );
    for candidate in candidates(words) {
        talk.out(&candidate);
    }
    // 4: do not complete file names.
    talk.out(":4");
    Exit::Done
}

fn candidates(words: &[OsString]) -> Vec<String> {
    let words: Vec<_> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let (partial, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = Cli::command();
    command.build();
    let mut current = &command;
    for word in before {
        if let Some(sub) = current.find_subcommand(word) {
            current = sub;
        }
    }
    let mut found: Vec<String> = if partial.starts_with('-') {
        let flags = current
            .get_arguments()
            .filter(|arg| !arg.is_hide_set())
            .filter_map(|arg| arg.get_long());
        flags.map(|flag| format!("--{flag}")).collect()
    } else {
        let subs = current.get_subcommands().filter(|sub| !sub.is_hide_set());
        subs.map(|sub| sub.get_name().to_owned()).collect()
    };
    found.retain(|candidate| candidate.starts_with(partial));
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_flags() {
        let complete =
            |words: &[&str]| candidates(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(complete(&["dr"]), ["drain"]);
        assert_eq!(complete(&["ops", "re"]), ["resume"]);
        assert!(
            complete(&["drain", "hz-1", "--ignore"]).contains(&"--ignore-daemonsets".to_owned())
        );
        assert!(complete(&[""]).contains(&"nodes".to_owned()));
    }
}
