//! The live stream: every event once and in order, whatever happens meanwhile.

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::Value;
use testkit::builders::{self, Allows};

use crate::world::{PATIENCE, Served, token, world};

/// Lines as they come.
struct Lines {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<axum::body::Bytes>>,
    rest: Vec<u8>,
}

impl Lines {
    async fn open(served: &Served, operation: &str, after: u64) -> Result<Self> {
        let path = format!("/api/v1/operations/{operation}/events?after={after}&follow=true");
        let request = served.http.get(format!("http://{}{path}", served.address));
        let answer = request.bearer_auth(token("viewer")).send().await?;
        ensure!(answer.status() == 200, "{}", answer.text().await?);
        Ok(Self {
            bytes: answer.bytes_stream().boxed(),
            rest: Vec::new(),
        })
    }

    /// The next line; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if line.len() > 1 {
                    return Ok(Some(serde_json::from_slice(&line)?));
                }
                continue;
            }
            match tokio::time::timeout(PATIENCE, self.bytes.next()).await? {
                Some(bytes) => self.rest.extend_from_slice(&bytes?),
                None => {
                    ensure!(self.rest.is_empty(), "half a line");
                    return Ok(None);
                }
            }
        }
    }

    async fn all(mut self) -> Result<Vec<Value>> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await? {
            lines.push(line);
        }
        Ok(lines)
    }
}

/// Numbers of the events among the lines.
fn numbers(lines: &[Value]) -> Vec<u64> {
    lines
        .iter()
        .filter_map(|line| line["seq"].as_u64())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_missing_or_told_twice_while_a_node_drains() -> Result<()> {
    let world = world().await;
    world.place("stream", 40).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let operation = served.drain("stream").await?;
    let mut tasks = Vec::new();
    for after in [0, 1, 2, 5, 10, 20, 30, 50] {
        let mut early = Lines::open(&served, &operation, 0).await?;
        // One that reads nothing until all is over, ...
        let slow = Lines::open(&served, &operation, 0).await?;
        // ... and one that begins where another one is.
        let mut seen = Vec::new();
        while numbers(&seen).last().is_none_or(|last| *last < after) {
            match early.next().await? {
                Some(line) => seen.push(line),
                None => bail!("it ends before event {after}"),
            }
        }
        let late = Lines::open(&served, &operation, after).await?;
        tasks.push((
            after,
            seen,
            tokio::spawn(early.all()),
            tokio::spawn(late.all()),
            slow,
        ));
    }
    let ended = served.finished(&operation).await?;
    assert_eq!(ended["outcome"], "done");
    let path = format!("/api/v1/operations/{operation}/events");
    let record = served
        .get(&path, Some(&token("viewer")))
        .await?
        .text()
        .await?;
    let record: Vec<Value> = record
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let (events, result) = record.split_at(record.len() - 1);
    let last = events.len() as u64;
    assert!(last > 80, "{last}");
    assert_eq!(result[0]["type"], "result");
    assert_eq!(result[0]["operation"], ended);
    let check = |lines: &[Value], after: u64| {
        let expected: Vec<u64> = (after + 1..=last).collect();
        assert_eq!(numbers(lines), expected);
        assert_eq!(lines.last(), result.first());
        let told = lines.iter().filter(|line| line["type"] == "event");
        assert!(told.eq(&events[after as usize..]));
    };
    for (after, mut seen, early, late, slow) in tasks {
        seen.extend(early.await??);
        check(&seen, 0);
        check(&late.await??, after);
        check(&slow.all().await?, 0);
    }
    // From the end on, and from beyond it, only the result is left.
    for after in [last, last + 1000] {
        let lines = Lines::open(&served, &operation, after).await?.all().await?;
        assert_eq!(lines, result);
    }
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_server_and_goes_on_with_the_next() -> Result<()> {
    let world = world().await;
    let client = world.place("onward", 2).await?;
    testkit::apply(
        &client,
        &[builders::pdb(
            "onward",
            "none",
            "onward",
            Allows::MaxUnavailable("0"),
        )],
    )
    .await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let operation = served.drain("onward").await?;
    let mut lines = Lines::open(&served, &operation, 0).await?;
    let mut seen = Vec::new();
    loop {
        let line = lines.next().await?.context("it goes on")?;
        let waits = line["type"] == "waiting";
        seen.push(line);
        if waits {
            break;
        }
    }
    let rest = tokio::spawn(lines.all());
    served.stop().await??;
    seen.extend(rest.await??);
    assert!(seen.iter().all(|line| line["type"] != "result"));
    let last = *numbers(&seen).last().context("events")?;
    assert_eq!(numbers(&seen), (1..=last).collect::<Vec<_>>());

    // The same record, another process: the operation is taken up without being asked.
    let served = Served::ready(world.options(folder.path())).await?;
    let lines = tokio::spawn(Lines::open(&served, &operation, last).await?.all());
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client, "onward");
    budgets.delete("none", &DeleteParams::default()).await?;
    served.finished(&operation).await?;
    let lines = lines.await??;
    assert_eq!(
        lines.last().context("lines")?["operation"]["outcome"],
        "done"
    );
    let numbers = numbers(&lines);
    assert_eq!(
        numbers,
        (last + 1..=last + numbers.len() as u64).collect::<Vec<_>>()
    );
    served.stop().await??;
    Ok(())
}
