//! Placements against answers of the scheduler's own code.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use placement::{Profile, Reader, World, compare};
use xtask::{output, run};

use super::{Args, Proof, Verdict};

pub(super) const PROOF: Proof = Proof {
    name: "placement-data",
    what: "pods of drained nodes go where the scheduler's own code puts them, with equal scores; -- FOLDER for other data",
    time: ["5 s", "5 s"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

async fn run(args: Args) -> Result<Verdict> {
    let ours = || run::root().join("crates/placement/tests/data");
    let folder = args.rest.first().map_or_else(ours, PathBuf::from);
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut names: Vec<String> = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".expect.jsonl.gz").map(str::to_owned));
    }
    names.sort();
    let (mut rows, mut equal, mut all) = (Vec::new(), 0, 0);
    for name in names {
        let mut reader = Reader::default();
        reader.text(&text(&folder.join(format!("{name}.jsonl.gz")))?)?;
        let world = World::new(reader.finish()?, Profile::of_minor(34));
        let agreement = compare(
            &world,
            &text(&folder.join(format!("{name}.expect.jsonl.gz")))?,
        )?;
        for difference in &agreement.differences {
            output::line(difference);
        }
        all += agreement.placements;
        equal += if agreement.is_complete() {
            agreement.placements
        } else {
            0
        };
        let figures = [
            agreement.placements,
            agreement.feasible,
            agreement.scores,
            agreement.nodes,
            agreement.reasons,
        ];
        rows.push(
            std::iter::once(name)
                .chain(figures.map(|n| n.to_string()))
                .collect::<Vec<_>>(),
        );
    }
    let header = [
        "SNAPSHOT",
        "PLACEMENTS",
        "SAME NODES",
        "SAME SCORES",
        "SAME CHOICE",
        "SAME REASONS",
    ];
    output::line(output::table(&header, &rows).trim_end());
    let figure = format!("{equal} of {all} placements in snapshots without any difference");
    Ok(Verdict::new(all > 0 && equal == all, figure))
}

fn text(path: &Path) -> Result<String> {
    let about = || format!("read {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(about)?;
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .with_context(about)?;
    Ok(text)
}
