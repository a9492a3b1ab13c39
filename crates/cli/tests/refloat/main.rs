//! The program itself in front of a real control plane. One control plane for all: a start costs seconds.

mod basics;
mod doctor;
mod draining;
mod inputs;
mod rig;
mod serving;
mod survival;

use anyhow::{Result, ensure};

use rig::Rig;

/// What is tested, one after the other: they share nodes.
macro_rules! each {
    ($rig:expr, $($part:path),* $(,)?) => {{
        let mut failures = Vec::new();
        $(if let Err(error) = $part($rig).await {
            failures.push(format!("{}: {error:#}", stringify!($part)));
        })*
        failures
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn refloat() -> Result<()> {
    let rig = Rig::start().await?;
    let failures = each!(
        &rig,
        basics::nodes,
        basics::cordon,
        basics::completion,
        doctor::a_sick_node,
        draining::plan_writes_nothing,
        draining::refused,
        draining::drained,
        draining::partly_and_blocked,
        draining::out_of_time,
        survival::interrupted,
        survival::killed,
        survival::damaged_records,
        survival::full_disk,
        inputs::connections,
        inputs::rights,
        serving::the_same_through_a_server,
    );
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}
