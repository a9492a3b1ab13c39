//! `refloat plan`.

use crate::args::{Global, PlanArgs};
use crate::backend::{Backend, Need};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::render::progress::refusals;
use crate::talk::{Output, Talk};

pub(crate) async fn run(talk: &Talk, global: &Global, args: &PlanArgs) -> Result<Exit, Failure> {
    args.which.check()?;
    let backend = Backend::connect(global, Need::Everything).await?;
    let body = args.body(backend.which(&args.which).await?)?;
    let view = backend.plan(&body).await?;
    match talk.output {
        Output::Json => talk.json_document(&view),
        Output::Name => {
            let pods = view.plan.pods().filter(|(_, pod)| pod.leaves());
            pods.for_each(|(_, pod)| talk.out(&format!("pod/{}", pod.pod)));
        }
        Output::Table | Output::Wide => {
            let lines = render::plan::lines(&talk.voice, &view, &body, talk.program);
            lines.iter().for_each(|line| talk.out(line));
        }
    }
    if !talk.is_json() {
        refusals(&talk.voice, &view.plan)
            .iter()
            .for_each(|line| talk.error(line));
    }
    let refused = view.refused || !view.flaws.is_empty();
    Ok(if refused { Exit::Refused } else { Exit::Done })
}
