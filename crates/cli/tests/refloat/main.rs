//! The program itself in front of a real control plane. One control plane for all: a start costs seconds.

mod basics;
mod draining;
mod inputs;
mod rig;
mod serving;
mod survival;

use anyhow::{Context, Result};

use rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn refloat() -> Result<()> {
    let rig = Rig::start().await?;
    basics::nodes(&rig).await.context("nodes")?;
    basics::cordon(&rig).await.context("cordon")?;
    basics::completion(&rig).await.context("completion")?;
    draining::plan_writes_nothing(&rig).await.context("plan")?;
    draining::refused(&rig).await.context("refused")?;
    draining::drained(&rig).await.context("drained")?;
    draining::partly_and_blocked(&rig)
        .await
        .context("partly and blocked")?;
    draining::out_of_time(&rig).await.context("out of time")?;
    survival::interrupted(&rig).await.context("interrupted")?;
    survival::killed(&rig).await.context("killed")?;
    survival::damaged_records(&rig)
        .await
        .context("damaged records")?;
    survival::full_disk(&rig).await.context("full disk")?;
    inputs::connections(&rig).await.context("connections")?;
    inputs::rights(&rig).await.context("rights")?;
    serving::the_same_through_a_server(&rig)
        .await
        .context("serve")?;
    Ok(())
}
