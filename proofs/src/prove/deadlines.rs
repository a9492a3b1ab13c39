//! A deadline holds within a second, whatever the cluster does.

mod phases;
mod server;

use std::time::Duration;

use anyhow::Result;
use model::Time;
use store::Store;
use testkit::Options;

use super::drain_command::Refloat;
use super::rig::{Rig, machine};
use super::{Args, Proof, Size, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "deadlines",
    what: "every deadline holds within a second: each phase, a budget that lags, an API server that is away",
    time: ["1 min", "3 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// How late what was declared may come.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Clocks are read after they were compared.
const ROUNDING: Duration = Duration::from_millis(10);

/// One deadline that passed. Times are by our own clock, from where the deadline counts.
#[derive(Debug, Clone)]
struct Measured {
    what: String,
    who: &'static str,
    /// What was declared for it.
    then: String,
    set: Duration,
    /// To the end of all work on pods, the pause, or the first deletion.
    decided: Duration,
    /// To the end of the operation, after what is ours was given back; `None` when that needed a server that was away.
    took: Option<Duration>,
    outcome: String,
}

impl Measured {
    /// How late the latest of it was.
    fn over(&self) -> f64 {
        let latest = self.took.unwrap_or_default().max(self.decided);
        latest.as_secs_f64() - self.set.as_secs_f64()
    }

    /// Too early is as wrong as too late.
    fn holds(&self, tolerance: Duration) -> bool {
        self.over() <= tolerance.as_secs_f64() && self.decided + ROUNDING >= self.set
    }

    fn row(&self) -> Vec<String> {
        let took = self.took.map(|took| format!("{:.2} s", took.as_secs_f64()));
        vec![
            self.what.clone(),
            self.who.to_owned(),
            self.then.clone(),
            format!("{:.2} s", self.set.as_secs_f64()),
            format!("{:.2} s", self.decided.as_secs_f64()),
            took.unwrap_or_else(|| "-".to_owned()),
            format!("{:+.2} s", self.over()),
            self.outcome.clone(),
        ]
    }
}

/// The time between two times of our own clock.
fn since(from: Time, to: Time) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

async fn run(args: Args) -> Result<Verdict> {
    let refloat = Refloat::build(args.size == Size::Full)?;
    let nodes = phases::nodes().into_iter().chain(server::nodes());
    let rig = Rig::start(Options::default(), nodes.collect()).await?;
    let home = tempfile::tempdir()?;
    let store = Store::open(
        home.path().join("record.db"),
        store::Options::new(service::RECORD_FORMAT),
    )?;
    let (engine, cluster) = rig.engine(store, service::Options::default()).await?;
    output::line(&format!("machine: {}", machine()));
    let mut all = phases::run(&rig, &engine, &cluster).await?;
    let full = args.size == Size::Full;
    all.extend(server::lagging(&rig, &engine, &cluster, &refloat, full).await?);
    all.extend(server::away(&rig, &engine, &cluster, &refloat).await?);
    let heading = [
        "DEADLINE", "WHO", "THEN", "SET", "DECIDED", "ENDED", "OVER BY", "OUTCOME",
    ];
    let rows: Vec<_> = all.iter().map(Measured::row).collect();
    output::line(output::table(&heading, &rows).trim_end());
    // Small runs where other things run too: there only what a busy machine does not explain is judged.
    Ok(verdict(&all, args.size.pick(TOLERANCE * 5, TOLERANCE)))
}

fn verdict(all: &[Measured], tolerance: Duration) -> Verdict {
    let ours = || all.iter().filter(|measured| measured.who != "kubectl");
    let worst = ours().max_by(|a, b| a.over().total_cmp(&b.over()));
    let worst = worst.map_or_else(String::new, |worst| {
        format!(
            "{:.2} s late at most ({}, {}, {})",
            worst.over(),
            worst.who,
            worst.what,
            worst.then
        )
    });
    Verdict::new(
        ours().all(|measured| measured.holds(tolerance)),
        format!("{worst}, over {} deadlines", ours().count()),
    )
}
