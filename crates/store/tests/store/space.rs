//! No space left: by SQLite's own limit, and on a real full file system.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use store::{Options, Store};

use crate::common::{code, event, filled, folder, id, operation, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_fails_alone() {
    let (_folder, path) = folder();
    let small = Options {
        max_pages: Some(64),
        ..options()
    };
    let store = Store::open(&path, small).unwrap();
    filled(&store, 2).await;
    store
        .begin(operation("p", &["m"]), event("{}"))
        .await
        .unwrap();
    let large = vec![event("{}"), event(&"x".repeat(1 << 20)), event("{}")];
    for round in 0..10 {
        // Mostly in the same batch, in either order; the answers are the same if not.
        let too_large = {
            let (store, large) = (store.clone(), large.clone());
            tokio::spawn(async move { store.append(&id("o"), 3, large).await })
        };
        let fits = store.append(&id("p"), 2 + round, vec![event("{}")]).await;
        assert_eq!(fits.unwrap(), 2 + round);
        assert_eq!(code(&too_large.await.unwrap()), "record_full");
    }
    assert_eq!(store.events(&id("o"), 0).await.unwrap().len(), 2);
    let too_large = store.begin(operation("q", &["l"]), large[1].clone()).await;
    assert_eq!(code(&too_large), "record_full");
    // The node of the failed begin is free.
    store
        .begin(operation("q", &["l"]), event("{}"))
        .await
        .unwrap();
    store.verify().await.unwrap();
    drop(store);

    let store = Store::open(&path, options()).unwrap();
    assert_eq!(store.append(&id("o"), 3, large).await.unwrap(), 5);
    store.verify().await.unwrap();
}

const MOUNT: &str = "mount -t tmpfs -o size=2m refloat-store-test \"$0\" && exec \"$@\"";

/// Runs a command with a file system of 2 MiB at `place`, which nobody else sees and which goes away with it.
fn on_small_disk(place: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT])
        .arg(place);
    command
}

/// Runs a child test of this program on a small disk.
fn run_on_small_disk(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let able = on_small_disk(folder.path()).arg("true").output();
    if !able.as_ref().is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "cannot mount a small file system: {able:?}"
        );
        let why = format!("not run: cannot mount a small file system: {able:?}\n");
        std::io::stderr().write_all(why.as_bytes()).unwrap();
        return;
    }
    let output = on_small_disk(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact"])
        .env("STORE_TEST_DISK", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn a_full_disk_loses_nothing() {
    run_on_small_disk("space::child_fills_the_disk");
}

#[test]
fn a_read_only_disk_is_named() {
    run_on_small_disk("space::child_cannot_write");
}

/// The child of [`a_read_only_disk_is_named`]; does nothing unless that started it.
#[tokio::test]
async fn child_cannot_write() {
    let Some(disk) = std::env::var_os("STORE_TEST_DISK").map(PathBuf::from) else {
        return;
    };
    let path = disk.join("record.db");
    drop(Store::open(&path, options()).unwrap());
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(&disk);
    assert!(remount.status().unwrap().success());
    for result in [
        Store::open(&path, options()),
        Store::open(disk.join("new/record.db"), options()),
        Store::open_read_only(&path, options()),
    ] {
        assert_eq!(code(&result), "record_denied");
    }
}

fn fill(path: &Path) {
    let mut ballast = File::create(path).unwrap();
    for size in [4096, 512, 1] {
        while ballast.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// The child of [`a_full_disk_loses_nothing`]; does nothing unless that started it.
#[tokio::test]
async fn child_fills_the_disk() {
    let Some(disk) = std::env::var_os("STORE_TEST_DISK").map(PathBuf::from) else {
        return;
    };
    let ballast = disk.join("ballast");
    fill(&ballast);
    let unmade = Store::open(disk.join("state/record.db"), options());
    assert_eq!(code(&unmade), "record_full");
    fs::remove_file(&ballast).unwrap();

    let path = disk.join("state/record.db");
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 2).await;
    let chunk = "x".repeat(10_000);
    let mut next = 3;
    for _ in 0..5 {
        fill(&ballast);
        // What is left of the last page of the WAL may hold a few.
        let refused = loop {
            let new = vec![event("{}"), event(&chunk), event("{}")];
            match store.append(&id("o"), next, new).await {
                Ok(last) => next = last + 1,
                Err(error) => break error,
            }
        };
        assert_eq!(
            (refused.code(), refused.hint()),
            ("record_full", "free_space")
        );
        let events = store.events(&id("o"), 0).await.unwrap();
        assert_eq!(events.len() as u64, next - 1, "nothing half-written");
        store.verify().await.unwrap();

        fs::remove_file(&ballast).unwrap();
        let last = store.append(&id("o"), next, vec![event(&chunk)]).await;
        assert_eq!(last.unwrap(), next, "works again");
        next += 1;
    }
    // A process that dies on the full disk, too: nobody closes or checkpoints.
    fill(&ballast);
    std::mem::forget(store);
    let reader = Store::open_read_only(&path, options()).unwrap();
    let events = reader.events(&id("o"), 0).await.unwrap();
    assert_eq!(events.len() as u64, next - 1);
}
