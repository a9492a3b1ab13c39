//! `refloat nodes`.

use api::NodeView;
use serde_json::Value;

use crate::args::{Global, NodesArgs};
use crate::backend::{Backend, Need};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::talk::{Output, Talk};

pub(crate) async fn run(talk: &Talk, global: &Global, args: &NodesArgs) -> Result<Exit, Failure> {
    if args.which.labels().is_some() && !args.which.nodes.is_empty() {
        return Err(Failure::new("both_names_and_selector"));
    }
    let backend = Backend::connect(global, Need::Nodes).await?;
    let mut shown = None;
    let mut seen = None;
    loop {
        let nodes = chosen(&backend, args).await?;
        let lines = lines(talk, &nodes);
        if shown.as_ref() != Some(&lines) {
            if shown.is_some() && talk.is_live() {
                // From the top of the screen, so that the table stands still.
                talk.raw("\x1b[H\x1b[2J");
            }
            lines.iter().for_each(|line| talk.out(line));
            if nodes.is_empty() && !talk.is_json() {
                talk.note(&talk.say("line.no_nodes", Value::Null));
            }
            shown = Some(lines);
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        tokio::select! {
            changed = backend.changed(&mut seen) => changed?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
    }
}

fn lines(talk: &Talk, nodes: &[NodeView]) -> Vec<String> {
    match talk.output {
        Output::Json => {
            let json = serde_json::to_string_pretty(nodes).unwrap_or_default();
            phrases::plain_json(&json)
                .lines()
                .map(str::to_owned)
                .collect()
        }
        Output::Name => nodes
            .iter()
            .map(|node| format!("node/{}", node.name))
            .collect(),
        _ if nodes.is_empty() => Vec::new(),
        form => render::nodes::table(&talk.voice, nodes, form == Output::Wide),
    }
}

async fn chosen(backend: &Backend, args: &NodesArgs) -> Result<Vec<NodeView>, Failure> {
    let mut nodes = backend.nodes().await?;
    if let Some(selector) = args.which.labels() {
        let names = backend.select(selector).await?;
        nodes.retain(|node| names.contains(&node.name));
    } else if !args.which.nodes.is_empty() {
        let unknown: Vec<_> = args
            .which
            .nodes
            .iter()
            .filter(|name| !nodes.iter().any(|node| node.name == **name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(backend.unknown(unknown).await);
        }
        nodes.retain(|node| args.which.nodes.contains(&node.name));
    }
    Ok(nodes)
}
