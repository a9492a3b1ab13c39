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
