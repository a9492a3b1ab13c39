//! Help texts from the dictionaries: `help.<command>.about`, `help.<command>.<flag>`, `help.global.<flag>`.

use clap::Command;
use phrases::{Language, Voice};
use serde_json::Value;

/// The command line with its help in a language.
pub(crate) fn translated(command: Command, language: Language) -> Command {
    let command = command.disable_version_flag(false);
    translate(command, &Voice::new(language), "")
}

fn translate(command: Command, voice: &Voice, parent: &str) -> Command {
    let name = match parent {
        "" => "refloat".to_owned(),
        "refloat" => command.get_name().to_owned(),
        parent => format!("{parent}_{}", command.get_name()),
    };
    let say = |key: &str| phrases::has(key).then(|| voice.say(key, &Value::Null));
    let mut command = command;
    if let Some(about) = say(&format!("help.{name}.about")) {
        command = command.about(about);
    }
    command = command.mut_args(|arg| {
        let id = arg.get_id().as_str().replace('_', "-");
        let text = say(&format!("help.{name}.{id}")).or_else(|| say(&format!("help.global.{id}")));
        match text {
            Some(text) => arg.help(text),
            None => arg,
        }
    });
    command.mut_subcommands(|sub| translate(sub, voice, &name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn check(command: &Command, path: &str, missing: &mut Vec<String>) {
        if command.get_about().is_none() {
            missing.push(format!("{path}: about"));
        }
        for arg in command.get_arguments() {
            if arg.get_help().is_none() {
                missing.push(format!("{path}: {}", arg.get_id()));
            }
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{path} {}", sub.get_name()), missing);
        }
    }

    #[test]
    fn every_command_and_flag_has_help_in_both_languages() {
        for language in Language::ALL {
            let mut missing = Vec::new();
            check(
                &translated(Cli::command(), language),
                "refloat",
                &mut missing,
            );
            assert!(missing.is_empty(), "{missing:#?}");
        }
        let help = translated(Cli::command(), Language::ZhCn)
            .render_long_help()
            .to_string();
        assert!(help.contains("排空节点"), "{help}");
    }

    #[test]
    fn no_help_is_for_nothing() {
        let mut command = translated(Cli::command(), Language::En);
        command.build();
        let mut used = Vec::new();
        fn collect(command: &Command, name: &str, used: &mut Vec<String>) {
            used.push(format!("help.{name}.about"));
            used.extend(
                command
                    .get_arguments()
                    .map(|arg| format!("help.{name}.{}", arg.get_id().as_str().replace('_', "-"))),
            );
            used.extend(
                command
                    .get_arguments()
                    .map(|arg| format!("help.global.{}", arg.get_id().as_str().replace('_', "-"))),
            );
            for sub in command.get_subcommands() {
                let name = if name == "refloat" {
                    sub.get_name().to_owned()
                } else {
                    format!("{name}_{}", sub.get_name())
                };
                collect(sub, &name, used);
            }
        }
        collect(&command, "refloat", &mut used);
        let unused: Vec<_> = phrases::keys()
            .filter(|key| key.starts_with("help.") && !used.iter().any(|known| known == key))
            .collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
