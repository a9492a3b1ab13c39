//! Where the time of a drain went, by its record.

use std::path::Path;

use anyhow::{Context, Result};
use model::Time;
use operations::drain::{Effect, Event, Fact, PodJob, Recorded};
use store::{Filter, Store};

/// Stages of one drain in words, from `start` to `end`.
pub(super) async fn of(folder: &Path, start: Time, end: Time) -> Result<String> {
    let mut files = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "db"));
    let path = files.next().context("a record")?;
    let store = Store::open_read_only(&path, store::Options::new(service::RECORD_FORMAT))?;
    let operations = store.list(Filter::default()).await?;
    let id = &operations.first().context("an operation")?.operation.id;
    let mut stages = vec![("in all", end)];
    let mut mark = |what: &'static str, at: Time| {
        stages.retain(|(known, _)| *known != what);
        stages.insert(stages.len() - 1, (what, at));
    };
    for stored in store.events(id, 0).await? {
        let event: Event = serde_json::from_str(&stored.payload)?;
        let Recorded { at, event } = Recorded {
            at: stored.at,
            event,
        };
        match event {
            Event::Requested { .. } => mark("read", at),
            Event::Fact(Fact::NodeStarted { .. }) => mark("started", at),
            Event::Fact(Fact::NodeCordoned { .. }) => mark("cordoned", at),
            Event::Answered {
                effect: Effect::Pod {
                    job: PodJob::Evict, ..
                },
                refusal: None,
                ..
            } => mark("evicted", at),
            Event::Fact(Fact::PodGone { .. }) => mark("gone", at),
            Event::Ended { .. } => mark("given back", at),
            _ => {}
        }
    }
    let text = stages.iter().map(|(what, at)| {
        let seconds = at.duration_since(start).as_secs_f64();
        format!("{what} {seconds:.2}")
    });
    Ok(text.collect::<Vec<_>>().join(", "))
}
