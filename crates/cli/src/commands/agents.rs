//! `refloat agents`: who may speak for hosts.

use api::{AgentView, TokenBody};
use serde_json::{Value, json};

use crate::args::{AgentsCommand, Global};
use crate::backend::{Backend, Need};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::table::Table;
use crate::talk::Talk;

pub(crate) async fn run(
    talk: &Talk,
    global: &Global,
    command: AgentsCommand,
) -> Result<Exit, Failure> {
    if global.refloat_server.is_none() {
        return Err(Failure::new("agents_need_server").exiting(Exit::Usage));
    }
    let backend = Backend::connect(global, Need::Record).await?;
    match command {
        AgentsCommand::List => {
            let agents = backend.agents().await?;
            if talk.is_json() {
                talk.json_document(&agents);
            } else {
                lines(talk, &agents).iter().for_each(|line| talk.out(line));
            }
        }
        AgentsCommand::Token { node, minutes } => {
            let token = backend.agent_token(&TokenBody { node, minutes }).await?;
            if talk.is_json() {
                talk.json_document(&token);
            } else {
                talk.out(&token.token);
                let params = json!({ "expires": token.expires, "port": token.port });
                talk.note(&talk.say("host.token", params));
            }
        }
        AgentsCommand::Revoke { node } => {
            let revoked = backend.agent_revoke(&node).await?;
            if talk.is_json() {
                talk.json_document(&revoked);
            } else {
                let key = match revoked.revoked {
                    true => "host.revoked",
                    false => "host.not_enrolled",
                };
                talk.out(&talk.say(key, json!({ "node": revoked.node })));
            }
        }
    }
    Ok(Exit::Done)
}

fn lines(talk: &Talk, agents: &[AgentView]) -> Vec<String> {
    let say = |key: &str| talk.say(key, Value::Null);
    let head = ["column.node", "column.agent", "column.enrolled"].map(say);
    let mut table = Table::new(head.to_vec());
    for agent in agents {
        let connected = match &agent.connected {
            Some(version) => version.clone(),
            None => say("host.not_connected"),
        };
        let enrolled = talk.say("host.at", json!({ "at": agent.enrolled }));
        table.row(vec![agent.node.clone(), connected, enrolled]);
    }
    table.lines()
}
