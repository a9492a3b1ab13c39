//! [`Probe::Docker`](crate::Probe::Docker) and [`Probe::Containerd`](crate::Probe::Containerd), lines of words. Nothing at
//! all is printed where the runtime is not installed.
//!
//! ```text
//! installed
//! socket ok|refused|absent
//! ping MILLIS|hangs|fails
//! version TEXT
//! live-restore true|false                 (from its configuration, and again as it says itself)
//! list ok|hangs|fails
//! container ID STATE ok|hangs|fails       (asked about this one, the runtime …)
//! ```

use super::text::whole;
use crate::{ContainerFacts, ContainerId, RuntimeFacts, RuntimeName};

pub(super) fn parse(name: RuntimeName, text: &str) -> Option<RuntimeFacts> {
    let mut facts = RuntimeFacts {
        name,
        socket: None,
        answers: None,
        millis: None,
        version: None,
        live_restore: None,
        lists: None,
        containers: Vec::new(),
    };
    let mut found = false;
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "installed" => {}
            "socket" => facts.socket = Some(rest == "ok"),
            "ping" => {
                facts.millis = whole(rest);
                facts.answers = Some(facts.millis.is_some());
            }
            "version" => facts.version = Some(rest.to_owned()),
            "live-restore" => facts.live_restore = rest.parse().ok(),
            "list" => facts.lists = Some(rest == "ok"),
            "container" => facts.containers.extend(container(rest)),
            _ => continue,
        }
        found = true;
    }
    found.then_some(facts)
}

fn container(rest: &str) -> Option<ContainerFacts> {
    let mut words = rest.split(' ');
    let id = ContainerId::new(words.next()?).ok()?;
    let state = words.next()?;
    let answers = words.next()? == "ok";
    Some(ContainerFacts {
        id,
        state: (state != "-").then(|| state.to_lowercase()),
        answers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_with_one_container_that_hangs() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let text = format!(
            "installed\nsocket ok\nping 12\nversion 18.09.1\nlive-restore false\nlist ok\ncontainer {a} Running ok\ncontainer {b} - hangs\ncontainer x running ok\n"
        );
        let facts = parse(RuntimeName::Docker, &text).unwrap();
        assert_eq!((facts.answers, facts.millis), (Some(true), Some(12)));
        assert_eq!(facts.live_restore, Some(false));
        assert_eq!(facts.containers.len(), 2);
        assert_eq!(facts.containers[0].state.as_deref(), Some("running"));
        assert!(!facts.containers[1].answers);
    }

    #[test]
    fn what_docker_says_of_itself_counts_more_than_its_configuration() {
        let live = |text: &str| parse(RuntimeName::Docker, text).unwrap().live_restore;
        assert_eq!(
            live("installed\nlive-restore true\nsocket ok\nping hangs\n"),
            Some(true)
        );
        assert_eq!(
            live("installed\nlive-restore true\nsocket ok\nping 1\nlive-restore false\n"),
            Some(false)
        );
    }

    #[test]
    fn a_runtime_that_hangs_and_one_that_is_not_there() {
        let hung = parse(
            RuntimeName::Containerd,
            "installed\nsocket ok\nping hangs\n",
        )
        .unwrap();
        assert_eq!((hung.socket, hung.answers), (Some(true), Some(false)));
        let down = parse(RuntimeName::Containerd, "installed\nsocket absent\n").unwrap();
        assert_eq!((down.socket, down.answers), (Some(false), None));
        assert_eq!(parse(RuntimeName::Docker, ""), None);
    }
}
