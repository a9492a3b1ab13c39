//! Processes that die.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::{Options, Store, StoreError};
use tokio::task::JoinSet;

use crate::common::{event, filled, folder, id, operation, options};

const OPERATIONS: u64 = 8;

fn child(name: &str, path: &Path, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([crate::CHILD, name])
        .arg(path)
        .arg(number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Writes until it has committed this often, and then is dead.
pub(crate) async fn appends(path: &Path, deadly: u64) {
    let committed = AtomicU64::new(0);
    let hook = move |id: &model::OperationId, seq| {
        if committed.fetch_add(1, Ordering::SeqCst) + 1 == deadly {
            say(&format!("dies {id} {seq}"));
            let me = std::process::id().to_string();
            let kill = ["-c", "kill -KILL $0", &me];
            Command::new("sh").args(kill).status().unwrap();
            loop {
                std::thread::park();
            }
        }
    };
    let options = Options {
        after_commit: Some(Arc::new(hook)),
        ..options()
    };
    let store = Store::open(path, options).unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..OPERATIONS {
        let store = store.clone();
        tasks.spawn(async move {
            let (name, node) = (format!("o{n}"), format!("n{n}"));
            let row = operation(&name, &[&node]);
            let mut seq = store.begin(row, event("1")).await?;
            loop {
                say(&format!("has {name} {seq}"));
                let next = event(&(seq + 1).to_string());
                seq = store.append(&id(&name), seq + 1, vec![next]).await?;
            }
        });
    }
    let first: Result<(), StoreError> = tasks.join_next().await.unwrap().unwrap();
    panic!("{first:?}");
}

/// Reads what the child says, and kills it after `acknowledged` answers; 0 leaves the killing to the child. The newest
/// event of each operation that must be there.
fn watch(mut process: Child, acknowledged: u64) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::<String, u64>::new();
    let mut answers = 0;
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if let ["has" | "dies", name, seq] = words[..] {
            let seq: u64 = seq.parse().unwrap();
            let newest = told.entry(name.into()).or_default();
            *newest = seq.max(*newest);
            answers += 1;
            if answers == acknowledged {
                process.kill().unwrap();
            }
        }
    }
    let status = process.wait().unwrap();
    assert!(status.code().is_none(), "not killed: {status}");
    told
}

async fn check(path: &Path, told: &BTreeMap<String, u64>) -> u64 {
    let store = Store::open(path, options()).unwrap();
    for (name, seq) in told {
        let events = store.events(&id(name), 0).await.unwrap();
        assert!(events.len() as u64 >= *seq, "{name} {seq}");
        for event in events {
            assert_eq!(event.payload, event.seq.to_string());
        }
    }
    let verified = store.verify().await.unwrap();
    // The dead process' operations still have their nodes, and go on.
    let active = store.active().await.unwrap();
    assert_eq!(active.len() as u64, verified.operations);
    for recorded in active {
        let (name, next) = (recorded.operation.id, recorded.last_seq + 1);
        store.append(&name, next, vec![event("{}")]).await.unwrap();
    }
    verified.events
}

pub(crate) async fn a_kill_right_after_a_commit_loses_nothing() {
    for deadly in [1, 2, 9, 50, 333] {
        let (_folder, path) = folder();
        let process = child("appends", &path, deadly);
        let told = watch(process, 0);
        assert!(check(&path, &told).await >= deadly);
    }
}

pub(crate) async fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    for acknowledged in [1, 8, 9, 33, 100, 101, 102, 103, 250, 500] {
        let (_folder, path) = folder();
        let process = child("appends", &path, 0);
        let told = watch(process, acknowledged);
        assert!(check(&path, &told).await >= acknowledged);
    }
}

/// Takes numbers of orders to two hosts and says each, until it is killed.
pub(crate) async fn orders(path: &Path) {
    let store = Store::open(path, options()).unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..OPERATIONS {
        let store = store.clone();
        tasks.spawn(async move {
            let (cluster, node) = ("c".into(), format!("n{}", n % 2).into());
            // A clock that goes back with every start.
            for floor in (0..1000 * OPERATIONS).rev() {
                let given = store.next_generation(&cluster, &node, floor);
                match given.await {
                    Ok(given) => say(&format!("has {node} {given}")),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
}

pub(crate) async fn a_kill_at_any_moment_reuses_no_generation() {
    let (_folder, path) = folder();
    let mut given = BTreeMap::<String, Vec<u64>>::new();
    // Each process begins where its predecessor was killed.
    for acknowledged in [1, 2, 3, 7, 20, 21, 22, 50, 100] {
        let mut process = child("orders", &path, 0);
        let mut answers = 0;
        let mut now = BTreeMap::<String, Vec<u64>>::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            if let ["has", node, number] = words[..] {
                now.entry(node.into())
                    .or_default()
                    .push(number.parse().unwrap());
                answers += 1;
                if answers == acknowledged {
                    process.kill().unwrap();
                }
            }
        }
        let status = process.wait().unwrap();
        assert!(status.code().is_none(), "not killed: {status}");
        for (node, mut now) in now {
            // Askers may speak in another order than they were answered in.
            now.sort_unstable();
            let before = given.entry(node).or_default();
            let all = before.iter().chain(&now).collect::<Vec<_>>();
            assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
            before.extend(now);
        }
    }
    assert_eq!(given.len(), 2);
}

/// Has the record until the parent kills it or goes away.
pub(crate) async fn holds(path: &Path) {
    let store = Store::open(path, options()).unwrap();
    filled(&store, 3).await;
    say("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

pub(crate) async fn another_process_is_named_and_can_be_read_beside() {
    let (_folder, path) = folder();
    let mut process = child("holds", &path, 0);
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    match Store::open(&path, options()) {
        Err(error @ StoreError::Locked { pid: Some(pid), .. }) => {
            assert_eq!(pid, process.id());
            assert_eq!(
                (error.code(), error.hint()),
                ("record_locked", "stop_other_process")
            );
            assert!(error.to_string().contains(&pid.to_string()));
        }
        other => panic!("{other:?}"),
    }
    let reader = Store::open_read_only(&path, options()).unwrap();
    assert_eq!(reader.events(&id("o"), 0).await.unwrap().len(), 3);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(reader.events(&id("o"), 0).await.unwrap().len(), 3);
    let store = Store::open(&path, options()).unwrap();
    store.append(&id("o"), 4, vec![event("{}")]).await.unwrap();
    assert_eq!(reader.events(&id("o"), 0).await.unwrap().len(), 4);
}
