//! Diagnosis of labelled texts, by cause.

use anyhow::{Context, Result};
use diagnosis::Score;

use super::{Args, Proof, Verdict};
use xtask::{output, run};

pub(super) const PROOF: Proof = Proof {
    name: "diagnosis-samples",
    what: "labelled texts get the right cause and action, or the probe that decides, or silence; -- PATH for others",
    time: ["1 s", "1 s"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

async fn run(args: Args) -> Result<Verdict> {
    let score = scored(&args)?;
    Ok(Verdict::new(
        score.passes() && !score.rows.is_empty(),
        format!("{:.1} % right", score.percent()),
    ))
}

/// The score of the texts at the path that was given, of the open samples without one; printed.
pub(super) fn scored(args: &Args) -> Result<Score> {
    let ours = || {
        run::root()
            .join("crates/diagnosis/tests/data/samples.jsonl")
            .display()
            .to_string()
    };
    let path = args.rest.first().cloned().unwrap_or_else(ours);
    let samples = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let score = diagnosis::score(&samples);
    output::line(&score.to_string());
    Ok(score)
}
