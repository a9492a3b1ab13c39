//! No space left on a real full file system, and one that is read-only.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use store::Store;

use crate::common::{code, event, filled, id, options};

const MOUNT: &str = "mount -t tmpfs -o size=2m refloat-store-test \"$0\" && exec \"$@\"";

/// Runs a command with a file system of 2 MiB at `place`, which nobody else sees and which goes away with it.
fn on_small_disk(place: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT])
        .arg(place);
    command
}

/// Runs a child with a disk of its own. Where none can be mounted the test fails: unrun is not passed.
pub(crate) fn with_small_disk(child: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = on_small_disk(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args([crate::CHILD, child])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{child}: {text}");
}

pub(crate) fn cannot_write(disk: &Path) {
    let path = disk.join("record.db");
    drop(Store::open(&path, options()).unwrap());
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(disk);
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

pub(crate) async fn fills(disk: &Path) {
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
