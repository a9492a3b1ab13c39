//! Scripts, line by line. Words of `name=value` form are settings; `#` starts a comment. See the `.txt` files.

use std::sync::Arc;

use model::{Amount, ClaimAccess, Labels, PodVolume, Strategy, Text, marks};
use operations::drain::{Escalation, HandoverMode, Options};

use sandbox::build::{self, key};
use sandbox::direct::Engine;
use sandbox::{Action, Claim, Delays, Foreign, Rng, World, at};

struct Words<'a> {
    place: String,
    plain: Vec<&'a str>,
    settings: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(place: String, line: &'a str) -> Self {
        let (settings, plain): (Vec<_>, Vec<_>) =
            line.split_whitespace().partition(|word| word.contains('='));
        let settings = settings
            .iter()
            .map(|word| word.split_once('=').unwrap())
            .collect();
        Self {
            place,
            plain,
            settings,
        }
    }

    fn word(&self, at: usize) -> &'a str {
        let word = self.plain.get(at);
        word.unwrap_or_else(|| panic!("{}: a word is missing", self.place))
    }

    fn text(&self, at: usize) -> Text {
        self.word(at).into()
    }

    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.settings
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }

    fn time(&self, name: &str) -> Option<u64> {
        self.get(name).map(time)
    }

    fn amount(&self, name: &str) -> Option<Amount> {
        self.get(name).map(|text| Amount::parse(text).unwrap())
    }
}

/// `2m`, `5s` or `300ms`.
fn time(text: &str) -> u64 {
    let number = |end: &str| {
        text.strip_suffix(end)
            .and_then(|text| text.parse::<u64>().ok())
    };
    number("ms")
        .or_else(|| number("s").map(|s| s * 1_000))
        .or_else(|| number("m").map(|m| m * 60_000))
        .unwrap_or_else(|| panic!("{text:?} is no time"))
}

pub(super) fn read(name: &str, text: &str) -> (Engine, u64) {
    let mut world = World::new(Rng::new(1), Delays::fixed());
    world.golden = true;
    let mut drain = None;
    let mut horizon = 600_000;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words = Words::of(format!("{name}.txt:{}", number + 1), line);
        if words.plain.is_empty() {
            continue;
        }
        match words.word(0) {
            "drain" => drain = Some(request(&words)),
            "until" => horizon = time(words.word(1)),
            "at" => {
                let action = foreign(&words);
                world.at(at(time(words.word(1))), Action::Foreign(action));
            }
            _ => object(&mut world, &words),
        }
    }
    let (nodes, options) = drain.unwrap();
    (Engine::new(world, &nodes, options), horizon)
}

fn object(world: &mut World, words: &Words<'_>) {
    let name = words.word(1);
    match words.word(0) {
        "node" => {
            let mut node = build::node(name);
            node.unschedulable = words.has("cordoned");
            if let Some(zone) = words.get("zone") {
                node.labels = Labels::of([("topology.kubernetes.io/zone", zone)]);
            }
            if let Some(most) = words.get("pods") {
                world.capacity.insert(name.into(), most.parse().unwrap());
            }
            world.put_node(node);
        }
        "deploy" | "sts" | "daemons" => {
            let nodes: Vec<Text> = words.word(2).split(',').map(Text::from).collect();
            let shape = |pod: &mut model::Pod| shape(pod, words);
            match words.word(0) {
                "deploy" => {
                    let most = words.get("surge").map_or(1, |text| text.parse().unwrap());
                    let strategy = if words.has("recreate") {
                        Some(Strategy::Recreate)
                    } else {
                        build::surge(most)
                    };
                    world.deploy(name, &nodes, strategy, shape);
                }
                "sts" => world.stateful(name, &nodes, shape),
                _ => world.daemons(name, &nodes),
            }
            if words.has("guarded") {
                world.guarded.insert(key(name), usize::MAX);
            }
            if words.has("never-ready") {
                world.never_ready.insert(name.into());
            }
            if words.has("never-stops") {
                world.never_stops.insert(name.into());
            }
        }
        "bare" | "static" => {
            let mut pod = build::pod(name, words.word(2));
            shape(&mut pod, words);
            if words.word(0) == "static" {
                pod.annotations = Labels::of([(marks::MIRROR_POD, "x")]);
            }
            world.put_pod(pod);
        }
        "pdb" => {
            let mut budget = build::budget(name, words.amount("min"), words.amount("max"));
            if let Some(app) = words.get("for") {
                budget.selector = Some(model::Selector::label("app", app));
            }
            world.put_budget(budget);
        }
        "claim" => {
            let claim = model::Claim {
                key: key(name),
                access: ClaimAccess::Single,
                volume: None,
            };
            world.truth.claims.insert(&key(name), Arc::new(claim));
        }
        "held" => drop(world.claims.insert(
            name.into(),
            Claim {
                holder: words.text(2),
                until: None,
            },
        )),
        "forbid" => world.faults.forbidden.push(name.into()),
        "deny" => world.faults.denies = Some(name.into()),
        "down" => world.faults.down = true,
        "unheard" => world.faults.unheard = name.parse().unwrap(),
        other => panic!("{}: what is {other}?", words.place),
    }
}

