//! Records that are newer, damaged, out of reach, or out of space.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use model::Time;
use store::{NewEvent, OperationRow, Store};

use super::{Case, Place};

/// Where a database of SQLite has its version (file format, 1.3.17).
const USER_VERSION: std::ops::Range<usize> = 60..64;

pub(super) async fn cases(place: &Place<'_>) -> Result<Vec<Case>> {
    let admin = place.rig.plane.kubeconfig();
    let (good, id) = good(place).await?;
    let copy = |name: &str, change: &dyn Fn(&mut Vec<u8>)| -> Result<PathBuf> {
        let folder = place.home.join(format!("record {name}"));
        fs::create_dir(&folder)?;
        let mut bytes = fs::read(&good)?;
        change(&mut bytes);
        fs::write(folder.join(format!("{id}.db")), bytes)?;
        Ok(folder)
    };
    let mut cases = Vec::new();
    let mut show = |name: &str, folder: &Path, code: &'static str, names: &[&str]| {
        let path = folder.join(format!("{id}.db")).display().to_string();
        let case = Case::new(name, &format!("ops show {id}"), 1, code);
        cases.push(case.naming(&[&path]).naming(names).record(folder));
        let case = Case::new(format!("{name}, in a list"), "ops list", 4, code);
        cases.push(case.naming(&[&path]).record(folder));
    };
    let newer = copy("of a newer version", &|bytes| {
        bytes[USER_VERSION].copy_from_slice(&99_u32.to_be_bytes());
    })?;
    show(
        "a record of a newer version",
        &newer,
        "record_newer",
        &["99"],
    );
    let flipped = copy("with a flipped byte", &|bytes| {
        let event = b"\"event\":\"requested\"";
        let at = bytes.windows(event.len()).position(|part| part == event);
        if let Some(at) = at {
            bytes[at + 12] ^= 1;
        }
    })?;
    ensure!(
        fs::read(&good)? != fs::read(flipped.join(format!("{id}.db")))?,
        "nothing was flipped"
    );
    show(
        "a record with a flipped byte",
        &flipped,
        "record_corrupt",
        &[&id],
    );
    let half = copy("cut in half", &|bytes| bytes.truncate(bytes.len() / 2))?;
    show("a record cut in half", &half, "record_corrupt", &[]);
    let garbage = copy("that is none", &|bytes| *bytes = b"hello\n".repeat(1000))?;
    show("a record that is none", &garbage, "record_corrupt", &[]);

    let folder = place.home.join("record with newer events");
    let path = newer_event(&folder, &id).await?;
    let case = Case::new(
        "a record with a newer event",
        &format!("ops show {id}"),
        1,
        "event_newer",
    );
    cases.push(case.naming(&[&id]).record(&folder));
    let case = Case::new(
        "a record with a newer event, in a list",
        "ops list",
        4,
        "event_newer",
    );
    cases.push(
        case.naming(&[&id, &path.display().to_string()])
            .record(&folder),
    );

    cases.push(
        Case::new(
            "an operation that is not there",
            "ops show 20200101-000000-000000",
            1,
            "operation_unknown",
        )
        .naming(&["20200101-000000-000000"])
        .record(good.parent().context("a folder")?),
    );
    let file = place.home.join("a-file");
    fs::write(&file, "")?;
    cases.push(
        Case::new("--record is a file", "drain worker-1", 1, "record_denied")
            .naming(&[&file.display().to_string()])
            .kubeconfig(admin)
            .record(&file),
    );

    // A mount of its own: root may write where the permissions forbid it.
    let sealed = place.home.join("sealed");
    fs::create_dir(&sealed)?;
    for (name, command) in [
        ("a folder that cannot be written", "drain worker-1"),
        ("a folder that cannot be written: cordon", "cordon worker-1"),
    ] {
        let mut case = Case::new(name, command, 1, "record_denied")
            .naming(&[&sealed.display().to_string()])
            .kubeconfig(admin)
            .record(&sealed);
        case.wrapper = Some(format!(
            "mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' && exec \"$@\"",
            sealed.display()
        ));
        cases.push(case);
    }
    let full = place.home.join("full");
    fs::create_dir(&full)?;
    for (name, command) in [
        ("a full disk", "drain worker-1"),
        ("a full disk: cordon", "cordon worker-1"),
    ] {
        let mut case = Case::new(name, command, 1, "record_full")
            .naming(&[&full.display().to_string()])
            .kubeconfig(admin)
            .record(&full);
        case.wrapper = Some(format!(
            "mount -t tmpfs -o size=64k tmpfs '{0}' && {{ cat /dev/zero > '{0}/filler' 2>/dev/null; exec \"$@\"; }}",
            full.display()
        ));
        cases.push(case);
    }
    // In the middle of a drain; with space again the same command ends it.
    let mut case = Case::new(
        "a disk that fills up in a drain",
        "drain worker-1",
        1,
        "record_full",
    )
    .naming(&[&full.display().to_string()])
    .kubeconfig(admin)
    .record(&full);
    let filler = DISK - begun(&place.home.join("begun")).await? - ROOM;
    case.wrapper = Some(format!(
        "mount -t tmpfs -o size={DISK} tmpfs '{0}' && head -c {filler} /dev/zero > '{0}/filler' || exit 90; \
         \"$@\"; code=$?; ls '{0}'/*.db > /dev/null || exit 91; rm '{0}/filler'; \
         \"$@\" > /dev/null 2>&1 || exit 92; exit $code",
        full.display()
    ));
    case.untouched = false;
    cases.push(case);
    Ok(cases)
}

