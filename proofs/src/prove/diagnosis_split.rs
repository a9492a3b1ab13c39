//! Diagnosis of texts that were gathered, labelled and kept apart from the rules.

use anyhow::Result;
use diagnosis::Expected;

use super::diagnosis_samples::scored;
use super::{Args, Proof, Verdict};

pub(super) const PROOF: Proof = Proof {
    name: "diagnosis-split",
    what: "of texts kept apart from the rules (-- PATH) 85 % of decided and 90 % of undetermined are right, none is harmful",
    time: ["1 s", "1 s"],
    in_test: false,
    run: |args| Box::pin(run(args)),
};

async fn run(args: Args) -> Result<Verdict> {
    // Texts kept apart are not in the repository; without any, the open samples show that the bar can be read.
    let score = scored(&args)?;
    let undetermined = score.tally(Expected::Undetermined);
    let passes = score.unreadable == 0
        && !score.rows.is_empty()
        && score.percent() >= 85.0
        && undetermined.right * 10 >= undetermined.total * 9
        && score.harmful == 0;
    Ok(Verdict::new(
        passes,
        format!(
            "{:.1} % of decided, {}/{} undetermined, {} harmful",
            score.percent(),
            undetermined.right,
            undetermined.total,
            score.harmful
        ),
    ))
}
