//! What lists take: `fill PATH OPERATIONS EVENTS` makes a record of ended operations, and a campaign of 500 nodes with a
//! part for each; `measure PATH` lists it, in a process of its own because resident memory is measured, and says what
//! that took as a line of JSON. The proof `lists` runs both.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program of a proof: it holds or dies, and says what it measured"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use model::{OperationId, Time};
use store::{Batch, Filter, NewEvent, OperationRow, Options, Recorded, Store};
use tokio::task::JoinSet;

const PARTS: usize = 500;
/// What a server gives at once at most.
const PAGE: u32 = 500;
const ROUNDS: usize = 9;
const CAMPAIGN: &str = "campaign";

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        ["fill", path, operations, events, ..] => {
            let (operations, events) = (operations.parse().unwrap(), events.parse().unwrap());
            fill(Path::new(path), operations, events).await;
        }
        ["measure", path, ..] => measure(Path::new(path)).await,
        // Run without words, as every bench is by `cargo test --benches`: nothing to measure.
        _ => {}
    }
}

fn at(second: usize) -> Time {
    Time::from_second(1_790_000_000 + second as i64).unwrap()
}

fn row(n: usize, id: &str) -> OperationRow {
    OperationRow {
        id: id.into(),
        cluster: "0f0e0d0c-0b0a-0908-0706-050403020100".into(),
        kind: "drain".into(),
        version: 1,
        parent: None,
        nodes: vec![format!("worker-{n}.zone-a.example.com").into()],
        occupies: true,
        by: "li.wei@example.com".into(),
        created: at(n),
    }
}

/// Events and summaries about as large as a drain's.
fn events(n: usize, count: usize) -> Vec<NewEvent> {
    let event = |size| NewEvent {
        at: at(n),
        payload: "x".repeat(size),
    };
    let plan = std::iter::once(event(3000));
    plan.chain((1..count).map(|_| event(300)))
        .take(count)
        .collect()
}

fn summary() -> Option<String> {
    Some("y".repeat(400))
}

/// Begins and ends an operation.
async fn one(store: Store, row: OperationRow, n: usize, count: usize) {
    let id = row.id.clone();
    let last = store.begin(row, events(n, count)).await.unwrap();
    let end = Batch {
        events: Vec::new(),
        summary: summary(),
    };
    store.end(&id, last + 1, end, at(n), "done").await.unwrap();
}

async fn fill(path: &Path, operations: usize, count: usize) {
    let store = Store::open(path, Options::new(1)).unwrap();
    let campaign = OperationRow {
        kind: CAMPAIGN.into(),
        nodes: (0..PARTS).flat_map(|n| row(n, "").nodes).collect(),
        occupies: false,
        ..row(0, CAMPAIGN)
    };
    let first = Batch {
        events: events(0, count),
        summary: summary(),
    };
    store.begin(campaign, first).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..PARTS {
        let part = OperationRow {
            parent: Some(CAMPAIGN.into()),
            ..row(n, &format!("part-{n:05}"))
        };
        tasks.spawn(one(store.clone(), part, n, count));
    }
    while tasks.join_next().await.is_some() {}
    for n in 0..operations {
        let row = row(PARTS + n, &format!("drain-{n:05}"));
        tasks.spawn(one(store.clone(), row, n, count));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// How long it takes: the median.
async fn median<T>(work: impl AsyncFn() -> T) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work().await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// All pages of what has ended; how many operations.
async fn walk(store: &Store) -> usize {
    let mut filter = Filter {
        ended: Some(true),
        limit: Some(PAGE),
        ..Filter::default()
    };
    let mut count = 0;
    loop {
        let page = store.list(filter.clone()).await.unwrap();
        let Some(last) = page.last() else {
            return count;
        };
        assert!(page.iter().all(whole));
        filter.before = Some(last.operation.id.clone());
        count += page.len();
    }
}

fn whole(recorded: &Recorded) -> bool {
    recorded.summary == summary() && !recorded.operation.nodes.is_empty()
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let value = line.unwrap().trim().trim_end_matches(" kB");
    value.parse().unwrap()
}

async fn measure(path: &Path) {
    let store = Store::open_read_only(path, Options::new(1)).unwrap();
    let filter = |limit| Filter {
        ended: Some(true),
        limit,
        ..Filter::default()
    };
    let campaign = OperationId::from(CAMPAIGN);
    let page = median(async || store.list(filter(Some(PAGE))).await.unwrap()).await;
    let before = peak();
    let count = walk(&store).await;
    for _ in 0..ROUNDS {
        assert_eq!(walk(&store).await, count);
    }
    let grown = peak() - before;
    let parts = median(async || store.children(&campaign).await.unwrap()).await;
    assert_eq!(store.children(&campaign).await.unwrap().len(), PARTS);
    let one = median(async || store.operation(&campaign).await.unwrap()).await;
    let found = store.operation(&campaign).await.unwrap().unwrap();
    assert_eq!(found.operation.nodes.len(), PARTS);
    // Last, because it holds them all.
    let all = median(async || store.list(filter(None)).await.unwrap()).await;
    let micros = |time: Duration| time.as_micros();
    println!(
        r#"{{"operations":{count},"page_us":{},"all_us":{},"parts_us":{},"campaign_us":{},"grown_kib":{grown}}}"#,
        micros(page),
        micros(all),
        micros(parts),
        micros(one),
    );
}