fn shape(pod: &mut model::Pod, words: &Words<'_>) {
    if let Some(grace) = words.time("grace") {
        pod.grace_seconds = (grace / 1_000) as u32;
    }
    if words.has("emptydir") {
        pod.volumes = Arc::from([PodVolume::EmptyDir { name: "tmp".into() }]);
    }
    if let Some(claim) = words.get("claim") {
        let claim = claim.into();
        pod.volumes = Arc::from([PodVolume::Claim { claim }]);
    }
    if words.has("tolerates") {
        pod.tolerations = Arc::from([build::tolerates_cordon()]);
    }
    if let Some(host) = words.get("host") {
        pod.hostnames = Some(Arc::from([Text::from(host)]));
    }
    if let Some(finalizer) = words.get("finalizer") {
        pod.finalizers = Arc::from([Text::from(finalizer)]);
    }
}

fn foreign(words: &Words<'_>) -> Foreign {
    let name = || words.text(3);
    match words.word(2) {
        "uncordon" => Foreign::Uncordon(name()),
        "cordon" => Foreign::Cordon(name()),
        "die" => Foreign::Die(name()),
        "back" => Foreign::Back(name()),
        "remove-node" => Foreign::RemoveNode(name()),
        "evict" => Foreign::EvictPod(key(&name())),
        "recreate" => Foreign::Recreate(key(&name()), words.text(4)),
        "unready" => Foreign::Unready(key(&name())),
        "healthy" => Foreign::Healthy(key(&name())),
        "drop-pdb" => Foreign::DropBudget(key(&name())),
        "edit-pdb" => Foreign::EditBudget(
            key(&name()),
            Box::new(build::budget("x", words.amount("min"), words.amount("max"))),
        ),
        "intrude" => {
            let mut pod = build::pod(&name(), words.word(4));
            shape(&mut pod, words);
            Foreign::Intrude(Box::new(pod))
        }
        "claim" => Foreign::Claim(name(), words.text(4)),
        "unclaim" => Foreign::Unclaim(name()),
        "forbid" => Foreign::Forbid(name()),
        "allow" => Foreign::Allow,
        "finalized" => Foreign::Finalized(key(&name())),
        "pause" => Foreign::Pause,
        "resume" => Foreign::Resume,
        "cancel" => Foreign::Cancel,
        "restart" => Foreign::Restart,
        other => panic!("{}: what is {other}?", words.place),
    }
}

fn request(words: &Words<'_>) -> (Vec<Text>, Options) {
    let mut options = Options {
        force: words.has("--force"),
        ignore_daemonsets: words.has("--ignore-daemonsets"),
        delete_emptydir_data: words.has("--delete-emptydir-data"),
        disable_eviction: words.has("--disable-eviction"),
        ..Options::default()
    };
    options.skip_wait_for_delete_seconds = words
        .time("--skip-wait-for-delete-timeout")
        .map(|ms| (ms / 1_000) as u32);
    options.handover = match words.get("--handover") {
        Some("never") => HandoverMode::Never,
        Some("always") => HandoverMode::Always,
        _ => HandoverMode::Auto,
    };
    options.escalation = match words.get("--then") {
        Some("uncordon") => Escalation::Uncordon,
        Some("delete") => Escalation::Delete,
        Some("wait") => Escalation::Wait,
        _ => Escalation::Stop,
    };
    options.deadlines.node_ms = words.time("--timeout");
    options.deadlines.evict_ms = words.time("--evict-timeout");
    options.deadlines.terminate_ms = words.time("--terminate-timeout");
    if let Some(ms) = words.time("--handover-timeout") {
        options.deadlines.handover_ms = Some(ms);
    }
    options.limits.nodes = words
        .get("--nodes-at-once")
        .map(|text| text.parse().unwrap());
    options.limits.per_zone = words.get("--per-zone").map(|text| text.parse().unwrap());
    let nodes = words.plain[1..]
        .iter()
        .filter(|word| !word.starts_with("--"));
    (nodes.map(|word| (*word).into()).collect(), options)
}
