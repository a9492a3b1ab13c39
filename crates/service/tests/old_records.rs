//! Records that an earlier version wrote, interrupted at every event and ended, are listed, shown and replayed. What they
//! are: `crates/store/tests/data/README.md`.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use operations::kernel::Outcome;
use service::{Options, RECORD_FORMAT, Service};
use store::{Filter, Store};

const DRAINS: &[&str] = &[
    "plain",
    "handover-expired",
    "pause-cancel",
    "restart",
    "many-nodes",
    "timeout-delete",
    "denied",
];

fn record(name: &str) -> Result<(tempfile::TempDir, Store)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("record.db");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/data");
    let packed = File::open(data.join(format!("{name}.db.gz"))).context("the data")?;
    std::io::copy(&mut GzDecoder::new(packed), &mut File::create(&path)?)?;
    Ok((
        folder,
        Store::open(&path, store::Options::new(RECORD_FORMAT))?,
    ))
}

#[tokio::test]
async fn records_of_the_version_before_are_listed_and_shown_at_every_event() -> Result<()> {
    for name in DRAINS {
        let (_folder, store) = record(name)?;
        let service = Service::new(store.clone(), Options::default());
        let views = service.list(Filter::default()).await?;
        ensure!(views.len() > 5, "{name}: {} operations", views.len());
        for (view, recorded) in views.iter().zip(store.list(Filter::default()).await?) {
            let id = &recorded.operation.id;
            ensure!(view.id == *id && &*view.kind == "drain", "{name}: {view:?}");
            ensure!(
                view.ended.is_some() == recorded.ended.is_some(),
                "{name}: {view:?}"
            );
            // Without its plan nothing is known of its nodes but their names.
            let planned = recorded.last_seq > 1;
            ensure!(view.nodes.is_empty() != planned, "{name}: {view:?}");
            let lines = service.events(id, 0).await?;
            ensure!(lines.len() as u64 == recorded.last_seq, "{name} {id}");
            let head = lines
                .first()
                .map(|line| serde_json::to_value(&line.recorded));
            let head = head.context("a first event")??;
            ensure!(
                head["event"] == "requested" && head["kind"] == "drain",
                "{head}"
            );
        }
        let ended: Vec<_> = views.iter().filter_map(|view| view.outcome).collect();
        ensure!(ended.len() == 1, "{name}: {ended:?}");
        let expected = match *name {
            "pause-cancel" => Outcome::Cancelled,
            _ => ended[0],
        };
        ensure!(ended == [expected], "{name}: {ended:?}");
    }
    Ok(())
}

/// What was recorded is recorded in the same words: an event read and written again is the same JSON.
#[tokio::test]
async fn events_keep_their_words() -> Result<()> {
    for name in DRAINS {
        let (_folder, store) = record(name)?;
        for recorded in store.list(Filter::default()).await? {
            for stored in store.events(&recorded.operation.id, 0).await? {
                let event =
                    operations::kinds::Event::from_json("drain", stored.seq, &stored.payload)?;
                let again: serde_json::Value = serde_json::from_str(&event.to_json()?)?;
                let before: serde_json::Value = serde_json::from_str(&stored.payload)?;
                ensure!(again == before, "{name}: {again} was {before}");
            }
        }
    }
    Ok(())
}
