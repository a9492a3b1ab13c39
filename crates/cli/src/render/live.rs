//! A block of lines at the bottom of a terminal that is drawn anew whenever something changes.

use model::Time;
use operations::drain::{Disposition, NodeState, PodState, State};
use phrases::Voice;
use serde_json::json;

use super::progress::{Progress, is_brief};
use super::table::cut;
use crate::talk::{BOLD, DIM, Talk, YELLOW};

/// The block, as far as it is drawn.
#[derive(Debug, Default)]
pub(crate) struct Live {
    drawn: usize,
}

impl Live {
    /// Takes the block away, so that lines that stay can be written.
    pub(crate) fn erase(&mut self, talk: &Talk) {
        if self.drawn > 0 {
            talk.raw(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }

    pub(crate) fn draw(&mut self, talk: &Talk, progress: &Progress, now: Time) {
        let (width, height) = terminal_size::terminal_size().map_or((80, 24), |(width, height)| {
            (usize::from(width.0), usize::from(height.0))
        });
        self.erase(talk);
        let lines = block(&talk.voice, progress, now, height.saturating_sub(3).max(3));
        let mut text = String::new();
        for (tone, line) in &lines {
            // One column less: some terminals wrap when the last is filled.
            let line = cut(line, width.saturating_sub(1).max(20));
            text.push_str(&match tone {
                Tone::Head => talk.paint(BOLD, &line),
                Tone::Wait => talk.paint(YELLOW, &line),
                Tone::Quiet => talk.paint(DIM, &line),
            });
            text.push('\n');
        }
        talk.raw(&text);
        self.drawn = lines.len();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tone {
    Head,
    Wait,
    Quiet,
}

/// At most so many lines: each node in work with its counts, then its pods, what waits for something first.
fn block(voice: &Voice, progress: &Progress, now: Time, height: usize) -> Vec<(Tone, String)> {
    let Some(state) = &progress.state else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for node in state.body.nodes.iter().filter(|node| node.ended.is_none()) {
        lines.push((Tone::Head, head(voice, state, node, now)));
        let mut pods: Vec<(Tone, String)> = Vec::new();
        for waiting in progress
            .waiting
            .iter()
            .filter(|waiting| waiting.node == node.node.name)
        {
            let tone = if is_brief(&waiting.on) {
                Tone::Quiet
            } else {
                Tone::Wait
            };
            let what = waiting
                .pod
                .as_ref()
                .map(|pod| format!("{pod}  "))
                .unwrap_or_default();
            pods.push((
                tone,
                format!("  {what}{}", voice.code("waiting", &json!(waiting.on))),
            ));
        }
        pods.sort();
        lines.extend(pods);
    }
    if lines.len() > height {
        let more = lines.len() - height + 1;
        lines.truncate(height - 1);
        lines.push((
            Tone::Quiet,
            voice.say("live.more", &json!({ "more": more })),
        ));
    }
    lines
}

fn head(voice: &Voice, state: &State, node: &NodeState, now: Time) -> String {
    let count =
        |matches: &dyn Fn(&PodState) -> bool| node.pods.values().filter(|pod| matches(pod)).count();
    let since = node.started.unwrap_or(state.request.at);
    let params = json!({
        "node": node.node.name,
        "gone": count(&|pod| pod.gone.is_some()),
        "leaving": count(&|pod| pod.gone.is_none() && pod.accepted().is_some()),
        "staying": count(&|pod| pod.gone.is_none() && pod.plan.disposition == Disposition::Skip),
        "waiting": count(&|pod| pod.gone.is_none() && pod.accepted().is_none() && pod.plan.disposition != Disposition::Skip),
        "seconds": now.as_second() - since.as_second(),
    });
    voice.say("live.node", &params)
}
