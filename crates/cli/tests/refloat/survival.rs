//! Interrupted, killed, and with records that are damaged or have no room.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::rig::{Rig, ran};

pub(crate) async fn interrupted(rig: &Rig) -> Result<()> {
    let node = "node-0001";
    rig.slow_pod("stopping", "slow", node, Duration::from_secs(300))
        .await?;
    for signal in ["INT", "TERM"] {
        let mut drain = rig.spawn(&["drain", node])?;
        drain
            .until_err(if signal == "INT" {
                "drains node-0001"
            } else {
                "taking up"
            })
            .await?;
        if signal == "INT" {
            drain.until_out("evicting pod stopping/slow-").await?;
            // Another process finds it held, and can watch it.
            let held = rig.run(&["drain", node]).await?;
            let pid = drain.child.id().context("it runs")?;
            held.check(
                1,
                &[],
                &[&format!("being run by process {pid}"), "refloat ops watch"],
            )?;
            let id = active(rig).await?;
            rig.run(&["ops", "resume", &id])
                .await?
                .check(1, &[], &[&format!("process {pid}")])?;
            let mut watch = rig.spawn(&["ops", "watch", &id])?;
            watch.until_out("evicting pod stopping/slow-").await?;
            watch.signal("INT").await?;
            ensure!(watch.end().await?.code == 130);
        }
        drain.signal(signal).await?;
        let ended = drain.end().await?;
        ended.check(
            130,
            &[],
            &[
                "interrupted: operation",
                "refloat ops resume",
                "refloat ops cancel",
            ],
        )?;
    }
    let id = active(rig).await?;
    rig.run(&["ops", "watch", &id]).await?.check(
        5,
        &[],
        &["no process runs operation", "refloat ops resume"],
    )?;
    rig.run(&["ops", "pause", &id])
        .await?
        .check(0, &[], &["is paused"])?;
    rig.run(&["ops", "list"])
        .await?
        .check(0, &["paused"], &[])?;
    rig.run(&["drain", node, "node-0000"]).await?.check(
        1,
        &[],
        &["belongs to the unfinished operation", &id],
    )?;
    rig.run(&["ops", "cancel", &id])
        .await?
        .check(0, &[], &["cancelled"])?;
    ensure!(!rig.is_cordoned(node).await?, "what is ours is undone");
    rig.clean("stopping").await
}

async fn active(rig: &Rig) -> Result<String> {
    let active = rig.run(&["ops", "list", "--active", "-o", "name"]).await?;
    Ok(active
        .out
        .lines()
        .next()
        .context("one is active")?
        .to_owned())
}

pub(crate) async fn killed(rig: &Rig) -> Result<()> {
    let node = "node-0002";
    rig.slow_pod("killed", "slow", node, Duration::from_secs(5))
        .await?;
    let mark = rig.plane.audit_mark();
    let mut drain = rig.spawn(&["drain", node])?;
    drain.until_out("evicting pod killed/slow-").await?;
    // Once both answers are in the record: a request that is cut off may be answered by anything.
    let id = active(rig).await?;
    let mut watch = rig.spawn(&["ops", "watch", &id, "-o", "json"])?;
    for _ in 0..2 {
        let answered = "\"event\":\"answered\",\"effect\":{\"on\":\"pod\"";
        watch.until_out(answered).await?;
    }
    drain.signal("KILL").await?;
    drain.child.wait().await?;
    let left = watch.end().await?;
    ensure!(
        left.code == 5 && left.error_code()? == "operation_abandoned",
        "{left:?}"
    );
    let again = rig.run(&["drain", node]).await?;
    again.check(
        0,
        &["node/node-0002 drained"],
        &[&format!("taking up the unfinished operation {id}")],
    )?;
    let entries = rig.plane.audit_since(mark)?.into_iter();
    let evictions: Vec<_> = entries
        .filter(|entry| entry.is_eviction() && entry.succeeded())
        .map(|entry| format!("{} {:?} {}", entry.uri, entry.code, entry.received))
        .collect();
    ensure!(
        evictions.len() == 2,
        "each pod is evicted once: {evictions:#?} {again:#?}"
    );
    rig.clean("killed").await
}

/// A record of a newer refloat, one that is damaged: named, and in nobody's way.
pub(crate) async fn damaged_records(rig: &Rig) -> Result<()> {
    let names = rig.run(&["ops", "list", "-o", "name"]).await?.out;
    let names: Vec<_> = names.lines().collect();
    let [newer, damaged, .., whole] = names.as_slice() else {
        anyhow::bail!("too few operations: {names:?}");
    };
    let file = |id: &str| rig.record().join(format!("{id}.db"));
    let connection = rusqlite::Connection::open(file(newer))?;
    connection.pragma_update(None, "user_version", 99)?;
    drop(connection);
    let wal = rig.record().join(format!("{damaged}.db-wal"));
    let _ = std::fs::remove_file(wal);
    std::fs::write(
        file(damaged),
        "not a database, by accident of some tool".repeat(200),
    )?;
    rig.run(&["ops", "show", newer]).await?.check(
        1,
        &[],
        &["newer refloat (version 99", "use the newer refloat"],
    )?;
    rig.run(&["ops", "show", damaged])
        .await?
        .check(1, &[], &["is damaged", damaged, "backup"])?;
    let list = rig.run(&["ops", "list"]).await?;
    list.check(4, &[whole], &["is damaged", damaged, "newer refloat"])?;
    rig.run(&["ops", "list", "--lang=zh"]).await?.check(
        4,
        &[whole],
        &["已损坏", "更新版本的 refloat"],
    )?;
    for id in [newer, damaged] {
        std::fs::remove_file(file(id))?;
    }
    let file = rig.folder().join("no-folder");
    std::fs::write(&file, "")?;
    let folder = file.to_str().context("a path")?;
    let denied = rig.run(&["drain", "node-0000", "--record", folder]).await?;
    ensure!(
        denied.code == 1 && denied.err.contains(folder),
        "{denied:?}"
    );
    Ok(())
}

const MOUNT: &str = "mount -t tmpfs -o size=64k refloat-test \"$0\" && exec \"$@\"";

pub(crate) async fn full_disk(rig: &Rig) -> Result<()> {
    let place = rig.folder().join("small");
    std::fs::create_dir(&place)?;
    let small = |words: &[&str]| {
        let mut command = Command::new("unshare");
        rig.dress(&mut command);
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT])
            .arg(&place)
            .args(words);
        command
    };
    let able = small(&["true"]).output().await;
    let able = able.context("run unshare")?;
    ensure!(
        able.status.success(),
        "cannot mount a small file system: {able:?}"
    );
    let record = place.to_str().context("a path")?;
    let mut command = small(&[
        env!("CARGO_BIN_EXE_refloat"),
        "drain",
        "node-0000",
        "--record",
        record,
    ]);
    command.kill_on_drop(true);
    let full = ran(command).await?;
    full.check(
        1,
        &[],
        &[
            "no space left to write the record",
            record,
            "free some space",
        ],
    )?;
    ensure!(
        !rig.is_cordoned("node-0000").await?,
        "nothing is done that cannot be recorded"
    );
    Ok(())
}
