//! Golden scenarios: a script beside the record it must lead to. `UPDATE_GOLDEN=1` writes the records anew.

pub(crate) mod render;
mod script;

use std::path::{Path, PathBuf};

use operations::drain::State;

use sandbox::direct::Stop;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "scripts and golden records are files"
)]
fn scripts_lead_to_their_records() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok();
    let mut scripts: Vec<_> = folder()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 20, "{} scripts", scripts.len());
    let mut differing = Vec::new();
    for path in scripts {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let (mut engine, horizon) = script::read(&name, &text);
        let stop = engine.run(horizon);
        let replayed = State::replay(engine.record.iter().map(|entry| (entry.at, &entry.event)));
        assert_eq!(replayed.as_ref(), Ok(&engine.state), "{name}: replay");
        assert_eq!(engine.world.tally.violations, [], "{name}");
        assert!(
            stop != Stop::Quiet || !engine.waiting.is_empty(),
            "{name}: waits for nothing"
        );
        let got = render::record(&engine, stop);
        let golden = path.with_extension("expected");
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        if got != wanted {
            if update {
                std::fs::write(&golden, &got).unwrap();
            } else {
                differing.push(format!("== {name}\n{got}"));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "records differ (UPDATE_GOLDEN=1 accepts them):\n{}",
        differing.join("\n")
    );
}