/// The disk that fills up, bytes.
const DISK: u64 = 8 << 20;
/// Room beyond an empty operation: for the request and the plan of a drain, and not for all that follows.
const ROOM: u64 = 64 << 10;

/// What a record takes of its disk when an operation with next to nothing in it has begun, bytes.
async fn begun(folder: &Path) -> Result<u64> {
    fs::create_dir(folder)?;
    let path = folder.join("begun.db");
    let _store = begin(&path, service::RECORD_FORMAT, "begun", "{}").await?;
    let mut bytes = 0;
    for file in fs::read_dir(folder)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

/// The record of an operation that has ended, and the operation.
async fn good(place: &Place<'_>) -> Result<(PathBuf, String)> {
    let folder = place.home.join("record");
    let case = Case::new("", "drain spare --reason good", 0, "")
        .kubeconfig(place.rig.plane.kubeconfig())
        .record(&folder);
    let ran = place.run(&case, &[]).await?;
    ensure!(
        ran.exit == Some(0),
        "a drain of an empty node: {}",
        ran.stderr.trim()
    );
    let mut files = fs::read_dir(&folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let path = files
        .find(|path| path.extension().is_some_and(|end| end == "db"))
        .context("a record")?;
    // The last to close it brings everything into one file.
    drop(Store::open(
        &path,
        store::Options::new(service::RECORD_FORMAT),
    )?);
    let id = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("an id")?
        .to_owned();
    Ok((path, id))
}

/// A record whose only event is of the next format.
async fn newer_event(folder: &Path, id: &str) -> Result<PathBuf> {
    fs::create_dir(folder)?;
    let path = folder.join(format!("{id}.db"));
    let event = "{\"event\":\"beamed_up\"}";
    begin(&path, service::RECORD_FORMAT + 1, id, event).await?;
    Ok(path)
}

/// A record of this format with one drain, whose only event this is.
async fn begin(path: &Path, format: u32, id: &str, event: &str) -> Result<Store> {
    let store = Store::open(path, store::Options::new(format))?;
    let row = OperationRow {
        id: id.into(),
        cluster: "c".into(),
        kind: "drain".into(),
        version: 1,
        parent: None,
        occupies: true,
        nodes: vec!["worker-1".into()],
        by: "ann".into(),
        created: Time::now(),
    };
    let first = NewEvent {
        at: Time::now(),
        payload: event.to_owned(),
    };
    store.begin(row, first).await?;
    Ok(store)
}
