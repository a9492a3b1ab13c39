//! `refloat serve`.

use hosts::SshOptions;
use hosts::alibaba::{Credentials, Ecs};
use kubernetes::Connect;
use serde_json::json;
use server::{HostOptions, LeaderOptions, ServerError, ServerOptions, TlsFiles};

use super::following::Signals;
use crate::args::{Global, ServeArgs};
use crate::backend::{self, Records};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::talk::Talk;

pub(crate) async fn run(talk: &Talk, global: &Global, args: &ServeArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let base = backend::connect(global);
    let clusters: Vec<Connect> = if args.all_contexts {
        server::all_contexts(&base)?
    } else if args.contexts.is_empty() {
        vec![base]
    } else {
        let context = |name: &String| Connect {
            context: Some(name.clone()),
            ..base.clone()
        };
        args.contexts.iter().map(context).collect()
    };
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        }),
        (None, None) => None,
        _ => return Err(Failure::new("tls_pair").exiting(Exit::Usage)),
    };
    // Beside the records of commands, not among them: it holds many operations.
    let record = Records::new(global.record.as_deref())?
        .folder()
        .join("server/record.db");
    let names: Vec<_> = clusters
        .iter()
        .map(|connect| connect.context.clone().unwrap_or_else(|| "-".to_owned()))
        .collect();
    let mut options = ServerOptions::new(record, clusters);
    options.listen = args.listen.unwrap_or(options.listen);
    options.tls = tls;
    options.hosts = HostOptions {
        agents: args.agents,
        ssh: args.ssh_user.as_ref().map(|user| SshOptions {
            user: Some(user.clone()),
            sudo: args.ssh_sudo,
            identity: args.ssh_key.clone(),
            known_hosts: args.ssh_known_hosts.clone(),
            ..SshOptions::default()
        }),
        ecs: cloud()?,
    };
    options.insecure_listen = args.insecure_listen;
    options.leader = args.leader_elect.as_deref().map(LeaderOptions::new);
    let server = server::Server::bind(options).await.map_err(failure)?;
    let params = json!({ "address": server.address().to_string(), "clusters": names });
    talk.note(&talk.say("line.serving", params));
    if let Some(address) = server.agents_address() {
        let params = json!({ "address": address.to_string() });
        talk.note(&talk.say("host.agents_address", params));
    }
    for (object, order) in server.lost_orders() {
        let node = object.rsplit('/').next().unwrap_or_default();
        let action = render::host::action(&talk.voice, &order.action);
        talk.warn(&talk.say("host.lost_order", json!({ "node": node, "action": action })));
    }
    let done = server.run(async move { signals.heard().await }).await;
    done.map_err(failure)?;
    Ok(Exit::Done)
}

/// The cloud's API, where the environment has a key for it, under the names that Alibaba's own tools use.
fn cloud() -> Result<Option<Ecs>, Failure> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let key = variable("ALIBABA_CLOUD_ACCESS_KEY_ID");
    let secret = variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
    let (Some(key), Some(secret)) = (key, secret) else {
        return Ok(None);
    };
    let credentials = Credentials {
        key,
        secret,
        security_token: variable("ALIBABA_CLOUD_SECURITY_TOKEN"),
    };
    let endpoint = variable("REFLOAT_ECS_ENDPOINT");
    Ok(Some(Ecs::new(credentials, endpoint)?))
}

fn failure(error: ServerError) -> Failure {
    let mut failure = match error {
        ServerError::Store(error) => return Failure::store(error),
        ServerError::Cluster { source, .. } => return source.into(),
        error => {
            let mut failure = Failure::new(error.code());
            failure.params = error.params();
            failure
        }
    };
    failure.params.retain(|_, value| !value.is_null());
    failure
}
