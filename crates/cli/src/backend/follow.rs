//! The lines of an operation, one after the other, until it ends.

use std::path::PathBuf;
use std::time::Duration;

use api::StreamLine;
use model::OperationId;
use service::Service;
use tokio::sync::mpsc;

use super::local::fault_of;
use super::record::Records;
use crate::exit::Exit;
use crate::failure::Failure;

/// Lines of an operation. The last is its result, or an error.
pub(crate) type Lines = mpsc::Receiver<Result<StreamLine, Failure>>;
pub(crate) type Sink = mpsc::Sender<Result<StreamLine, Failure>>;

/// How often the record of another process is read.
const POLL: Duration = Duration::from_millis(150);
/// How often it is asked whether that process lives.
const ALIVE_EVERY: u32 = 7;

/// Lines of an operation that runs in this process.
pub(crate) fn live(engine: Service, id: OperationId, path: PathBuf) -> Lines {
    let (sink, lines) = mpsc::channel(64);
    tokio::spawn(async move {
        if let Err(failure) = pump_live(&engine, &id, &sink).await {
            let _ = sink.send(Err(failure.at(&path))).await;
        }
    });
    lines
}

async fn pump_live(engine: &Service, id: &OperationId, sink: &Sink) -> Result<(), Failure> {
    let (mut seq, mut waiting) = (0, Vec::new());
    let mut follower = engine.follow(id).map(|(status, _)| status);
    loop {
        let status = match &mut follower {
            Some(status) => status.borrow_and_update().clone(),
            None => engine.state(id).await?,
        };
        seq = events(engine, id, seq, sink).await?;
        if let Some(fault) = &status.fault {
            return Err(fault_of(fault));
        }
        if status.state.ended().is_some() {
            return result(engine, id, sink).await;
        }
        if waiting != *status.waiting {
            waiting = status.waiting.to_vec();
            let line = StreamLine::Waiting {
                waiting: waiting.clone(),
            };
            if sink.send(Ok(line)).await.is_err() {
                return Ok(());
            }
        }
        let gone = match &mut follower {
            Some(status) => status.changed().await.is_err(),
            None => true,
        };
        if gone && engine.state(id).await?.state.ended().is_none() {
            return Err(Failure::new("mirror_stopped"));
        }
    }
}

/// Lines of an operation that another process runs, or that has ended.
pub(crate) fn recorded(records: Records, engine: Service, id: OperationId) -> Lines {
    let (sink, lines) = mpsc::channel(64);
    tokio::spawn(async move {
        if let Err(failure) = pump_recorded(&records, &engine, &id, &sink).await {
            let _ = sink.send(Err(failure.at(&records.path(&id)))).await;
        }
    });
    lines
}

async fn pump_recorded(
    records: &Records,
    engine: &Service,
    id: &OperationId,
    sink: &Sink,
) -> Result<(), Failure> {
    let mut seq = 0;
    for round in 0_u32.. {
        // Asked before the events are read: what a process wrote before it ended is not missed.
        let abandoned = round % ALIVE_EVERY == 0 && records.holder(id).is_none();
        let newest = events(engine, id, seq, sink).await?;
        if (newest > seq || round == 0) && engine.state(id).await?.state.ended().is_some() {
            return result(engine, id, sink).await;
        }
        seq = newest;
        if abandoned {
            let failure = Failure::new("operation_abandoned").with("operation", id.to_string());
            return Err(failure.exiting(Exit::Blocked));
        }
        tokio::select! {
            () = sink.closed() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
    }
    Ok(())
}

async fn events(
    engine: &Service,
    id: &OperationId,
    after: u64,
    sink: &Sink,
) -> Result<u64, Failure> {
    let mut seq = after;
    for line in engine.events(id, after).await? {
        seq = line.seq;
        let line = StreamLine::Event {
            seq: line.seq,
            recorded: line.recorded,
        };
        // Nobody listens any more: the loop around this will see that too.
        let _ = sink.send(Ok(line)).await;
    }
    Ok(seq)
}

async fn result(engine: &Service, id: &OperationId, sink: &Sink) -> Result<(), Failure> {
    let status = engine.state(id).await?;
    let operation = status.state.view();
    let _ = sink.send(Ok(StreamLine::Result { operation })).await;
    Ok(())
}
