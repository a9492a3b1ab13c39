//! `refloat doctor`.

use serde_json::json;

use crate::args::{DoctorArgs, Global};
use crate::backend::{Backend, Need};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::talk::{Output, Talk};

pub(crate) async fn run(talk: &Talk, global: &Global, args: &DoctorArgs) -> Result<Exit, Failure> {
    let which = &args.which;
    let named = !which.nodes.is_empty();
    if named && which.labels().is_some() {
        return Err(Failure::new("both_names_and_selector"));
    }
    let backend = Backend::connect(global, Need::Nodes).await?;
    let doctor = if named {
        backend
            .doctor(&backend.which(which).await?, &args.ssh)
            .await?
    } else if which.labels().is_some() {
        let chosen = backend.which(which).await?;
        let mut doctor = backend.doctor_all().await?;
        doctor.nodes.retain(|node| chosen.contains(&node.node));
        doctor.healthy = chosen.len().saturating_sub(doctor.nodes.len());
        doctor
    } else {
        backend.doctor_all().await?
    };
    let sick = || doctor.nodes.iter().filter(|node| !node.is_healthy());
    match talk.output {
        Output::Json => talk.json_document(&doctor),
        Output::Name => sick().for_each(|node| talk.out(&format!("node/{}", node.node))),
        form => {
            let wide = form == Output::Wide;
            for line in render::doctor::lines(&talk.voice, &doctor, wide, !named) {
                talk.out(&line);
            }
            for node in &doctor.nodes {
                for step in render::host::next_steps(node) {
                    let params =
                        json!({ "program": talk.program, "node": node.node, "step": step });
                    talk.hint(&talk.say("host.next_step", params));
                }
            }
            if render::doctor::asks_for_logs(&doctor) {
                talk.hint(&talk.say("doctor.next_log", json!({ "program": talk.program })));
            }
        }
    }
    Ok(if sick().next().is_some() {
        Exit::Trouble
    } else {
        Exit::Done
    })
}
